//! Which host and which route of it take a request.

use std::sync::Arc;

use http::{HeaderMap, Method};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::route::{PathMatch, Route as Model, RouteMatch, RouteTable, VirtualHost};

use super::{Facts, Found, Table};
use crate::cluster::Ask;
use crate::route::asked::Descriptors;
use crate::route::{Rehearsed, Route, Split, Target};
use crate::telemetry::{EdgeKey, Metrics};

fn name() -> ResourceName {
    ResourceName::try_new("outbound/shop").expect("a name")
}

fn route(name_of_route: &str, path: PathMatch) -> Model {
    Model { matches: RouteMatch { path, ..RouteMatch::any() }, ..Model::forward(name_of_route, name()) }
}

/// A virtual host whose only route is called as the first domain.
fn host(domains: &[&str]) -> VirtualHost {
    let domains: Vec<_> = domains.iter().map(|domain| Domain::parse(domain).expect("a domain")).collect();
    let name: Arc<str> = domains[0].to_string().into();
    VirtualHost { routes: vec![route(&name, PathMatch::Prefix("/".into()))], name, domains, counts: Default::default() }
}

fn table(hosts: Vec<VirtualHost>) -> Table {
    let metrics = Metrics::default();
    Table::new(&RouteTable { name: name(), hosts }, |_, model| {
        let key = EdgeKey {
            direction: outrigger_config::listener::Direction::Outbound,
            dst_service: "".into(),
            dst_namespace: "".into(),
            dst_version: "".into(),
            route: Arc::clone(&model.name),
        };
        let target = Target { cluster: None, name: name(), ask: Ask::default(), edge: metrics.edge(&key), edits: None };
        let targets = Split::new([(1, target)]);
        Some(Arc::new(Route {
            config: model.clone(),
            targets,
            answer: None,
            mirrors: Box::default(),
            fault: None,
            cache: None,
            limiter: None,
            globals: None,
            asked: Descriptors::default(),
            rehearsed: Rehearsed::default(),
            retrying: None,
            counts: Default::default(),
        }))
    })
}

fn find(table: &Table, authority: &str, path: &str) -> String {
    let (method, headers) = (Method::GET, HeaderMap::new());
    match table.find(&Facts { authority, path, query: None, method: &method, headers: &headers, grpc: false }) {
        Found::Route(route) => route.config.name.to_string(),
        Found::NoHost => "no host".into(),
        Found::NoRoute => "no route".into(),
    }
}

#[test]
fn the_most_specific_domain_wins() {
    let hosts = [&["*"][..], &["*.com"], &["*.shop.com"], &["www.shop.com"], &["cart", "cart.shop:8080"]];
    let table = table(hosts.into_iter().map(host).collect());
    for (authority, expected) in [
        ("www.shop.com", "www.shop.com"),
        ("api.shop.com", "*.shop.com"),
        ("a.b.shop.com", "*.shop.com"),
        ("shop.com", "*.com"),
        (".com", "*"),
        ("cart", "cart"),
        ("cart.shop:8080", "cart"),
        ("cart.shop", "*"),
        ("", "*"),
    ] {
        assert_eq!(find(&table, authority, "/"), expected, "{authority}");
    }
}

#[test]
fn without_any_host_nobody_is_served() {
    let table = table(vec![host(&["cart"])]);
    assert_eq!(find(&table, "car", "/"), "no host");
    assert_eq!(find(&table, "carts", "/"), "no host");
}

#[test]
fn the_first_route_that_matches_decides_and_other_hosts_are_not_asked() {
    let mut cart = host(&["cart"]);
    cart.routes = vec![
        route("one", PathMatch::Exact("/items".into())),
        route("all", PathMatch::Prefix("/items".into())),
        route("never", PathMatch::Prefix("/items/7".into())),
    ];
    let table = table(vec![cart, host(&["*"])]);
    for (path, expected) in [("/items", "one"), ("/items/7", "all"), ("/", "no route")] {
        assert_eq!(find(&table, "cart", path), expected, "{path}");
    }
    assert_eq!(table.routes().count(), 4);
}
