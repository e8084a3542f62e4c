//! From documents to the resources that proxies are sent.
#![allow(missing_docs)]

use std::fmt::Write;

use outrigger_config::cluster::Cluster;
use outrigger_config::document::parse;
use outrigger_config::listener::TableSource;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::route::{Backend, PathMatch, Route, RouteTable};
use outrigger_config::xds::{decode, encode};

const SHOP: &str = include_str!("fixtures/good/shop.yaml");

fn mesh(text: &str) -> Mesh {
    let documents = parse(text, "mesh.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    Mesh::try_new(documents).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("a name")
}

fn table(resources: &[Resource], name: &str) -> RouteTable {
    let of = |resource: &Resource| match resource {
        Resource::Table(table) if table.name.as_str() == name => Some(table.clone()),
        _ => None,
    };
    resources.iter().find_map(of).unwrap_or_else(|| panic!("no table {name}"))
}

/// The paths and names of a table's only virtual host, in the order they are tried.
fn order(mesh: &Mesh, namespace: &str, service: &str) -> Vec<String> {
    let table = table(&mesh.shared(namespace), service);
    table.hosts[0].routes.iter().map(|route| route.name.rsplit('/').next().unwrap_or_default().to_owned()).collect()
}

/// One line for what a reader looks for first, and one for each part.
fn print(resources: &[Resource]) -> String {
    let mut text = String::new();
    for resource in resources {
        let kind = resource.resource_type().short();
        writeln!(text, "{kind} {}", resource.name()).expect("a string takes all");
        for line in details(resource) {
            writeln!(text, "    {line}").expect("a string takes all");
        }
    }
    text
}

fn details(resource: &Resource) -> Vec<String> {
    match resource {
        Resource::Listener(listener) => {
            let TableSource::Rds(table) = &listener.table else { panic!("{listener:?}") };
            let identity = listener.identity.as_ref().expect("ours has one");
            vec![
                format!("{:?} {} by {table}", listener.direction, listener.address),
                format!("{} {} {:?}", identity.workload, identity.service, identity.version),
                format!("sample {} log {}", listener.telemetry.sample, listener.telemetry.access_log),
            ]
        }
        Resource::ApiListener(listener) => vec![format!("by {}", listener.table)],
        Resource::Table(table) => table
            .hosts
            .iter()
            .flat_map(|host| {
                let domains: Vec<_> = host.domains.iter().map(ToString::to_string).collect();
                let head = format!("{}: {}", host.name, domains.join(" "));
                std::iter::once(head).chain(host.routes.iter().flat_map(route_details))
            })
            .collect(),
        Resource::Cluster(cluster) => cluster_details(cluster),
        Resource::Assignment(assignment) => assignment.endpoints.iter().map(|one| format!("{one:?}")).collect(),
    }
}

fn route_details(route: &Route) -> Vec<String> {
    let backends: Vec<_> = route.backends.iter().map(|one| format!("{}={}", one.cluster, one.weight)).collect();
    let mut lines = vec![
        format!("  {} -> {} ({})", route.name, backends.join(" "), route.origin),
        format!("    {:?}", route.matches),
        format!("    {:?}", route.timeouts),
    ];
    lines.extend((!route.sticky.is_empty()).then(|| format!("    sticky on {:?}", route.sticky)));
    lines.extend(route.session.as_ref().map(|session| format!("    session {session:?}")));
    lines.extend(route.mirrors.iter().map(|mirror| format!("    {mirror:?}")));
    lines.extend(route.answer.iter().map(|answer| format!("    {answer:?}")));
    lines.extend((!route.rewrite.is_empty()).then(|| format!("    {:?}", route.rewrite)));
    lines.extend((!route.headers.is_empty()).then(|| format!("    {:?}", route.headers)));
    lines.extend(route.retry.iter().map(|retry| format!("    {retry:?}")));
    lines.extend(route.fault.iter().map(|fault| format!("    {fault:?}")));
    lines.extend(route.rate_limit.iter().map(|limit| format!("    {limit:?}")));
    lines.extend((!route.hash.is_empty()).then(|| format!("    {:?}", route.hash)));
    lines
}

fn cluster_details(cluster: &Cluster) -> Vec<String> {
    let Cluster { protocol, connect_timeout, idle_timeout, balancing, discovery, .. } = cluster;
    let mut lines = vec![
        format!("{} {protocol:?} connect {connect_timeout:?} idle {idle_timeout:?} {balancing:?}", cluster.host),
        format!("{discovery:?}"),
        format!("{:?}", cluster.budget),
    ];
    lines.extend(cluster.limits.iter().map(|limits| format!("{limits:?}")));
    lines.extend(cluster.outlier.iter().map(|outlier| format!("{outlier:?}")));
    lines
}

#[test]
fn the_shop_is_translated() {
    let mesh = mesh(SHOP);
    insta::assert_snapshot!("shop_shared", print(&mesh.shared("shop")));
    for workload in ["storefront-1", "recommend-1", "pricing-1"] {
        insta::assert_snapshot!(format!("shop_{workload}"), print(&mesh.own(&name(&format!("shop/{workload}")))));
    }
    assert_eq!(mesh.own(&name("shop/unknown")), []);
}

#[test]
fn subsets_are_labels_at_endpoints_and_questions_of_routes() {
    let mesh = mesh(include_str!("fixtures/good/subsets.yaml"));
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

#[test]
fn whatever_is_made_holds_together() {
    let mesh = mesh(SHOP);
    let own = mesh.workloads().flat_map(|workload| mesh.own(workload));
    let shared = mesh.namespaces().into_iter().flat_map(|namespace| mesh.shared(namespace)).collect::<Vec<_>>();
    for resource in own.chain(shared) {
        let checked = match &resource {
            Resource::Listener(listener) => listener.check(),
            Resource::Table(table) => table.check(),
            Resource::Cluster(cluster) => cluster.check(),
            Resource::ApiListener(_) | Resource::Assignment(_) => Ok(()),
        };
        checked.unwrap_or_else(|problem| panic!("{}: {problem}", resource.name()));
    }
}

#[test]
fn whatever_is_made_reads_back_from_its_bytes() {
    let mesh = mesh(SHOP);
    let own = mesh.workloads().flat_map(|workload| mesh.own(workload)).collect::<Vec<_>>();
    for resource in own.into_iter().chain(mesh.shared("shop")) {
        let bytes = encode(&resource, ClientKind::Outrigger);
        // What our proxy does not get is for gRPC clients.
        let Some(bytes) = bytes.or_else(|| encode(&resource, ClientKind::Grpc)) else { panic!("{resource:?}") };
        let again = decode(resource.resource_type(), &bytes).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(again, resource);
    }
}

#[test]
fn names_of_a_type_are_unique_and_sorted() {
    let resources = mesh(SHOP).shared("shop");
    let names: Vec<_> = resources.iter().map(|one| (one.resource_type(), one.name().clone())).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

const SERVICES: &str = r"
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 8080}, {name: admin, port: 80}], selector: {app: web}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: api, namespace: shop}
spec: {ports: [{name: http, port: 8080}, {name: admin, port: 8081}], selector: {app: web}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {address: 10.0.0.1, ports: [{name: http, port: 8080, appPort: 80}, {name: admin, port: 8081}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {name: caller, namespace: else}
spec: {address: 10.0.0.2, outbound: [{port: 9000}]}
---
";

fn route(namespace: &str, route: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {route}, namespace: {namespace}}}\n\
         spec:\n  parentRefs: [{{kind: Service, name: web, namespace: shop, port: 8080}}]\n  rules: {rules}\n---\n"
    )
}

/// A rule of flow YAML with a name and one match.
fn rule(name: &str, matches: &str) -> String {
    format!("{{name: {name}, matches: [{matches}], backendRefs: [{{name: web, namespace: shop, port: 8080}}]}}")
}

#[test]
fn the_most_specific_match_is_tried_first() {
    // Each before all that follow; the documents have them the other way round, in two routes.
    let rules = [
        ("exact-long", "{path: {type: Exact, value: /cart/items}}"),
        ("exact-method", "{path: {type: Exact, value: /cart}, method: GET}"),
        ("exact", "{path: {type: Exact, value: /cart}, headers: [{name: a, value: b}, {name: c, value: d}]}"),
        ("prefix-long", "{path: {value: /cart/items}}"),
        ("prefix-method", "{path: {value: /cart}, method: GET}"),
        ("prefix-two", "{path: {value: /cart}, headers: [{name: a, value: b}, {name: c, value: d}]}"),
        ("prefix-one", "{path: {value: /cart}, headers: [{name: a, value: b}], queryParams: [{name: q, value: v}]}"),
        ("prefix-header", "{path: {value: /cart}, headers: [{name: a, value: b}]}"),
        ("prefix-query", "{path: {value: /cart}, queryParams: [{name: q, value: v}]}"),
        ("prefix", "{path: {value: /cart/}}"),
        ("regex-long", "{path: {type: RegularExpression, value: '/c[a-z]+/.*'}}"),
        ("regex", "{path: {type: RegularExpression, value: '/.*'}}"),
        ("method", "{method: GET}"),
        ("header", "{headers: [{name: a, value: b}]}"),
        ("everything", "{}"),
    ];
    let list = |parity: usize| {
        let chosen = rules.iter().enumerate().rev().filter(|(index, _)| index % 2 == parity);
        format!("[{}]", chosen.map(|(_, (name, matches))| rule(name, matches)).collect::<Vec<_>>().join(", "))
    };
    let text = format!("{SERVICES}{}{}", route("shop", "a", &list(0)), route("shop", "b", &list(1)));
    let expected: Vec<_> = rules.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(order(&mesh(&text), "shop", "service/shop/web/http"), expected);
}

#[test]
fn equals_are_tried_by_name_of_route_and_order_of_rules() {
    let two =
        |first: &str, second: &str| format!("[{}, {}]", rule(first, "{method: GET}"), rule(second, "{method: PUT}"));
    let text = format!("{SERVICES}{}{}", route("shop", "b", &two("b0", "b1")), route("shop", "a", &two("a0", "a1")));
    assert_eq!(order(&mesh(&text), "shop", "service/shop/web/http"), ["a0", "a1", "b0", "b1"]);
}

#[test]
fn a_consumer_route_wins_in_its_namespace_and_only_there() {
    let producer = route("shop", "producer", &format!("[{}]", rule("producer", "{}")));
    let consumer = route("else", "consumer", &format!("[{}]", rule("consumer", "{}")));
    let mesh = mesh(&format!("{SERVICES}{producer}{consumer}"));
    assert_eq!(order(&mesh, "shop", "service/shop/web/http"), ["producer"]);
    assert_eq!(order(&mesh, "else", "service/shop/web/http"), ["consumer"]);
    assert_eq!(order(&mesh, "third", "service/shop/web/http"), ["producer"]);
}

#[test]
fn a_port_without_routes_forwards_and_one_with_routes_does_nothing_else() {
    let text = format!("{SERVICES}{}", route("shop", "web", &format!("[{}]", rule("only", "{path: {value: /a}}"))));
    let mesh = mesh(&text);
    let resources = mesh.shared("shop");
    let routed = table(&resources, "service/shop/web/http");
    assert_eq!(routed.hosts[0].routes.len(), 1);
    assert_eq!(routed.hosts[0].routes[0].matches.path, PathMatch::Prefix("/a".into()));
    let plain = table(&resources, "service/shop/web/admin");
    assert_eq!(&*plain.hosts[0].routes[0].name, "Service shop/web/admin");
    assert_eq!(plain.hosts[0].routes[0].backends[0].cluster.as_str(), "shop/web/admin");
}

#[test]
fn a_service_is_known_by_its_names() {
    let hosts = |namespace: &str| -> Vec<String> {
        let table = table(&mesh(SERVICES).shared(namespace), &format!("outbound/{namespace}"));
        let domains = |name: &str| {
            let host = table.hosts.iter().find(|host| &*host.name == name).expect("there");
            host.domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        ["shop/web/http", "shop/web/admin", "shop/api/http", "shop/api/admin"].map(domains).into()
    };
    let with = |name: &str, port: u16| {
        format!("{name}.shop:{port} {name}.shop.svc:{port} {name}.shop.svc.cluster.local:{port}")
    };
    let plain = |name: &str| format!("{name}.shop {name}.shop.svc {name}.shop.svc.cluster.local");
    // Port 80 has the names without a port; without a port 80 the first port has them.
    let elsewhere = [
        with("web", 8080),
        format!("{} {}", plain("web"), with("web", 80)),
        format!("{} {}", plain("api"), with("api", 8080)),
        with("api", 8081),
    ];
    assert_eq!(hosts("else"), elsewhere);
    let at_home = [
        format!("web:8080 {}", with("web", 8080)),
        format!("web {} web:80 {}", plain("web"), with("web", 80)),
        format!("api {} api:8080 {}", plain("api"), with("api", 8080)),
        format!("api:8081 {}", with("api", 8081)),
    ];
    assert_eq!(hosts("shop"), at_home);
}

#[test]
fn the_nearest_policy_counts_alone() {
    let policy = |name: &str, target: &str, attempts: u32| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{targetRefs: [{target}], retry: {{attempts: {attempts}}}}}\n---\n"
        )
    };
    let policies = [
        ("a-service", "{kind: Service, name: web}", 1),
        ("b-port", "{kind: Service, name: web, sectionName: http}", 3),
        ("c-route", "{kind: HTTPRoute, name: web}", 4),
        ("d-rule", "{kind: HTTPRoute, name: web, sectionName: only}", 5),
    ];
    let routed = route("shop", "web", &format!("[{}]", rule("only", "{}")));
    let attempts = |count: usize, table_name: &str| {
        let chosen = policies.iter().take(count);
        let text: String = chosen.map(|(name, target, attempts)| policy(name, target, *attempts)).collect();
        let mesh = mesh(&format!("{SERVICES}{routed}{text}"));
        let retry = table(&mesh.shared("shop"), table_name).hosts[0].routes[0].retry.clone();
        retry.map(|retry| retry.attempts)
    };
    for (count, expected) in [(0, 2), (1, 1), (2, 3), (3, 4), (4, 5)] {
        assert_eq!(attempts(count, "service/shop/web/http"), Some(expected), "{count}");
    }
    assert_eq!(attempts(4, "service/shop/web/admin"), Some(1));
}

#[test]
fn a_sidecar_before_a_service_is_as_patient_as_any_of_its_callers() {
    let idle = |timeout: &str| {
        let policy = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{targetRefs: [{{kind: HTTPRoute, name: web}}], timeouts: {{idle: {timeout}}}}}\n---\n"
        );
        let routed = route("shop", "web", &format!("[{}]", rule("only", "{}")));
        let own = mesh(&format!("{SERVICES}{routed}{policy}")).own(&name("shop/web-1"));
        table(&own, "inbound/shop/web-1/http").hosts[0].routes[0].timeouts.idle.map(|idle| idle.as_secs())
    };
    assert_eq!(idle("1h"), Some(3600));
    assert_eq!(idle("1s"), Some(300));
}

#[test]
fn a_workload_goes_by_its_widest_service() {
    let mesh = mesh(SHOP);
    let own = mesh.own(&name("shop/recommend-1"));
    let identities = own.iter().filter_map(|resource| match resource {
        Resource::Listener(listener) => listener.identity.clone(),
        _ => None,
    });
    for identity in identities {
        assert_eq!((&*identity.service, &*identity.version), ("recommend", "v1"));
    }
}

const ANSWERING: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: admin, port: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{kind: Service, name: web}]
  rules:
  - matches: [{path: {value: /host}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: other}}]
  - matches: [{path: {value: /scheme}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: other, scheme: https}}]
  - name: closed
    matches: [{path: {value: /closed}}]
    backendRefs: [{name: web, port: 80}]
---
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: {name: closed, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web, sectionName: closed}]
  directResponse: {status: 503, body: later}
  retry: {attempts: 1}
  fault: {delay: {fixed: 1s, percent: 10}}";

#[test]
fn what_answers_by_itself_sends_nothing_on() {
    let mesh = mesh(ANSWERING);
    let table = table(&mesh.shared("shop"), "outbound/shop");
    table.check().expect("holds together");
    let answers = |port: usize| -> Vec<String> {
        let routes = &table.hosts[port].routes;
        assert!(routes.iter().all(|route| route.backends.is_empty() && route.retry.is_none()));
        routes.iter().map(|route| format!("{:?}", route.answer.as_ref().expect("an answer"))).collect()
    };
    let (http, admin) = (answers(0), answers(1));
    let find = |answers: &[String], what: &str| answers.iter().any(|answer| answer.contains(what));
    assert!(find(&http, "status: 503, body: \"later\""), "{http:?}");
    // A redirect to another host stays on the port that was asked for, unless it names a scheme.
    assert!(!find(&http, "port: Some"), "{http:?}");
    assert_eq!(admin.iter().filter(|answer| answer.contains("port: Some(8080)")).count(), 1, "{admin:?}");
    let faults = table.hosts[0].routes.iter().filter(|route| route.fault.is_some()).count();
    assert_eq!(faults, 1, "of the closed rule alone");
}
