//! From documents to the resources that proxies are sent.
#![allow(missing_docs)]

mod routes;
mod subsets;

use std::fmt::Write;

use outrigger_config::cluster::Cluster;
use outrigger_config::document::parse;
use outrigger_config::listener::TableSource;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::route::{Route, RouteTable};
use outrigger_config::xds::{decode, encode};

const SHOP: &str = include_str!("../fixtures/good/shop.yaml");

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
