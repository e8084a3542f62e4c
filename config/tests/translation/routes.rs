//! Which match is tried first, and whose route and policy count.

use outrigger_config::mesh::Mesh;
use outrigger_config::route::PathMatch;

use super::{SERVICES, mesh, route, rule, table};

/// The paths and names of a table's only virtual host, in the order they are tried.
fn order(mesh: &Mesh, namespace: &str, service: &str) -> Vec<String> {
    let table = table(&mesh.shared(namespace), service);
    table.hosts[0].routes.iter().map(|route| route.name.rsplit('/').next().unwrap_or_default().to_owned()).collect()
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
