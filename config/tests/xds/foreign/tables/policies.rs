//! Policies of routes.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http as http_filters;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::error::Code;
use outrigger_config::policy::fault::{Abort, AbortWith, Scope, Throttle};
use outrigger_config::policy::{Condition, Conditions, Methods, Mode};
use outrigger_config::value::Percent;

use super::super::{number, pack, refused, secs};
use super::{FILTER, base, limit, read, read_route, table_of};

#[test]
fn a_retry_policy_as_istio_writes_it_is_taken() {
    let policy = route::RetryPolicy {
        retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,some-new-token".into(),
        num_retries: number(2),
        retriable_status_codes: vec![503],
        retry_host_predicate: vec![Default::default()],
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    };
    let stream = route::route_action::MaxStreamDuration {
        max_stream_duration: secs(0),
        grpc_timeout_header_max: secs(0),
        ..Default::default()
    };
    let route = read_route(|_, action| {
        action.retry_policy = Some(policy.clone());
        action.timeout = secs(0);
        action.max_stream_duration = Some(stream);
    });
    let route = route.expect("taken");
    assert_eq!((route.timeouts.request, route.timeouts.stream), (None, None));
    assert_eq!(route.timeouts.grpc_max, Some(Duration::ZERO));
    let retry = route.retry.expect("a policy");
    let on = Conditions::from_iter([Condition::ConnectFailure, Condition::RefusedStream]);
    assert_eq!((retry.attempts, retry.on, retry.codes), (2, on, vec![503]));
    assert_eq!(retry.grpc_codes.iter().collect::<Vec<_>>(), [1, 14]);
    assert_eq!((retry.methods, retry.mode), (Methods::Any, Mode::Enforce));

    // A host's policy holds for the routes that have none.
    let (route, action) = base();
    let mut table = table_of(route, action);
    table.virtual_hosts[0].retry_policy = Some(policy);
    assert_eq!(read(&table).expect("taken").hosts[0].routes[0].retry.as_ref().map(|retry| retry.attempts), Some(2));
}

#[test]
fn a_local_rate_limit_of_a_route_is_taken() {
    for (enforced, mode) in [(100, Mode::Enforce), (0, Mode::Observe)] {
        let wrapped = route::FilterConfig { config: Some(pack(&limit(enforced))), ..Default::default() };
        for config in [pack(&limit(enforced)), pack(&wrapped)] {
            let route = read_route(|route, _| {
                route.typed_per_filter_config.insert(FILTER.into(), config);
            });
            let limit = route.expect("taken").rate_limit.expect("a limit");
            let rule = &limit.rules[0];
            assert_eq!((limit.mode, limit.status), (mode, 429));
            assert_eq!((rule.requests, rule.burst, rule.interval), (10, 20, Duration::from_secs(1)));
        }
    }
    let disabled = route::FilterConfig { config: Some(pack(&limit(100))), disabled: true, ..Default::default() };
    let route = read_route(|route, _| {
        route.typed_per_filter_config.insert(FILTER.into(), pack(&disabled));
    });
    assert_eq!(route.expect("taken").rate_limit, None);
}

#[test]
fn a_stream_with_a_bound_of_its_own_has_no_timeout_by_default() {
    let stream = |limits: route::route_action::MaxStreamDuration, timeout: Option<pb::Duration>| {
        read_route(|_, action| {
            action.timeout = timeout;
            action.max_stream_duration = Some(limits);
        })
    };
    let hour = route::route_action::MaxStreamDuration { max_stream_duration: secs(3600), ..Default::default() };
    let timeouts = stream(hour, None).expect("taken").timeouts;
    assert_eq!((timeouts.request, timeouts.stream), (None, Some(Duration::from_secs(3600))));
    let timeouts = stream(hour, secs(5)).expect("taken").timeouts;
    assert_eq!(timeouts.request, Some(Duration::from_secs(5)));
    let early = route::route_action::MaxStreamDuration { grpc_timeout_header_offset: secs(1), ..hour };
    let path = "virtual_hosts[0].routes[0].route.max_stream_duration.grpc_timeout_header_offset";
    refused("an offset", stream(early, None), Code::Unsupported, path);
}

#[test]
fn faults_of_a_route_are_taken() {
    use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
        FaultRateLimit,
        fault_rate_limit::{FixedLimit, HeaderLimit, LimitType},
    };
    use http_filters::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
    let fault_of = |fault: HttpFault| {
        read_route(|route, _| {
            let any = pack(&fault);
            route.typed_per_filter_config.insert("envoy.filters.http.fault".into(), any);
        })
    };
    let half = Some(kinds::FractionalPercent { numerator: 5000, denominator: 1 });
    let abort = FaultAbort { error_type: Some(ErrorType::GrpcStatus(14)), percentage: half, ..Default::default() };
    let fault = fault_of(HttpFault { abort: Some(abort.clone()), ..Default::default() });
    let fault = fault.expect("taken").fault.expect("a fault");
    let percent = Percent::try_new(50.0).expect("a share");
    assert_eq!(fault.abort, Some(Abort { with: AbortWith::Grpc(14), percent }));
    assert_eq!((fault.mode, fault.scope, fault.delay), (Mode::Enforce, Scope::Request, None));
    assert_eq!(fault_of(HttpFault::default()).expect("taken").fault, None);
    let throttle = |limit_type| HttpFault {
        response_rate_limit: Some(FaultRateLimit { percentage: half, limit_type }),
        ..Default::default()
    };
    let fixed = |limit_kbps| Some(LimitType::FixedLimit(FixedLimit { limit_kbps }));
    let fault = fault_of(throttle(fixed(u64::MAX))).expect("taken").fault.expect("a fault");
    assert_eq!(fault.throttle, Some(Throttle { kib_per_second: Some(u32::MAX), percent }));
    let fault = fault_of(throttle(Some(LimitType::HeaderLimit(HeaderLimit {})))).expect("taken").fault;
    assert_eq!(fault.expect("a fault").throttle, Some(Throttle { kib_per_second: None, percent }));
    let at = "virtual_hosts[0].routes[0].typed_per_filter_config[\"envoy.filters.http.fault\"].response_rate_limit";
    let never = fault_of(throttle(fixed(0)));
    refused("a rate of nothing", never, Code::InvalidValue, &format!("{at}.fixed_limit.limit_kbps"));
    refused("no rate", fault_of(throttle(None)), Code::MissingField, &format!("{at}.fixed_limit"));
    let narrow = fault_of(HttpFault { upstream_cluster: "c".into(), abort: Some(abort), ..Default::default() });
    let path = "virtual_hosts[0].routes[0].typed_per_filter_config[\"envoy.filters.http.fault\"].upstream_cluster";
    refused("of one cluster", narrow, Code::Unsupported, path);
}

#[test]
fn a_session_of_a_route_is_taken_and_a_strict_one_refused() {
    use envoy_types::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
    use envoy_types::pb::envoy::r#type::http::v3::Cookie;
    use http_filters::stateful_session::v3::{StatefulSession, StatefulSessionPerRoute, stateful_session_per_route};
    use stateful_session_per_route::Override;
    let cookie = Cookie { name: "sid".into(), ttl: secs(60), ..Default::default() };
    let state = pack(&CookieBasedSessionState { cookie: Some(cookie) });
    let state = core::TypedExtensionConfig { name: "cookie".into(), typed_config: Some(state) };
    let stateful = |strict| {
        Override::StatefulSession(StatefulSession { session_state: Some(state.clone()), strict, ..Default::default() })
    };
    let read = |settings| {
        read_route(|route, _| {
            let config = pack(&StatefulSessionPerRoute { r#override: Some(settings) });
            route.typed_per_filter_config.insert("envoy.filters.http.stateful_session".into(), config);
        })
    };
    let session = read(stateful(false)).expect("taken").session.expect("a session");
    assert_eq!((&*session.name, &*session.path, session.permanent), ("sid", "/", true));
    assert_eq!(read(Override::Disabled(true)).expect("taken").session, None);
    assert!(read(stateful(true)).is_err());
}
