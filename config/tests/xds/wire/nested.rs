//! The messages that nest in xds-api's, which are of prost 0.13.

use outrigger_config::xds::wire::adaptive::{AdaptiveConcurrency, GradientController, LimitParams, MinRttParams};
use outrigger_config::xds::wire::balancing::{
    ConsistentHashing, HashFunction, LeastRequest, Maglev, Random, RingHash, RoundRobin, SlowStartConfig, Subset,
    WrrLocality,
};
use outrigger_config::xds::wire::http::{HttpProtocolOptions, http_protocol_options as inner};
use outrigger_config::xds::wire::rate_limit::LocalRateLimit;
use outrigger_config::xds::wire::{TYPE_URL_PREFIX, pack};
use prost_xds::{Message, Name};
use xds_api::pb::envoy::config::cluster::v3 as cluster;
use xds_api::pb::envoy::config::cluster::v3::cluster::lb_subset_config::LbSubsetSelector;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::{adaptive_concurrency, balancing, delays, fault, local_ratelimit, theirs, upstream};
use prost::Message as NewMessage;

/// Their message of ours, under the name that both have.
fn read<O, T>(ours: &O) -> T
where
    O: Message + Name + Default + PartialEq,
    T: prost::Message + prost::Name + Default,
{
    let packed = pack(ours);
    assert_eq!(packed.type_url, format!("{TYPE_URL_PREFIX}{}", T::full_name()));
    let read: T = theirs(&packed.value);
    assert_eq!(O::decode(read.encode_to_vec().as_slice()).as_ref(), Ok(ours));
    read
}

#[test]
fn load_balancing_policies() {
    let slow = SlowStartConfig {
        slow_start_window: Some(pb::Duration { seconds: 30, nanos: 1 }),
        aggression: Some(core::RuntimeDouble { default_value: 1.5, runtime_key: "key".into() }),
        min_weight_percent: Some(kinds::Percent { value: 20.0 }),
    };
    let hashing = Some(ConsistentHashing { hash_balance_factor: Some(pb::UInt32Value { value: 150 }) });
    let turns: balancing::round_robin::v3::RoundRobin = read(&RoundRobin { slow_start_config: Some(slow.clone()) });
    assert_eq!(turns.slow_start_config.expect("said").slow_start_window.expect("a window").seconds, 30);
    let least: balancing::least_request::v3::LeastRequest = read(&LeastRequest { slow_start_config: Some(slow) });
    assert_eq!(least.slow_start_config.expect("said").min_weight_percent.expect("a share").value, 20.0);
    let table: balancing::maglev::v3::Maglev =
        read(&Maglev { table_size: Some(pb::UInt64Value { value: 7 }), consistent_hashing_lb_config: hashing });
    assert_eq!(table.table_size.expect("a size").value, 7);
    let factor = table.consistent_hashing_lb_config.and_then(|hashing| hashing.hash_balance_factor);
    assert_eq!(factor.expect("a factor").value, 150);
    read::<_, balancing::random::v3::Random>(&Random {});
    let ring: balancing::ring_hash::v3::RingHash = read(&RingHash {
        hash_function: HashFunction::XxHash.into(),
        minimum_ring_size: Some(pb::UInt64Value { value: 2 }),
        maximum_ring_size: Some(pb::UInt64Value { value: 3 }),
        consistent_hashing_lb_config: hashing,
    });
    assert_eq!(ring.hash_function(), balancing::ring_hash::v3::ring_hash::HashFunction::XxHash);
    assert_eq!(ring.minimum_ring_size.expect("a size").value, 2);
    assert_eq!(ring.maximum_ring_size.expect("a size").value, 3);
    let config = core::TypedExtensionConfig { name: "inner".into(), typed_config: Some(pack(&RoundRobin::default())) };
    let policy = cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) };
    let locality: balancing::wrr_locality::v3::WrrLocality =
        read(&WrrLocality { endpoint_picking_policy: Some(cluster::LoadBalancingPolicy { policies: vec![policy] }) });
    let keys = vec!["version".to_owned()];
    let parts: balancing::subset::v3::Subset = read(&Subset {
        fallback_policy: 2,
        default_subset: Some(pb::Struct::default()),
        subset_selectors: vec![LbSubsetSelector { keys, fallback_policy: 3, ..Default::default() }],
        locality_weight_aware: true,
        scale_locality_weight: true,
        panic_mode_any: true,
        list_as_any: true,
        metadata_fallback_policy: 1,
        subset_lb_policy: Some(cluster::LoadBalancingPolicy::default()),
        allow_redundant_keys: true,
    });
    assert_eq!(parts.subset_selectors[0].keys, ["version"]);
    assert!(parts.default_subset.is_some() && parts.subset_lb_policy.is_some() && parts.allow_redundant_keys);
    let policies = locality.endpoint_picking_policy.expect("a policy").policies;
    assert_eq!(policies[0].typed_extension_config.as_ref().expect("a policy").name, "inner");
}

#[test]
fn http_protocol_options() {
    use upstream::http_protocol_options::UpstreamProtocolOptions as Their;
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig as TheirConfig;
    let options = |options| HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(pb::Duration { seconds: 7, nanos: 0 }),
            ..Default::default()
        }),
        upstream_protocol_options: Some(options),
    };
    let explicit = |config| {
        let explicit = inner::ExplicitHttpConfig { protocol_config: Some(config) };
        let read: upstream::HttpProtocolOptions = read(&options(inner::UpstreamProtocolOptions::Explicit(explicit)));
        let common = read.common_http_protocol_options.expect("common options");
        assert_eq!(common.idle_timeout.expect("a timeout").seconds, 7);
        match read.upstream_protocol_options {
            Some(Their::ExplicitHttpConfig(explicit)) => explicit.protocol_config.expect("a version"),
            other => panic!("{other:?}"),
        }
    };
    let http1 = explicit(inner::ProtocolConfig::Http(Default::default()));
    assert!(matches!(http1, TheirConfig::HttpProtocolOptions(_)));
    let http2 = explicit(inner::ProtocolConfig::Http2(Default::default()));
    assert!(matches!(http2, TheirConfig::Http2ProtocolOptions(_)));
    let http3 = explicit(inner::ProtocolConfig::Http3(Default::default()));
    assert!(matches!(http3, TheirConfig::Http3ProtocolOptions(_)));

    let downstream = inner::UseDownstreamHttpConfig {
        http_protocol_options: Some(core::Http1ProtocolOptions { accept_http_10: true, ..Default::default() }),
        http2_protocol_options: Some(core::Http2ProtocolOptions { allow_connect: true, ..Default::default() }),
    };
    let read: upstream::HttpProtocolOptions =
        self::read(&options(inner::UpstreamProtocolOptions::UseDownstream(downstream)));
    let Some(Their::UseDownstreamProtocolConfig(config)) = read.upstream_protocol_options else { panic!() };
    assert!(config.http_protocol_options.expect("options of HTTP/1.1").accept_http_10);
    assert!(config.http2_protocol_options.expect("options of HTTP/2").allow_connect);

    let auto = options(inner::UpstreamProtocolOptions::Auto(inner::AutoHttpConfig {}));
    let read: upstream::HttpProtocolOptions = self::read(&auto);
    assert!(matches!(read.upstream_protocol_options, Some(Their::AutoConfig(_))));
}

#[test]
fn client_side_weighted_round_robin() {
    use balancing::client_side_weighted_round_robin::v3 as theirs;
    let seconds = |seconds| Some(pb::Duration { seconds, nanos: 0 });
    let read: theirs::ClientSideWeightedRoundRobin =
        read(&outrigger_config::xds::wire::balancing::ClientSideWeightedRoundRobin {
            enable_oob_load_report: Some(pb::BoolValue { value: true }),
            oob_reporting_period: seconds(4),
            blackout_period: seconds(1),
            weight_expiration_period: seconds(2),
            weight_update_period: seconds(3),
            error_utilization_penalty: Some(pb::FloatValue { value: 0.5 }),
            metric_names_for_computing_utilization: vec!["m".into()],
            slow_start_config: Some(Default::default()),
        });
    assert!(read.enable_oob_load_report.is_some_and(|asked| asked.value) && read.slow_start_config.is_some());
    let periods =
        [read.blackout_period, read.weight_expiration_period, read.weight_update_period, read.oob_reporting_period];
    assert_eq!(periods.map(|period| period.map(|period| period.seconds)), [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(read.error_utilization_penalty.map(|penalty| penalty.value), Some(0.5));
    assert_eq!(read.metric_names_for_computing_utilization, ["m"]);
}

#[test]
fn stateful_session() {
    use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3 as session;
    use envoy_types::pb::envoy::extensions::http::stateful_session::cookie::v3 as cookie;
    use outrigger_config::xds::wire::session as ours;
    let attribute = ours::CookieAttribute { name: "SameSite".into(), value: "Lax".into() };
    let state: cookie::CookieBasedSessionState = read(&ours::CookieBasedSessionState {
        cookie: Some(ours::Cookie {
            name: "sid".into(),
            ttl: Some(pb::Duration { seconds: 7, nanos: 0 }),
            path: "/shop".into(),
            attributes: vec![attribute],
        }),
    });
    let cookie = state.cookie.expect("a cookie");
    assert_eq!((cookie.name.as_str(), cookie.path.as_str()), ("sid", "/shop"));
    assert_eq!((cookie.ttl.map(|ttl| ttl.seconds), cookie.attributes[0].value.as_str()), (Some(7), "Lax"));
    let stateful = ours::StatefulSession {
        session_state: Some(core::TypedExtensionConfig { name: "n".into(), typed_config: None }),
        strict: true,
        stat_prefix: "p".into(),
    };
    let route: session::StatefulSessionPerRoute =
        read(&ours::StatefulSessionPerRoute { disabled: None, stateful_session: Some(stateful) });
    let Some(session::stateful_session_per_route::Override::StatefulSession(inner)) = route.r#override else {
        panic!()
    };
    assert!(inner.strict && inner.session_state.is_some_and(|state| state.name == "n"));
    let off: session::StatefulSessionPerRoute =
        read(&ours::StatefulSessionPerRoute { disabled: Some(true), stateful_session: None });
    assert_eq!(off.r#override, Some(session::stateful_session_per_route::Override::Disabled(true)));
}

#[test]
fn http_fault() {
    use outrigger_config::xds::wire::fault::{ByHeader, FaultAbort, FaultDelay, FaultRateLimit, FixedLimit, HttpFault};
    let share = |numerator| Some(kinds::FractionalPercent { numerator, denominator: 2 });
    let abort = FaultAbort { http_status: Some(503), percentage: share(1), ..Default::default() };
    let fixed_delay = Some(pb::Duration { seconds: 9, nanos: 0 });
    let delay = FaultDelay { fixed_delay, percentage: share(2), ..Default::default() };
    let ours = HttpFault {
        delay: Some(delay),
        abort: Some(abort),
        upstream_cluster: "c".into(),
        headers: vec![route::HeaderMatcher::default()],
        downstream_nodes: vec!["n".into()],
        max_active_faults: Some(pb::UInt32Value { value: 3 }),
        response_rate_limit: Some(FaultRateLimit {
            fixed_limit: Some(FixedLimit { limit_kbps: 7 }),
            header_limit: None,
            percentage: share(4),
        }),
    };
    let theirs: fault::HttpFault = read(&ours);
    let abort = theirs.abort.expect("an abort");
    assert_eq!(abort.error_type, Some(fault::fault_abort::ErrorType::HttpStatus(503)));
    assert_eq!(abort.percentage.expect("a share").numerator, 1);
    let delay = theirs.delay.expect("a delay");
    let Some(delays::fault_delay::FaultDelaySecifier::FixedDelay(fixed)) = delay.fault_delay_secifier else { panic!() };
    assert_eq!(fixed.seconds, 9);
    assert_eq!(delay.percentage.expect("a share").numerator, 2);
    assert_eq!((theirs.upstream_cluster.as_str(), theirs.headers.len()), ("c", 1));
    assert_eq!((theirs.downstream_nodes.len(), theirs.max_active_faults.map(|max| max.value)), (1, Some(3)));
    let limit = theirs.response_rate_limit.expect("a limit");
    assert_eq!(limit.percentage.expect("a share").numerator, 4);
    let Some(delays::fault_rate_limit::LimitType::FixedLimit(fixed)) = limit.limit_type else { panic!() };
    assert_eq!(fixed.limit_kbps, 7);
    // Theirs is a choice, written where its first field would be; ours is three fields, each in its own place.
    let by_header = FaultDelay { header_delay: Some(ByHeader {}), percentage: share(2), ..Default::default() };
    let theirs = <delays::FaultDelay as NewMessage>::decode(by_header.encode_to_vec().as_slice()).expect("valid");
    assert!(matches!(theirs.fault_delay_secifier, Some(delays::fault_delay::FaultDelaySecifier::HeaderDelay(_))));
    let by_header = FaultRateLimit { header_limit: Some(ByHeader {}), percentage: share(2), ..Default::default() };
    let theirs = <delays::FaultRateLimit as NewMessage>::decode(by_header.encode_to_vec().as_slice()).expect("valid");
    assert!(matches!(theirs.limit_type, Some(delays::fault_rate_limit::LimitType::HeaderLimit(_))));
    let by_header = FaultAbort { header_abort: Some(ByHeader {}), percentage: share(1), ..Default::default() };
    let theirs = <fault::FaultAbort as NewMessage>::decode(by_header.encode_to_vec().as_slice()).expect("valid");
    assert!(matches!(theirs.error_type, Some(fault::fault_abort::ErrorType::HeaderAbort(_))));
    let by_grpc = FaultAbort { grpc_status: Some(8), percentage: share(1), ..Default::default() };
    let theirs = <fault::FaultAbort as NewMessage>::decode(by_grpc.encode_to_vec().as_slice()).expect("valid");
    assert_eq!(theirs.error_type, Some(fault::fault_abort::ErrorType::GrpcStatus(8)));
}

#[test]
fn the_limit_that_adapts() {
    let whole = |value| Some(pb::UInt32Value { value });
    let time = |seconds| Some(pb::Duration { seconds, nanos: 0 });
    let share = |value| Some(kinds::Percent { value });
    let flag =
        core::RuntimeFeatureFlag { default_value: Some(pb::BoolValue { value: true }), runtime_key: "key".into() };
    let filter: adaptive_concurrency::AdaptiveConcurrency = read(&AdaptiveConcurrency {
        gradient_controller_config: Some(GradientController {
            sample_aggregate_percentile: share(1.0),
            concurrency_limit_params: Some(LimitParams {
                max_concurrency_limit: whole(2),
                concurrency_update_interval: time(3),
                min_concurrency_limit: whole(4),
            }),
            min_rtt_calc_params: Some(MinRttParams {
                interval: time(5),
                request_count: whole(6),
                jitter: share(7.0),
                min_concurrency: whole(8),
                buffer: share(9.0),
                fixed_value: time(10),
            }),
        }),
        enabled: Some(flag),
        concurrency_limit_exceeded_status: Some(kinds::HttpStatus { code: 503 }),
    });
    assert_eq!(filter.enabled.expect("a flag").runtime_key, "key");
    assert_eq!(filter.concurrency_limit_exceeded_status.expect("a status").code, 503);
    let Some(adaptive_concurrency::adaptive_concurrency::ConcurrencyControllerConfig::GradientControllerConfig(
        gradient,
    )) = filter.concurrency_controller_config
    else {
        panic!()
    };
    let limit = gradient.concurrency_limit_params.expect("numbers");
    let of = |message: Option<envoy_types::pb::google::protobuf::UInt32Value>| message.map(|one| one.value);
    let after = |message: Option<envoy_types::pb::google::protobuf::Duration>| message.map(|one| one.seconds);
    let part = |message: Option<envoy_types::pb::envoy::r#type::v3::Percent>| message.map(|one| one.value);
    assert_eq!(part(gradient.sample_aggregate_percentile), Some(1.0));
    assert_eq!((of(limit.max_concurrency_limit), after(limit.concurrency_update_interval)), (Some(2), Some(3)));
    assert_eq!(of(limit.min_concurrency_limit), Some(4));
    let rtt = gradient.min_rtt_calc_params.expect("numbers");
    assert_eq!((after(rtt.interval), of(rtt.request_count), part(rtt.jitter)), (Some(5), Some(6), Some(7.0)));
    assert_eq!((of(rtt.min_concurrency), part(rtt.buffer)), (Some(8), Some(9.0)));
    assert_eq!(after(rtt.fixed_value), Some(10));
}

#[test]
fn global_rate_limit() {
    use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimit as Theirs;
    use outrigger_config::xds::wire::global_limit::RateLimit;
    let theirs: Theirs = read(&RateLimit {
        domain: "outrigger".into(),
        timeout: Some(pb::Duration { seconds: 0, nanos: 7 }),
        failure_mode_deny: true,
        rate_limited_as_resource_exhausted: true,
        rate_limit_service: Some(Default::default()),
        stage: 3,
        request_type: "both".into(),
        enable_x_ratelimit_headers: 1,
        disable_x_envoy_ratelimited_header: true,
        rate_limited_status: Some(kinds::HttpStatus { code: 503 }),
        response_headers_to_add: vec![core::HeaderValueOption::default()],
        status_on_error: Some(kinds::HttpStatus { code: 502 }),
        filter_enabled: Some(core::RuntimeFractionalPercent::default()),
        filter_enforced: Some(core::RuntimeFractionalPercent::default()),
        failure_mode_deny_percent: Some(core::RuntimeFractionalPercent::default()),
        rate_limits: vec![route::RateLimit::default(); 2],
    });
    assert_eq!((theirs.stage, theirs.request_type.as_str(), theirs.rate_limits.len()), (3, "both", 2));
    assert_eq!(theirs.rate_limited_status.expect("a status").code, 503);
    assert_eq!(theirs.status_on_error.expect("a status").code, 502);
    assert!(theirs.disable_x_envoy_ratelimited_header && theirs.enable_x_ratelimit_headers == 1);
    assert!(theirs.filter_enabled.is_some() && theirs.filter_enforced.is_some());
    assert!(theirs.failure_mode_deny_percent.is_some() && theirs.response_headers_to_add.len() == 1);
    assert_eq!((theirs.domain.as_str(), theirs.timeout.expect("a timeout").nanos), ("outrigger", 7));
    assert!(theirs.failure_mode_deny && theirs.rate_limited_as_resource_exhausted);
    assert!(theirs.rate_limit_service.is_some());
}

#[test]
fn local_rate_limit() {
    let share = |numerator| {
        let value = kinds::FractionalPercent { numerator, denominator: 0 };
        Some(core::RuntimeFractionalPercent { default_value: Some(value), runtime_key: String::new() })
    };
    let limit: local_ratelimit::LocalRateLimit = read(&LocalRateLimit {
        stat_prefix: "prefix".into(),
        status: Some(kinds::HttpStatus { code: 429 }),
        token_bucket: Some(kinds::TokenBucket { max_tokens: 9, ..Default::default() }),
        filter_enabled: share(1),
        filter_enforced: share(2),
        response_headers_to_add: vec![core::HeaderValueOption::default()],
        descriptors: vec![LocalRateLimitDescriptor::default(); 2],
        local_rate_limit_per_downstream_connection: true,
        rate_limited_as_resource_exhausted: true,
        rate_limits: vec![route::RateLimit::default(); 3],
        enable_retry_after_header: true,
    });
    assert_eq!(limit.stat_prefix, "prefix");
    assert_eq!(limit.status.expect("a status").code, 429);
    assert_eq!(limit.token_bucket.expect("a bucket").max_tokens, 9);
    let numerator = |share: Option<envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent>| {
        share.and_then(|share| share.default_value).expect("a share").numerator
    };
    assert_eq!((numerator(limit.filter_enabled), numerator(limit.filter_enforced)), (1, 2));
    assert_eq!(limit.response_headers_to_add.len(), 1);
    assert_eq!((limit.descriptors.len(), limit.rate_limits.len()), (2, 3));
    assert!(limit.local_rate_limit_per_downstream_connection);
    assert!(limit.rate_limited_as_resource_exhausted);
    assert!(limit.enable_retry_after_header);
}
