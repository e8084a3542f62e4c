//! Routes, and the policies that hold for them.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use outrigger_config::policy::{Condition, Conditions, GrpcCodes, Hedge, Mode, Retry, Timeouts};
use outrigger_config::resource::ClientKind;
use outrigger_config::route::{Backend, Mirror, PathMatch, Route};
use outrigger_config::subset::Criteria;
use outrigger_config::value::Percent;

use super::{name, only_route, rate_limit, seconds, table, unpack, wrapped};

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
