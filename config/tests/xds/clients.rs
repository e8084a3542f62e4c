//! What Envoy and gRPC are sent, read with the newest protos: the fields each insists on, and none it refuses.

mod listeners;
mod routes;
mod clusters;

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::cluster::{Cluster, Discovery};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::policy::rate_limit::{GlobalLimit, Scope};
use outrigger_config::policy::{Limits, Mode, Origin, Outlier, Per, RateLimit, RateLimitRule, Retry, Tell};
use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::route::{AttemptCounts, Route, RouteTable, VirtualHost};
use outrigger_config::xds::encode;
use prost::Message;

fn name(text: &str) -> ResourceName {
    ResourceName::try_new(text).expect("a name")
}

fn read<T: Message + Default>(resource: &Resource, client: ClientKind) -> T {
    let bytes = encode(resource, client).expect("this client gets it");
    T::decode(bytes).expect("our bytes are valid")
}

fn unpack<T: Message + prost::Name + Default>(any: &pb::Any) -> T {
    assert_eq!(any.type_url, format!("type.googleapis.com/{}", T::full_name()));
    T::decode(any.value.as_slice()).expect("our bytes are valid")
}

fn wrapped(value: Option<pb::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

fn seconds(value: Option<pb::Duration>) -> Option<i64> {
    value.map(|value| value.seconds)
}

fn eds() -> Cluster {
    Cluster::new(name("shop/catalog/http"), Discovery::Eds(name("shop/catalog/http")))
}

fn table(route: Route) -> Resource {
    let domains = vec![Domain::parse("catalog").expect("a domain")];
    let host = VirtualHost { name: "catalog".into(), domains, routes: vec![route], counts: AttemptCounts::default() };
    Resource::Table(RouteTable { name: name("outbound/shop"), hosts: vec![host] })
}

fn only_route(resource: &Resource, client: ClientKind) -> (route::Route, route::RouteAction) {
    let table: route::RouteConfiguration = read(resource, client);
    let route = table.virtual_hosts[0].routes[0].clone();
    match route.action.clone() {
        Some(route::route::Action::Route(action)) => (route, action),
        other => panic!("{other:?}"),
    }
}

fn check_ads(source: Option<&core::ConfigSource>) {
    let source = source.expect("a source");
    assert_eq!(source.resource_api_version(), core::ApiVersion::V3);
    assert!(matches!(source.config_source_specifier, Some(core::config_source::ConfigSourceSpecifier::Ads(_))));
}

#[test]
fn absent_timeouts_are_switched_off_and_absent_limits_lifted() {
    let (route, action) = only_route(&table(Route::forward("r", name("c"))), ClientKind::Envoy);
    assert_eq!(seconds(action.timeout), Some(0));
    assert_eq!(seconds(action.idle_timeout), Some(0));
    assert_eq!(action.retry_policy, None);
    assert!(route.typed_per_filter_config.is_empty() && route.metadata.is_none());

    let cluster: cluster::Cluster = read(&Resource::Cluster(eds()), ClientKind::Envoy);
    let thresholds = &cluster.circuit_breakers.expect("breakers").thresholds[0];
    assert_eq!(thresholds.priority(), core::RoutingPriority::Default);
    for limit in [thresholds.max_connections, thresholds.max_pending_requests, thresholds.max_requests] {
        assert_eq!(wrapped(limit), Some(u32::MAX));
    }
    let budget = thresholds.retry_budget.as_ref().expect("a budget");
    assert_eq!(budget.budget_percent.expect("a share").value, 20.0);
    assert_eq!(wrapped(budget.min_retry_concurrency), Some(3));
    assert_eq!(cluster.outlier_detection, None);
}

#[test]
fn what_is_only_observed_never_reaches_standard_fields() {
    let mut route = Route::forward("r", name("c"));
    route.retry = Some(Retry { mode: Mode::Observe, ..Retry::default_policy() });
    route.rate_limit = Some(rate_limit(Mode::Observe, 429));
    let (route, action) = only_route(&table(route), ClientKind::Envoy);
    assert_eq!(action.retry_policy, None);
    assert!(route.typed_per_filter_config.is_empty());

    let mut cluster = eds();
    cluster.limits = Some(Limits { mode: Mode::Observe, max_requests: Some(1), ..Limits::default() });
    cluster.outlier = Some(Outlier { mode: Mode::Observe, ..Outlier::with_defaults(Origin::default()) });
    let cluster: cluster::Cluster = read(&Resource::Cluster(cluster), ClientKind::Envoy);
    let thresholds = &cluster.circuit_breakers.expect("breakers").thresholds[0];
    assert_eq!(wrapped(thresholds.max_requests), Some(u32::MAX));
    assert_eq!(cluster.outlier_detection, None);
}

fn rate_limit(mode: Mode, status: u16) -> RateLimit {
    let rule = |name: &str, requests, interval| RateLimitRule {
        name: name.into(),
        matches: Vec::new(),
        requests,
        interval: Duration::from_millis(interval),
        burst: 7,
        per: Per::Total,
        max_keys: RateLimitRule::DEFAULT_KEYS,
        scope: Scope::Proxy,
    };
    let headers = vec![("x-policy".into(), "100%".into())];
    RateLimit {
        origin: Origin::default(),
        mode,
        rules: vec![rule("wide", 1000, 1000), rule("strict", 1, 10)],
        status,
        headers,
        tell: Tell::default(),
        global: GlobalLimit::default(),
    }
}
