//! What a caller wishes for its own request: Envoy's `x-envoy-*` request fields for retries, timeouts and hedges.
//!
//! Trusted is whoever calls over loopback at an outbound listener: the workload beside the proxy. It alone pays for what it
//! wishes. Nobody is at an inbound listener, where a wish would be somebody else's work. The fields go no further, whoever
//! sent them. As in Envoy they add to the conditions of the route's policy and replace its numbers, 0 included; the
//! methods that may be repeated stay the route's, since they are the service's to declare. What does not read is as good as
//! not there. Raises nothing.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::matching::{HeaderMatch, ValueMatch};
use outrigger_config::policy::{Condition, Conditions, GrpcCodes, Hedge, Retry, Timeouts};
use tower::{Layer, Service};

use super::Next;
use crate::error::Error;
use crate::exchange::{Response, Routed};
use crate::fields::Fields;
use crate::route::retrying::AnswerFields;
use crate::wishes::Wishes as Granted;

const RETRY_ON: HeaderName = HeaderName::from_static("x-envoy-retry-on");
const RETRY_GRPC_ON: HeaderName = HeaderName::from_static("x-envoy-retry-grpc-on");
const MAX_RETRIES: HeaderName = HeaderName::from_static("x-envoy-max-retries");
const STATUS_CODES: HeaderName = HeaderName::from_static("x-envoy-retriable-status-codes");
const HEADER_NAMES: HeaderName = HeaderName::from_static("x-envoy-retriable-header-names");
const TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const TRY_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
const ALT_RESPONSE: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-alt-response");
const HEDGE: HeaderName = HeaderName::from_static("x-envoy-hedge-on-per-try-timeout");

/// Those that end here.
const CONSUMED: [HeaderName; 9] =
    [RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES, STATUS_CODES, HEADER_NAMES, TIMEOUT, TRY_TIMEOUT, ALT_RESPONSE, HEDGE];

/// The most attempts that a wish may have, as a policy may.
const MOST_ATTEMPTS: u32 = 10;

/// Puts [`Wishes`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct WishesLayer;

/// Grants wishes.
#[derive(Clone, Debug)]
pub struct Wishes<S> {
    inner: S,
}

impl<S> Layer<S> for WishesLayer {
    type Service = Wishes<S>;

    fn layer(&self, inner: S) -> Wishes<S> {
        Wishes { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for Wishes<S> {
    type Response = Response;
    type Error = Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut routed: Routed) -> S::Future {
        if routed.trail.fields.any(Fields::ENVOY) {
            let trail = Arc::clone(&routed.trail);
            let trusted = trail.connection.is_beside();
            let config = &routed.route.config;
            if trusted && let Some(granted) = grant(routed.http.headers(), config.retry.as_ref(), config.timeouts) {
                trail.grant(granted);
            }
            CONSUMED.iter().for_each(|name| drop(routed.http.headers_mut().remove(name)));
        }
        self.inner.call(routed)
    }
}

/// The policy and the timeouts of a request that wishes for something; none if it wishes for nothing that reads.
fn grant(headers: &HeaderMap, policy: Option<&Retry>, timeouts: Timeouts) -> Option<Granted> {
    let conditions = tokens(headers, &RETRY_ON);
    let grpc = tokens(headers, &RETRY_GRPC_ON);
    let most = number(headers, &MAX_RETRIES);
    let (request, per_try) = (number(headers, &TIMEOUT), number(headers, &TRY_TIMEOUT));
    let hedges = headers.get(HEDGE).map(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    let alt_response = headers.contains_key(ALT_RESPONSE);
    if conditions.is_empty()
        && grpc.is_empty()
        && most.or(request).or(per_try).is_none()
        && hedges.is_none()
        && !alt_response
        && !headers.contains_key(STATUS_CODES)
        && !headers.contains_key(HEADER_NAMES)
    {
        return None;
    }
    let mut timeouts = timeouts;
    if let Some(millis) = request {
        // 0: no bound.
        timeouts.request = Some(Duration::from_millis(millis)).filter(|timeout| !timeout.is_zero());
    }
    let mut retry = match policy.filter(|policy| policy.mode.enforces()) {
        Some(policy) => policy.clone(),
        // The route never tries again, unless it is wished for: then once, as Envoy has it.
        None => Retry { attempts: 1, on: Conditions::default(), ..Retry::default_policy() },
    };
    let (mut by_status, mut by_header) = (!retry.codes.is_empty(), !retry.headers.is_empty());
    for token in &conditions {
        if let Some(condition) = Condition::from_token(token) {
            retry.on = retry.on.with(condition);
        }
        by_status |= *token == "retriable-status-codes";
        by_header |= *token == "retriable-headers";
    }
    if by_status {
        let codes = tokens(headers, &STATUS_CODES);
        retry.codes.extend(codes.iter().filter_map(|code| code.parse::<u16>().ok()));
    }
    let mut answers = None;
    if by_header {
        let names = tokens(headers, &HEADER_NAMES).into_iter().filter_map(|name| name.parse::<HeaderName>().ok());
        let there = |name: HeaderName| HeaderMatch { name: name.as_str().into(), value: ValueMatch::Present };
        retry.headers.extend(names.map(there));
        answers = Some(AnswerFields::new(&retry.headers));
    }
    retry.grpc_codes = grpc.iter().filter_map(|token| grpc_code(token)).fold(retry.grpc_codes, GrpcCodes::with);
    if let Some(most) = most {
        retry.attempts = u32::try_from(most).unwrap_or(u32::MAX).min(MOST_ATTEMPTS);
    }
    let per_try = per_try.map(Duration::from_millis).filter(|limit| !limit.is_zero());
    // One that the request's own would cut is passed over, as in Envoy.
    let per_try = per_try.filter(|limit| timeouts.request.is_none_or(|request| *limit < request));
    if let Some(limit) = per_try {
        retry.per_try_timeout = Some(limit);
        timeouts.per_try = Some(limit);
    }
    match (hedges, retry.per_try_timeout) {
        (Some(true), Some(limit)) => {
            // An attempt that others run beside is not cut.
            retry.hedge = Some(Hedge::Delay(limit));
            (retry.per_try_timeout, timeouts.per_try) = (None, None);
        }
        (Some(false), _) => retry.hedge = None,
        _ => {}
    }
    let never = policy.is_none() && retry.only_unsent() && retry.on == Conditions::default();
    Some(Granted { retry: (!never).then_some(retry), answers, timeouts, alt_response })
}

/// The words of a list, of all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty()).collect()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name).map(HeaderValue::as_bytes).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
}

fn grpc_code(token: &str) -> Option<u8> {
    let known = [("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13)];
    known.into_iter().chain([("unavailable", 14)]).find(|(name, _)| *name == token).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue};
    use outrigger_config::matching::{HeaderMatch, ValueMatch};
    use outrigger_config::policy::{Condition, Hedge, Mode, Retry, Timeouts};
    use proptest::prelude::{prop, proptest};

    use super::{CONSUMED, Granted, grant};

    fn wish(fields: &[(&str, &str)], policy: Option<&Retry>) -> Option<Granted> {
        let field = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(format!("x-envoy-{name}").as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        let timeouts = Timeouts { request: Some(Duration::from_secs(1)), ..Timeouts::default() };
        grant(&fields.iter().map(field).collect(), policy, timeouts)
    }

    fn retry(fields: &[(&str, &str)], policy: Option<&Retry>) -> Retry {
        wish(fields, policy).and_then(|granted| granted.retry).expect("a policy")
    }

    #[test]
    fn conditions_add_and_numbers_replace() {
        let policy = Retry { codes: vec![429], ..Retry::default_policy() };
        let found = retry(
            &[("retry-on", "5xx, nonsense,retriable-status-codes"), ("retriable-status-codes", "404,x")],
            Some(&policy),
        );
        assert!(found.on.has(Condition::ServerError) && found.on.has(Condition::ConnectFailure));
        assert_eq!((found.codes, found.attempts), (vec![429, 404], 2));
        for (most, attempts) in [("0", 0), ("5", 5), ("4000000000000", 10), ("-1", 2), ("x", 2)] {
            assert_eq!(
                retry(&[("max-retries", most), ("retry-on", "reset")], Some(&policy)).attempts,
                attempts,
                "{most}"
            );
        }
        assert_eq!(
            retry(&[("retry-grpc-on", "unavailable,x")], Some(&policy)).grpc_codes.iter().collect::<Vec<_>>(),
            [14]
        );
    }

    #[test]
    fn a_route_that_never_tries_again_does_once_if_it_is_wished_for() {
        assert_eq!(retry(&[("retry-on", "gateway-error")], None).attempts, 1);
        let granted = wish(&[("max-retries", "3")], None).expect("read");
        assert_eq!(granted.retry, None, "a number alone says not what to try again");
    }

    #[test]
    fn what_is_only_rehearsed_is_not_added_to() {
        let policy = Retry { mode: Mode::Observe, codes: vec![503], ..Retry::default_policy() };
        let found = retry(&[("retry-on", "reset")], Some(&policy));
        assert_eq!((found.mode, found.codes), (Mode::Enforce, vec![]));
    }

    #[test]
    fn timeouts_replace_and_one_that_would_never_count_does_not() {
        let millis = |number| Some(Duration::from_millis(number));
        let policy = Retry::default_policy();
        for (fields, request, per_try) in [
            (&[("upstream-rq-timeout-ms", "300")][..], millis(300), None),
            (&[("upstream-rq-timeout-ms", "0")], None, None),
            (&[("upstream-rq-timeout-ms", "soon"), ("max-retries", "1")], millis(1000), None),
            (&[("upstream-rq-per-try-timeout-ms", "200")], millis(1000), millis(200)),
            (&[("upstream-rq-per-try-timeout-ms", "1000")], millis(1000), None),
            (&[("upstream-rq-per-try-timeout-ms", "1000"), ("upstream-rq-timeout-ms", "0")], None, millis(1000)),
        ] {
            let granted = wish(fields, Some(&policy)).expect("read");
            assert_eq!((granted.timeouts.request, granted.timeouts.per_try), (request, per_try), "{fields:?}");
        }
        let hedged = [("upstream-rq-per-try-timeout-ms", "200"), ("hedge-on-per-try-timeout", "true")];
        let found = retry(&hedged, Some(&policy));
        assert_eq!((found.hedge, found.per_try_timeout), (millis(200).map(Hedge::Delay), None));
    }

    #[test]
    fn fields_of_an_answer_are_named_where_fields_count() {
        let names = [("retriable-header-names", "x-retry, X-Again,,no name")];
        let granted = wish(&names, None).expect("read");
        assert_eq!(granted.retry, None, "names alone say not that fields count");
        let granted = wish(&[names[0], ("retry-on", "retriable-headers")], None).expect("read");
        let (wished, answers) = (granted.retry.expect("a policy"), granted.answers.expect("fields"));
        assert_eq!(wished.headers.iter().map(|field| &*field.name).collect::<Vec<_>>(), ["x-retry", "x-again"]);
        let has =
            |name| answers.any(&HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(""))]));
        assert!(has("x-again") && !has("x-other"));
        let value = ValueMatch::Exact("please".into());
        let policy = Retry { headers: vec![HeaderMatch { name: "x-own".into(), value }], ..Retry::default_policy() };
        assert_eq!(retry(&names, Some(&policy)).headers.len(), 3, "they add to the policy's");
    }

    #[test]
    fn another_answer_to_a_timeout_is_a_wish_of_its_own() {
        let granted = wish(&[("upstream-rq-timeout-alt-response", "1")], Some(&Retry::default_policy())).expect("read");
        assert!(granted.alt_response && granted.timeouts.request == Some(Duration::from_secs(1)));
        assert_eq!(granted.retry, Some(Retry::default_policy()));
    }

    #[test]
    fn what_does_not_read_is_no_wish() {
        assert!(wish(&[("max-retries", "x"), ("retry-on", " ,")], Some(&Retry::default_policy())).is_none());
        assert!(wish(&[], Some(&Retry::default_policy())).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_wished_for_is_read_without_harm(values in prop::collection::vec("[ -~]{0,20}", 9)) {
            let field = |(name, value): (HeaderName, &String)| (name, HeaderValue::from_str(value).expect("ASCII"));
            let fields: HeaderMap = CONSUMED.into_iter().zip(&values).map(field).collect();
            let granted = grant(&fields, None, Timeouts::default());
            assert!(granted.and_then(|granted| granted.retry).is_none_or(|retry| retry.attempts <= 10));
        }
    }
}
