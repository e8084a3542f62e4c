//! What Envoy and gRPC are sent, read with the newest protos: the fields each insists on, and none it refuses.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol};
use outrigger_config::endpoint::{Assignment, Endpoint, Health, Locality};
use outrigger_config::listener::{ApiListener, Direction, Listener, TableSource, Telemetry};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::policy::rate_limit::{GlobalLimit, Scope};
use outrigger_config::policy::{
    Condition, Conditions, FailurePercentage, GrpcCodes, Hedge, Limits, Mode, Origin, Outlier, Per, PerEndpoint,
    RateLimit, RateLimitRule, Retry, SuccessRate, Tell, Thresholds, Timeouts,
};
use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::route::{AttemptCounts, Backend, Mirror, PathMatch, Route, RouteTable, VirtualHost};
use outrigger_config::subset::Criteria;
use outrigger_config::value::Percent;
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

fn listener_of(table: TableSource) -> Resource {
    Resource::Listener(Listener {
        name: name("outbound/shop/web/80"),
        address: "127.0.0.1:15001".parse().expect("an address"),
        direction: Direction::Outbound,
        table,
        identity: None,
        telemetry: Telemetry::default(),
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    })
}

#[test]
fn a_listener_of_envoy_has_all_that_envoy_insists_on() {
    let listener: listener::Listener = read(&listener_of(TableSource::Rds(name("outbound/shop"))), ClientKind::Envoy);
    assert_eq!(listener.traffic_direction(), core::TrafficDirection::Outbound);
    assert!(listener.metadata.is_none(), "our own words are for our own proxy");
    let filter = &listener.filter_chains[0].filters[0];
    let Some(listener::filter::ConfigType::TypedConfig(any)) = &filter.config_type else { panic!("{filter:?}") };
    let manager: hcm::HttpConnectionManager = unpack(any);
    assert!(!manager.stat_prefix.is_empty());
    assert_eq!(manager.upgrade_configs[0].upgrade_type, "websocket");
    let Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)) = &manager.route_specifier else { panic!() };
    assert_eq!(rds.route_config_name, "outbound/shop");
    check_ads(rds.config_source.as_ref());
    let types: Vec<_> = manager
        .http_filters
        .iter()
        .map(|filter| match &filter.config_type {
            Some(hcm::http_filter::ConfigType::TypedConfig(any)) => (filter.name.as_str(), any.type_url.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        types,
        [
            (
                "envoy.filters.http.local_ratelimit",
                "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
            ),
            (
                "envoy.filters.http.ratelimit",
                "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit"
            ),
            ("envoy.filters.http.fault", "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"),
            (
                "envoy.filters.http.stateful_session",
                "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
            ),
            ("envoy.filters.http.router", "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"),
        ]
    );
}

#[test]
fn grpc_gets_api_listeners_with_a_router_alone_and_no_sockets() {
    assert_eq!(encode(&listener_of(TableSource::Rds(name("t"))), ClientKind::Grpc), None);
    let api = Resource::ApiListener(ApiListener { name: name("pricing"), table: name("outbound/shop") });
    let listener: listener::Listener = read(&api, ClientKind::Grpc);
    assert_eq!(listener.name, "pricing");
    assert!(listener.address.is_none() && listener.filter_chains.is_empty());
    let any = listener.api_listener.expect("an API listener").api_listener.expect("its manager");
    let manager: hcm::HttpConnectionManager = unpack(&any);
    let names: Vec<_> = manager.http_filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!(names, ["envoy.filters.http.router"]);
    let Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)) = &manager.route_specifier else { panic!() };
    check_ads(rds.config_source.as_ref());
}

#[test]
fn a_copy_that_asks_what_its_request_does_not_is_for_our_own_proxy_alone() {
    let to = |of: &str, subset: Criteria| Mirror { cluster: name(of), percent: Percent::HUNDRED, subset };
    let of = |version: &'static str| -> Criteria { [("version", version)].into_iter().collect() };
    let mirrors = vec![to("canary", of("v2")), to("shadow", Criteria::default())];
    let backend = |version| Backend { subset: of(version), ..Backend::new(name("a"), 1) };
    let copies = |client, backends: &[Backend]| -> Vec<String> {
        let route = Route { mirrors: mirrors.clone(), backends: backends.to_vec(), ..Route::bare("r") };
        let (_, action) = only_route(&table(route), client);
        action.request_mirror_policies.into_iter().map(|mirror| mirror.cluster).collect()
    };
    assert_eq!(copies(ClientKind::Outrigger, &[backend("v1")]), ["canary", "shadow"]);
    for client in [ClientKind::Envoy, ClientKind::Grpc] {
        let others = "others would copy to anybody of the canary's service";
        assert_eq!(copies(client, &[backend("v1")]), ["shadow"], "{others}");
        assert_eq!(copies(client, &[backend("v1"), backend("v2")]), ["shadow"], "{others}");
    }
    // A copy asks what its request asks.
    assert_eq!(copies(ClientKind::Envoy, &[backend("v2")]), ["canary", "shadow"]);
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

fn retry() -> Retry {
    Retry {
        on: Conditions::UNSENT.with(Condition::ServerError),
        codes: vec![503],
        grpc_codes: GrpcCodes::default().with(14).with(2),
        per_try_timeout: Some(Duration::from_secs(3)),
        ..Retry::default_policy()
    }
}

#[test]
fn envoy_is_told_how_to_retry() {
    let mut route = Route::forward("r", name("c"));
    route.retry = Some(retry());
    route.timeouts.request = Some(Duration::from_secs(9));
    let (_, action) = only_route(&table(route), ClientKind::Envoy);
    assert_eq!(seconds(action.timeout), Some(9));
    let policy = action.retry_policy.expect("a policy");
    let tokens = "connect-failure,refused-stream,reset-before-request,5xx,retriable-status-codes,unavailable";
    assert_eq!(policy.retry_on, tokens);
    assert_eq!(wrapped(policy.num_retries), Some(2));
    assert_eq!(policy.retriable_status_codes, [503]);
    assert_eq!(seconds(policy.per_try_timeout), Some(3));
    let backoff = policy.retry_back_off.expect("a backoff");
    assert_eq!(backoff.base_interval.expect("a base").nanos, 25_000_000);
    assert_eq!(backoff.max_interval.expect("a bound").nanos, 250_000_000);
    assert_eq!(policy.retriable_request_headers[0].name, ":method");
    let limited = policy.rate_limited_retry_back_off.expect("waits as answers ask");
    assert_eq!(limited.reset_headers[0].name, "retry-after");
    assert_eq!(limited.max_interval.expect("a bound").seconds, 5);
}

#[test]
fn envoy_is_told_to_hedge_where_it_can_be_said() {
    let second = Duration::from_secs(1);
    let said = |hedge, per_try_timeout, client| {
        let mut route = Route::forward("r", name("c"));
        route.retry = Some(Retry { hedge: Some(hedge), per_try_timeout, ..retry() });
        let (_, action) = only_route(&table(route), client);
        let hedges = action.hedge_policy.is_some_and(|policy| policy.hedge_on_per_try_timeout);
        (hedges, seconds(action.retry_policy.expect("a policy").per_try_timeout))
    };
    assert_eq!(said(Hedge::Delay(second), None, ClientKind::Envoy), (true, Some(1)));
    // It has one timeout for both, and no percentile.
    assert_eq!(said(Hedge::Delay(second), Some(3 * second), ClientKind::Envoy), (false, Some(3)));
    assert_eq!(said(Hedge::Percentile(Percent::HALF), None, ClientKind::Envoy), (false, None));
    assert_eq!(said(Hedge::Delay(second), None, ClientKind::Grpc), (false, None));
}

/// Found by the properties of roundtrip.rs: what a client is not told of made it listen to answers that it never
/// tries again.
#[test]
fn nobody_listens_to_answers_that_are_not_tried_again() {
    let (mut hedged, mut unnamed) = (Retry::default_policy(), Retry::default_policy());
    hedged.hedge = Some(Hedge::Delay(Duration::from_millis(50)));
    unnamed.grpc_codes = GrpcCodes::default().with(5);
    for retry in [hedged, unnamed] {
        let mut route = Route::forward("r", name("c"));
        route.retry = Some(retry);
        for client in [ClientKind::Envoy, ClientKind::Grpc] {
            let (_, action) = only_route(&table(route.clone()), client);
            let policy = action.retry_policy.expect("a retry policy");
            assert_eq!(policy.rate_limited_retry_back_off, None, "{client:?}");
        }
    }
}

#[test]
fn a_per_try_timeout_without_retries_reaches_envoy_and_never_grpc() {
    let mut route = Route::forward("r", name("c"));
    route.timeouts.per_try = Some(Duration::from_secs(3));
    let (_, action) = only_route(&table(route.clone()), ClientKind::Envoy);
    let policy = action.retry_policy.expect("a policy");
    assert_eq!((wrapped(policy.num_retries), seconds(policy.per_try_timeout)), (Some(0), Some(3)));
    let (_, action) = only_route(&table(route), ClientKind::Grpc);
    assert_eq!(action.retry_policy, None, "gRPC refuses num_retries 0");
}

#[test]
fn grpc_gets_matches_and_deadlines_in_the_words_it_knows() {
    let mut route = Route::forward("r", name("c"));
    route.matches.path = PathMatch::Prefix("/shop.Pricing".into());
    route.timeouts.request = Some(Duration::from_secs(9));
    let (route, action) = only_route(&table(route), ClientKind::Grpc);
    let path = route.r#match.expect("a match").path_specifier;
    let Some(route::route_match::PathSpecifier::SafeRegex(regex)) = path else { panic!("{path:?}") };
    assert_eq!(regex.regex, "/shop\\.Pricing(?:/.*)?");
    assert_eq!(seconds(action.max_stream_duration.expect("a deadline").max_stream_duration), Some(9));
}

#[test]
fn a_bound_of_the_stream_holds_the_request_s_for_who_takes_only_one() {
    let secs = |seconds: Option<u64>| seconds.map(Duration::from_secs);
    let limits = |request, stream, grpc_max, client| {
        let mut route = Route::forward("r", name("c"));
        route.timeouts =
            Timeouts { request: secs(request), stream: secs(stream), grpc_max: secs(grpc_max), ..Timeouts::default() };
        let (_, action) = only_route(&table(route), client);
        let limits = action.max_stream_duration;
        limits.map(|limits| (seconds(limits.max_stream_duration), seconds(limits.grpc_timeout_header_max)))
    };
    for (request, stream, grpc_max, envoy, grpc, ours) in [
        (Some(9), None, None, None, Some((Some(9), None)), None),
        (Some(9), Some(20), None, Some((Some(9), None)), Some((Some(9), None)), Some((Some(20), None))),
        (None, Some(20), Some(0), Some((Some(20), Some(0))), Some((Some(20), Some(0))), Some((Some(20), Some(0)))),
        (Some(9), None, Some(0), Some((Some(9), Some(9))), Some((Some(9), Some(9))), Some((None, Some(0)))),
        (Some(9), None, Some(5), Some((Some(9), Some(5))), Some((Some(9), Some(5))), Some((None, Some(5)))),
        (None, None, None, None, None, None),
    ] {
        let found = [ClientKind::Envoy, ClientKind::Grpc, ClientKind::Outrigger]
            .map(|client| limits(request, stream, grpc_max, client));
        assert_eq!(found, [envoy, grpc, ours], "{request:?} {stream:?} {grpc_max:?}");
    }
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

#[test]
fn envoy_is_told_the_strictest_limit_in_an_interval_it_takes() {
    for (status, told) in [(503, 503), (499, 429)] {
        let mut route = Route::forward("r", name("c"));
        route.rate_limit = Some(rate_limit(Mode::Enforce, status));
        let (route, _) = only_route(&table(route), ClientKind::Envoy);
        let limit: LocalRateLimit = unpack(&route.typed_per_filter_config["envoy.filters.http.local_ratelimit"]);
        assert!(!limit.stat_prefix.is_empty());
        let bucket = limit.token_bucket.expect("a bucket");
        // 1 in 10 ms is 100/s, less than 1000 in 1 s; Envoy takes no interval below 50 ms.
        assert_eq!((bucket.max_tokens, wrapped(bucket.tokens_per_fill)), (7, Some(5)));
        assert_eq!(bucket.fill_interval.expect("an interval").nanos, 50_000_000);
        assert_eq!(limit.status.expect("a status").code, told);
        for share in [limit.filter_enabled, limit.filter_enforced] {
            assert_eq!(share.and_then(|share| share.default_value).expect("a share").numerator, 100);
        }
        let header = limit.response_headers_to_add[0].header.as_ref().expect("a field");
        assert_eq!((header.key.as_str(), header.value.as_str()), ("x-policy", "100%%"));
        assert!(limit.rate_limited_as_resource_exhausted);
    }
}

#[test]
fn clusters_come_over_ads_with_the_protocol_spelt_out() {
    use upstream::http_protocol_options::UpstreamProtocolOptions as Options;
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Downstream] {
        let cluster: cluster::Cluster = read(&Resource::Cluster(Cluster { protocol, ..eds() }), ClientKind::Envoy);
        let eds = cluster.eds_cluster_config.as_ref().expect("EDS");
        check_ads(eds.eds_config.as_ref());
        assert_eq!(eds.service_name, "shop/catalog/http");
        assert_eq!(seconds(cluster.connect_timeout), Some(1));
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options: upstream::HttpProtocolOptions = unpack(&cluster.typed_extension_protocol_options[key]);
        assert_eq!(seconds(options.common_http_protocol_options.expect("common").idle_timeout), Some(60));
        match options.upstream_protocol_options.expect("a protocol") {
            Options::UseDownstreamProtocolConfig(config) => {
                assert_eq!(protocol, Protocol::Downstream);
                assert!(config.http2_protocol_options.is_some());
            }
            Options::ExplicitHttpConfig(_) => assert_ne!(protocol, Protocol::Downstream),
            Options::AutoConfig(_) => panic!("ALPN needs TLS"),
        }
    }
}

#[test]
fn each_client_gets_a_balancing_policy_that_it_has() {
    use cluster::cluster::LbPolicy;
    let ring = Balancing::RingHash { min_size: 10, max_size: 20 };
    for (balancing, envoy) in [
        (Balancing::RoundRobin, LbPolicy::RoundRobin),
        (Balancing::LeastRequest, LbPolicy::LeastRequest),
        (Balancing::default(), LbPolicy::LeastRequest),
        (Balancing::Random, LbPolicy::Random),
        (Balancing::Maglev { table_size: 7 }, LbPolicy::Maglev),
        (ring, LbPolicy::RingHash),
    ] {
        let resource = Resource::Cluster(Cluster { balancing, ..eds() });
        let cluster: cluster::Cluster = read(&resource, ClientKind::Envoy);
        assert_eq!(cluster.lb_policy(), envoy);
        assert_eq!(cluster.load_balancing_policy, None);

        let cluster: cluster::Cluster = read(&resource, ClientKind::Grpc);
        assert_eq!(cluster.lb_policy(), LbPolicy::RoundRobin, "gRPC refuses other enums before it reads the list");
        let list = cluster.load_balancing_policy.expect("a list").policies;
        let names: Vec<_> = list
            .iter()
            .filter_map(|policy| policy.typed_extension_config.as_ref()?.typed_config.as_ref())
            .map(|any| any.type_url.rsplit('.').next().unwrap_or_default())
            .collect();
        let expected: &[&str] = if balancing.is_hash() { &["RingHash", "WrrLocality"] } else { &["WrrLocality"] };
        assert_eq!(names, expected);
    }
}

#[test]
fn envoy_is_told_to_eject_by_errors_alone_and_always_one() {
    let mut cluster = eds();
    cluster.outlier = Some(Outlier::with_defaults(Origin::default()));
    let resource = Resource::Cluster(cluster);
    let read_by_envoy: cluster::Cluster = read(&resource, ClientKind::Envoy);
    let outlier = read_by_envoy.outlier_detection.expect("detection");
    assert_eq!(wrapped(outlier.consecutive_5xx), Some(5));
    assert_eq!(wrapped(outlier.enforcing_consecutive_5xx), Some(100));
    assert_eq!(wrapped(outlier.enforcing_success_rate), Some(0));
    assert_eq!(wrapped(outlier.max_ejection_percent), Some(10));
    let times = [outlier.interval, outlier.base_ejection_time, outlier.max_ejection_time];
    assert_eq!(times.map(seconds), [Some(10), Some(30), Some(300)]);
    assert!(outlier.always_eject_one_host.expect("said").value, "the second part is merged into the first");

    let read_by_grpc: cluster::Cluster = read(&resource, ClientKind::Grpc);
    assert_eq!(read_by_grpc.outlier_detection, None);
}

#[test]
fn envoy_without_a_panic_threshold_is_not_told_to_eject_an_only_host() {
    let mut cluster = eds();
    cluster.outlier = Some(Outlier::with_defaults(Origin::default()));
    for (threshold, always) in [(Percent::ZERO, None), (Percent::HUNDRED, Some(true))] {
        cluster.panic_threshold = threshold;
        let read: cluster::Cluster = read(&Resource::Cluster(cluster.clone()), ClientKind::Envoy);
        let outlier = read.outlier_detection.expect("detection");
        assert_eq!(outlier.always_eject_one_host.map(|one| one.value), always, "{threshold:?}");
        assert_eq!(wrapped(outlier.max_ejection_percent), Some(10));
    }
}

#[test]
fn envoy_is_told_what_acts_of_outlier_detection_and_no_more() {
    let mut cluster = eds();
    cluster.panic_threshold = Percent::try_new(20.0).expect("a share");
    cluster.outlier = Some(Outlier {
        consecutive_gateway_errors: Some(3),
        consecutive_local_errors: Some(4),
        success_rate: Some(SuccessRate::with_defaults(Mode::Enforce)),
        failure_percentage: Some(FailurePercentage::with_defaults(Mode::Observe)),
        ..Outlier::with_defaults(Origin::default())
    });
    let read: cluster::Cluster = read(&Resource::Cluster(cluster), ClientKind::Envoy);
    let threshold = read.common_lb_config.expect("said").healthy_panic_threshold.expect("said");
    assert!((threshold.value - 20.0).abs() < 1e-9);
    let outlier = read.outlier_detection.expect("detection");
    assert!(outlier.split_external_local_origin_errors);
    let acts = [
        outlier.enforcing_consecutive_5xx,
        outlier.enforcing_consecutive_gateway_failure,
        outlier.enforcing_consecutive_local_origin_failure,
        outlier.enforcing_success_rate,
        outlier.enforcing_local_origin_success_rate,
        outlier.enforcing_failure_percentage,
    ];
    assert_eq!(acts.map(wrapped), [Some(100), Some(100), Some(100), Some(100), Some(0), None]);
    let numbers = [
        outlier.consecutive_gateway_failure,
        outlier.consecutive_local_origin_failure,
        outlier.success_rate_stdev_factor,
        outlier.success_rate_request_volume,
        outlier.success_rate_minimum_hosts,
    ];
    assert_eq!(numbers.map(wrapped), [Some(3), Some(4), Some(1900), Some(100), Some(5)]);
}

#[test]
fn envoy_has_a_number_of_retries_or_a_budget_and_connections_of_an_endpoint() {
    let mut cluster = eds();
    let per_endpoint = PerEndpoint { max_connections: Some(4), max_requests: Some(8) };
    let high = Thresholds { max_retries: Some(4), max_requests: Some(0), ..Thresholds::default() };
    cluster.limits = Some(Limits { max_retries: Some(3), per_endpoint, high, ..Limits::default() });
    let read: cluster::Cluster = read(&Resource::Cluster(cluster), ClientKind::Envoy);
    let breakers = read.circuit_breakers.expect("breakers");
    assert_eq!(wrapped(breakers.thresholds[0].max_retries), Some(3));
    assert_eq!(breakers.thresholds[0].retry_budget, None);
    let high = &breakers.thresholds[1];
    assert_eq!((high.priority, wrapped(high.max_retries), wrapped(high.max_requests)), (1, Some(4), Some(0)));
    assert_eq!(wrapped(high.max_connections), Some(u32::MAX), "Envoy's own would be 1,024");
    for (priority, one) in [0, 1].into_iter().zip(&breakers.per_host_thresholds) {
        assert_eq!((one.priority, wrapped(one.max_connections), wrapped(one.max_requests)), (priority, Some(4), None));
    }
}

#[test]
fn localities_always_have_a_weight() {
    let endpoint = |address: &str, zone: &str, weight, health| Endpoint {
        weight,
        health,
        priority: if zone == "a" { 0 } else { 3 },
        locality: Locality { region: "r".into(), zone: zone.into() },
        workload: "w".into(),
        version: "v1".into(),
        ..Endpoint::at(address.parse().expect("an address"))
    };
    let endpoints = vec![
        endpoint("10.0.0.1:80", "a", 20, Health::Healthy),
        endpoint("10.0.0.2:80", "a", 40, Health::Draining),
        endpoint("10.0.0.3:80", "b", u32::MAX, Health::Unhealthy),
        endpoint("10.0.0.4:80", "b", u32::MAX, Health::Healthy),
    ];
    let assignment = Assignment::try_new(name("c"), endpoints).expect("distinct addresses");
    for client in [ClientKind::Envoy, ClientKind::Grpc] {
        let read: endpoint::ClusterLoadAssignment = read(&Resource::Assignment(assignment.clone()), client);
        let weights: Vec<_> = read.endpoints.iter().map(|group| wrapped(group.load_balancing_weight)).collect();
        assert_eq!(weights, [Some(15), Some(u32::MAX / 4 * 2)], "together they fit a u32");
        assert!(read.endpoints.iter().all(|group| group.locality.is_some()));
        let priorities: Vec<_> = read.endpoints.iter().map(|group| group.priority).collect();
        assert_eq!(priorities, [0, 1], "without a gap, which gRPC refuses");
        let health: Vec<_> =
            read.endpoints.iter().flat_map(|group| &group.lb_endpoints).map(|one| one.health_status()).collect();
        let weights: Vec<_> =
            read.endpoints[1].lb_endpoints.iter().map(|one| wrapped(one.load_balancing_weight)).collect();
        assert_eq!(weights, [Some(u32::MAX / 4); 2], "in their proportions");
        use core::HealthStatus::{Draining, Healthy, Unhealthy};
        assert_eq!(health, [Healthy, Draining, Unhealthy, Healthy]);
    }
}

#[test]
fn grpc_gets_no_static_clusters() {
    let assignment = Assignment::try_new(name("local"), Vec::new()).expect("empty");
    let cluster = Resource::Cluster(Cluster::new(name("local"), Discovery::Static(assignment)));
    assert_eq!(encode(&cluster, ClientKind::Grpc), None);
    let read: cluster::Cluster = read(&cluster, ClientKind::Envoy);
    let kind = cluster::cluster::ClusterDiscoveryType::Type(cluster::cluster::DiscoveryType::Static.into());
    assert_eq!(read.cluster_discovery_type, Some(kind));
    assert_eq!(read.load_assignment.expect("endpoints").cluster_name, "local");
}
