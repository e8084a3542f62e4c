//! Subsets: labels at endpoints, and questions of routes.

use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::route::{Backend, Route};
use outrigger_config::xds::encode;

use super::{mesh, table};

#[test]
fn subsets_are_labels_at_endpoints_and_questions_of_routes() {
    let mesh = mesh(include_str!("../fixtures/good/subsets.yaml"));
    let shared = mesh.shared("default");
    let service = table(&shared, "service/default/web/http");
    let asked = |route: &Route| -> Vec<String> {
        let one = |backend: &Backend| format!("{} {} {}", backend.cluster, backend.weight, backend.subset);
        route.backends.iter().map(one).collect()
    };
    let routes: Vec<Vec<String>> = service.hosts[0].routes.iter().map(asked).collect();
    let web = "default/web/http";
    assert_eq!(
        routes[0],
        [format!("{web} 90 version=v1"), format!("{web} 10 version=v2"), format!("{web} 0 version=v3"),]
    );
    // What the backend says counts before what the policy says.
    assert_eq!(routes[2], [format!("{web} 1 stage=prod, version=v2")]);
    let mirrors: Vec<_> = service.hosts[0].routes[5].mirrors.iter().map(|mirror| mirror.subset.to_string()).collect();
    assert_eq!(mirrors, ["version=v2", "", "version=v3", "version=v3"]);
    let plain = table(&shared, "service/default/shop/http");
    assert_eq!(asked(&plain.hosts[0].routes[0]), ["default/shop/http 1 version=v2"]);
    let known: Vec<Vec<String>> = shared
        .iter()
        .filter_map(|resource| match resource {
            Resource::Assignment(assignment) => {
                Some(assignment.endpoints.iter().map(|one| format!("{:?}", one.metadata)))
            }
            _ => None,
        })
        .map(Iterator::collect)
        .collect();
    let one = |key: &str, value: &str| format!("\"{key}\": One(Text(\"{value}\"))");
    // Only what selectors and the default subset name: app and other are nobody's.
    assert_eq!(
        known,
        [
            vec![format!("{{{}}}", one("version", "v1"))],
            vec![
                format!("{{{}, {}}}", one("stage", "prod"), one("version", "v1")),
                format!("{{{}}}", one("version", "v2")),
            ],
        ]
    );
}

#[test]
fn subsets_are_the_same_bytes_every_time() {
    let selectors = "selectors: [{keys: [a, b, c]}, {keys: [d, e, f]}], fallback: DefaultSubset, \
                     defaultSubset: {a: x, b: x, c: x, d: x, e: x, f: x}";
    let labels = "{app: web, a: x, b: x, c: x, d: x, e: x, f: x}";
    let text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: web}}\n\
         spec: {{ports: [{{name: http, port: 80}}], selector: {{app: web}}}}\n---\n\
         apiVersion: outrigger.dev/v1alpha1\nkind: Workload\nmetadata: {{name: web-1, labels: {labels}}}\n\
         spec: {{address: 10.0.0.1, ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: outrigger.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {{name: web}}\n\
         spec: {{targetRefs: [{{kind: Service, name: web}}], loadBalancing: {{subsets: {{{selectors}}}}}}}\n---\n\
         apiVersion: outrigger.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: web}}\n\
         spec: {{targetRefs: [{{kind: Service, name: web}}], subset: {{a: x, b: x, c: x}}}}\n"
    );
    for client in [ClientKind::Outrigger, ClientKind::Envoy] {
        let bytes = || -> Vec<_> {
            mesh(&text).shared("default").iter().filter_map(|resource| encode(resource, client)).collect()
        };
        let first = bytes();
        assert!((0..4).all(|_| bytes() == first), "{client:?}");
    }
    let nothing =
        mesh(&text).shared("default").iter().filter_map(|one| encode(one, ClientKind::Grpc)).collect::<Vec<_>>();
    assert!(!nothing.iter().any(|bytes| bytes.windows(3).any(|part| part == b"a\x12\x03")));
}
