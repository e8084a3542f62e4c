//! Several HTTPRoutes of one service are one list of matches: which comes first, and which routes are in it (Gateway API
//! `HTTPRouteRule.matches` and GAMMA; GEP-713 for what is in conflict).
#![allow(missing_docs)]

use outrigger_config::document::parse;
use outrigger_config::error::{Code, Problems};
use outrigger_config::mesh::Mesh;
use outrigger_config::resource::Resource;
use outrigger_config::route::RouteTable;

const SERVICES: &str = "
{ apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: { name: web, namespace: shop }, spec: { selector: { app: web }, ports: [{ name: http, port: 80 }, { name: admin, port: 81 }] } }
---
{ apiVersion: outrigger.dev/v1alpha1, kind: Workload, metadata: { name: web-1, namespace: shop, labels: { app: web } }, spec: { address: 10.0.0.1, ports: [{ name: http, port: 80 }, { name: admin, port: 81 }] } }
";

/// A route of the service: its namespace and name, what its metadata has more, its parent's section, and its rules.
fn route(name: &str, metadata: &str, parent: &str, rules: &[&str]) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    let to = "backendRefs: [{ name: web, namespace: shop, port: 80 }]";
    let rules: Vec<String> = rules.iter().map(|matches| format!("{{ matches: [{matches}], {to} }}")).collect();
    format!(
        "---\n{{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{ name: {name}, namespace: {namespace}, {metadata} }}, \
         spec: {{ parentRefs: [{{ name: web, namespace: shop, kind: Service, group: \"\", {parent} }}], rules: [{}] }} }}\n",
        rules.join(", ")
    )
}

fn mesh(routes: &[String]) -> Result<Mesh, Problems> {
    let text = format!("{SERVICES}{}", routes.concat());
    let documents = parse(&text, "mesh.yaml")?;
    Mesh::try_new(documents).map(|(mesh, _)| mesh)
}

/// The rules behind one port as callers of a namespace see it, in the order in which they are tried: `ROUTE/RULE`.
fn order(routes: &[String], namespace: &str, port: &str) -> Vec<String> {
    let mesh = mesh(routes).unwrap_or_else(|problems| panic!("{problems}"));
    let of = |resource: Resource| match resource {
        Resource::Table(table) if table.name.as_str() == format!("outbound/{namespace}") => Some(table),
        _ => None,
    };
    let table: RouteTable = mesh.shared(namespace).into_iter().find_map(of).expect("the namespace's table");
    let host = table.hosts.iter().find(|host| *host.name == *format!("shop/web/{port}")).expect("the port's host");
    host.routes.iter().map(|route| route.name.trim_start_matches("HTTPRoute ").to_owned()).collect()
}

const OLD: &str = "creationTimestamp: \"2025-01-01T00:00:00Z\"";
const NEW: &str = "creationTimestamp: \"2026-01-01T00:00:00Z\"";

/// Each row: the one that must come first, the one behind it, and why. Both orders of writing give the same.
#[test]
fn the_more_specific_match_comes_first_whichever_route_it_is_in() {
    let exact = "{ path: { type: Exact, value: /a } }";
    let long = "{ path: { value: /a/b } }";
    let short = "{ path: { value: /a } }";
    let regex = "{ path: { type: RegularExpression, value: \"/a/.*\" } }";
    let template = "{ path: { type: PathTemplate, value: \"/a/{b}\" } }";
    let method = "{ path: { value: /a }, method: GET }";
    let header = "{ path: { value: /a }, headers: [{ name: x, value: y }] }";
    let headers = "{ path: { value: /a }, headers: [{ name: x, value: y }, { name: z, value: y }] }";
    let query = "{ path: { value: /a }, queryParams: [{ name: x, value: y }] }";
    let queries = "{ path: { value: /a }, queryParams: [{ name: x, value: y }, { name: z, value: y }] }";
    let all = "{}";
    for (first, second, why) in [
        (exact, long, "an exact path before the longest prefix"),
        (exact, template, "an exact path before a template"),
        (template, long, "a template before a prefix"),
        (long, short, "the longer prefix"),
        (short, regex, "a prefix before an expression"),
        (regex, all, "an expression before no path"),
        (long, headers, "the longer path, whatever else the other asks for"),
        (method, headers, "a method before any number of fields"),
        (method, short, "a method before none"),
        (headers, header, "more fields"),
        (header, queries, "a field before any number of parameters"),
        (queries, query, "more parameters"),
        (query, short, "a parameter before none"),
    ] {
        // By age and by name the second would be the first.
        let (one, other) = (route("z", NEW, "", &[first]), route("a", OLD, "", &[second]));
        for routes in [[one.clone(), other.clone()], [other, one]] {
            assert_eq!(order(&routes, "shop", "http"), ["shop/z/rule-0", "shop/a/rule-0"], "{why}");
        }
    }
}

#[test]
fn of_equal_matches_the_oldest_route_s_comes_first_then_the_first_by_name_then_the_first_rule() {
    let same = "{ path: { value: /a } }";
    for (routes, expected) in [
        (vec![route("a", NEW, "", &[same]), route("b", OLD, "", &[same])], vec!["shop/b/rule-0", "shop/a/rule-0"]),
        (vec![route("b", OLD, "", &[same]), route("a", OLD, "", &[same])], vec!["shop/a/rule-0", "shop/b/rule-0"]),
        (vec![route("b", "", "", &[same]), route("a", "", "", &[same])], vec!["shop/a/rule-0", "shop/b/rule-0"]),
        // Whoever says no age is new.
        (vec![route("a", "", "", &[same]), route("b", NEW, "", &[same])], vec!["shop/b/rule-0", "shop/a/rule-0"]),
        (vec![route("a", "", "", &[same, same])], vec!["shop/a/rule-0", "shop/a/rule-1"]),
        (
            vec![route("a", NEW, "", &[same, "{ path: { value: /a/b } }"]), route("b", OLD, "", &[same])],
            vec!["shop/a/rule-1", "shop/b/rule-0", "shop/a/rule-0"],
        ),
    ] {
        assert_eq!(order(&routes, "shop", "http"), expected);
    }
}

#[test]
fn the_matches_of_one_rule_are_placed_one_by_one() {
    let routes = [
        route("a", "", "", &["{ path: { type: Exact, value: /a } }, { path: { value: / } }"]),
        route("b", "", "", &["{ path: { value: /b } }"]),
    ];
    assert_eq!(order(&routes, "shop", "http"), ["shop/a/rule-0", "shop/b/rule-0", "shop/a/rule-0"]);
}

#[test]
fn a_route_is_in_the_list_of_the_ports_that_it_names() {
    let all = "{}";
    let routes = [
        route("all", "", "", &["{ path: { value: /all } }"]),
        route("by-number", "", "port: 81", &[all]),
        route("by-name", "", "sectionName: http", &["{ path: { value: /by/name } }"]),
    ];
    assert_eq!(order(&routes, "shop", "http"), ["shop/by-name/rule-0", "shop/all/rule-0"]);
    assert_eq!(order(&routes, "shop", "admin"), ["shop/all/rule-0", "shop/by-number/rule-0"]);
}

#[test]
fn callers_of_a_namespace_with_routes_of_its_own_have_those_alone() {
    let routes = [route("producer", OLD, "", &["{}"]), route("team/consumer", NEW, "", &["{}"])];
    assert_eq!(order(&routes, "shop", "http"), ["shop/producer/rule-0"]);
    assert_eq!(order(&routes, "team", "http"), ["team/consumer/rule-0"]);
    let routes = [route("producer", OLD, "", &["{}"]), route("team/consumer", NEW, "port: 81", &["{}"])];
    assert_eq!(order(&routes, "team", "http"), ["shop/producer/rule-0"], "the other port has only the service's own");
}

#[test]
fn what_is_in_conflict_is_refused_and_named() {
    let http = route("a", OLD, "", &["{}"]);
    let grpc = "---\n{ apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: { name: b, namespace: shop }, spec: { parentRefs: [{ kind: Service, name: web }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] } }\n";
    let policy = |name: &str| {
        format!(
            "---\n{{ apiVersion: outrigger.dev/v1alpha1, kind: RoutePolicy, metadata: {{ name: {name}, namespace: shop }}, \
             spec: {{ targetRefs: [{{ kind: HTTPRoute, name: a }}], timeouts: {{ request: 1s }} }} }}\n"
        )
    };
    for (routes, code, object, path) in [
        (vec![http.clone(), grpc.into()], Code::Conflict, "GRPCRoute shop/b", "spec.parentRefs[0]"),
        (vec![http.clone(), http.clone()], Code::Duplicate, "HTTPRoute shop/a", "metadata.name"),
        (vec![http, policy("q"), policy("p")], Code::Conflict, "RoutePolicy shop/q", "spec.targetRefs[0]"),
        (
            vec![route("a", "creationTimestamp: yesterday", "", &["{}"])],
            Code::InvalidValue,
            "HTTPRoute shop/a",
            "metadata.creationTimestamp",
        ),
        (
            vec![route("a", "creationTimestamp: \"2026-13-01T00:00:00Z\"", "", &["{}"])],
            Code::InvalidValue,
            "HTTPRoute shop/a",
            "metadata.creationTimestamp",
        ),
    ] {
        let problems = mesh(&routes).expect_err("in conflict");
        let found: Vec<_> = problems.0.iter().map(|one| (one.code, one.object.as_str(), one.path.as_str())).collect();
        assert!(found.contains(&(code, object, path)), "{found:?}");
    }
}
