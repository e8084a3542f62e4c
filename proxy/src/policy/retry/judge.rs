//! Whether another attempt may help: what came back, held against the policy's conditions. Decides nothing else; who
//! asks knows attempts, time and budget.

use http::{HeaderMap, HeaderName, StatusCode};
use outrigger_config::policy::{Condition, Retry as Policy};

use crate::error::{Error, RetryClass};
use crate::exchange::{Cause, grpc_status};
use crate::route::retrying::AnswerFields;

/// The field by which an endpoint says that a rate limit answered.
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// Whether a request that was never sent is tried again.
pub(super) fn unsent(error: &Error, policy: &Policy) -> bool {
    let on = policy.on;
    match error.reason.disposition().retry {
        RetryClass::Never => false,
        RetryClass::ConnectFailure => on.has(Condition::ConnectFailure) || wide(policy),
        RetryClass::Refused => on.has(Condition::RefusedStream) || wide(policy),
        RetryClass::Reset | RetryClass::Timeout => on.has(Condition::ResetBeforeRequest) || wide(policy),
    }
}

/// Whether a request is tried again that an endpoint may have seen and did not answer.
pub(super) fn sent(error: &Error, policy: &Policy) -> bool {
    match error.reason.disposition().retry {
        RetryClass::Never => false,
        RetryClass::Refused => policy.on.has(Condition::RefusedStream) || wide(policy),
        RetryClass::ConnectFailure | RetryClass::Reset | RetryClass::Timeout => wide(policy),
    }
}

/// Whether the policy repeats whatever brought no answer.
pub(super) fn wide(policy: &Policy) -> bool {
    let on = policy.on;
    on.has(Condition::Reset) || on.has(Condition::GatewayError) || on.has(Condition::ServerError)
}

/// Why an answer is worth repeating, by its head.
pub(super) fn head(
    status: StatusCode,
    headers: &HeaderMap,
    grpc: bool,
    policy: &Policy,
    fields: &AnswerFields,
) -> Option<Cause> {
    let answered = Some(Cause::Status(status.as_u16()));
    let cause = if fields.any(headers) {
        answered
    } else if grpc && status == StatusCode::OK {
        grpc_status(headers).and_then(|number| by_grpc(number, policy))
    } else {
        by_status(status, policy)
    };
    let limits = policy.on.has(Condition::RateLimited);
    if (cause.is_some() || limits) && headers.contains_key(RATE_LIMITED) {
        // The limit is there to spare its service: whoever asks again at once is what it is for.
        return answered.filter(|_| limits);
    }
    cause
}

/// Why a call is worth repeating, by its trailers.
pub(super) fn trailers(trailers: &HeaderMap, policy: &Policy) -> Option<Cause> {
    by_grpc(grpc_status(trailers)?, policy)
}

/// An attempt that met an injected fault counts as one that was answered so.
pub(super) fn injected(error: &Error, grpc: bool, policy: &Policy) -> Option<Cause> {
    let (status, code) = error.fault()?;
    match grpc {
        true => by_grpc(code, policy),
        false => by_status(StatusCode::from_u16(status).ok()?, policy),
    }
}

fn by_grpc(number: u8, policy: &Policy) -> Option<Cause> {
    policy.grpc_codes.has(number).then_some(Cause::Grpc(number))
}

fn by_status(status: StatusCode, policy: &Policy) -> Option<Cause> {
    let (code, on) = (status.as_u16(), policy.on);
    let gateway = matches!(code, 502..=504);
    let repeat = (on.has(Condition::ServerError) && status.is_server_error())
        || (on.has(Condition::GatewayError) && gateway)
        || (on.has(Condition::Retriable4xx) && code == 409)
        || policy.codes.contains(&code);
    repeat.then_some(Cause::Status(code))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};
    use outrigger_config::matching::{HeaderMatch, ValueMatch};
    use outrigger_config::policy::{Condition, GrpcCodes, Retry as Policy};

    use super::{AnswerFields, head, sent, trailers, unsent};
    use crate::error::{Error, Reason};
    use crate::exchange::Cause;

    fn on(conditions: &[Condition]) -> Policy {
        Policy { on: conditions.iter().copied().collect(), ..Policy::default_policy() }
    }

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn judge(status: u16, headers: &HeaderMap, grpc: bool, policy: &Policy) -> Option<Cause> {
        let status = StatusCode::from_u16(status).expect("a status");
        head(status, headers, grpc, policy, &AnswerFields::new(&policy.headers))
    }

    #[test]
    fn only_what_was_not_sent_is_repeated_by_default() {
        let policy = Policy::default_policy();
        for (reason, not_sent, was_sent) in [
            (Reason::ConnectionRefused, true, false),
            (Reason::ConnectionTerminated, true, false),
            (Reason::StreamRefused, true, true),
            (Reason::TryTimeout, true, false),
            (Reason::BreakerRequests, false, false),
            (Reason::HttpResponseTimeout, false, false),
        ] {
            let error = Error::new(reason);
            assert_eq!((unsent(&error, &policy), sent(&error, &policy)), (not_sent, was_sent), "{reason:?}");
        }
    }

    #[test]
    fn a_policy_on_5xx_repeats_whatever_brought_no_answer() {
        let policy = on(&[Condition::ServerError]);
        for reason in [Reason::ConnectionRefused, Reason::ConnectionTerminated, Reason::TryTimeout] {
            assert!(sent(&Error::new(reason), &policy), "{reason:?}");
        }
        assert!(!sent(&Error::new(Reason::RateLimited), &policy));
    }

    #[test]
    fn each_condition_takes_its_statuses() {
        let none = HeaderMap::new();
        for (condition, repeated) in [
            (Condition::ServerError, &[500, 502, 503, 504, 599][..]),
            (Condition::GatewayError, &[502, 503, 504]),
            (Condition::Retriable4xx, &[409]),
            (Condition::Reset, &[]),
        ] {
            let policy = on(&[condition]);
            let found: Vec<u16> = (200..600).filter(|status| judge(*status, &none, false, &policy).is_some()).collect();
            let known: Vec<u16> = (200..600)
                .filter(|status| repeated.contains(status) || repeated.len() == 5 && *status >= 500)
                .collect();
            assert_eq!(found, known, "{condition:?}");
        }
    }

    #[test]
    fn what_a_rate_limit_answered_is_left_alone_unless_asked_for() {
        let limited = fields(&[("x-envoy-ratelimited", "true")]);
        let mut policy = on(&[Condition::ServerError]);
        policy.codes = vec![429];
        assert_eq!(judge(429, &limited, false, &policy), None);
        assert_eq!(judge(503, &limited, false, &policy), None);
        assert_eq!(judge(429, &HeaderMap::new(), false, &policy), Some(Cause::Status(429)));
        policy.on = policy.on.with(Condition::RateLimited);
        assert_eq!(judge(429, &limited, false, &policy), Some(Cause::Status(429)));
    }

    #[test]
    fn a_field_of_the_answer_is_enough() {
        let wanted = HeaderMatch { name: "x-retry".into(), value: ValueMatch::Exact("please".into()) };
        let policy = Policy { headers: vec![wanted], ..Policy::default_policy() };
        assert!(!policy.only_unsent());
        assert_eq!(judge(200, &fields(&[("x-retry", "please")]), false, &policy), Some(Cause::Status(200)));
        assert_eq!(judge(500, &fields(&[("x-retry", "no")]), false, &policy), None);
    }

    #[test]
    fn grpc_statuses_count_in_heads_and_trailers() {
        let policy = Policy { grpc_codes: GrpcCodes::default().with(14), ..Policy::default_policy() };
        let (unavailable, internal) = (fields(&[("grpc-status", "14")]), fields(&[("grpc-status", "13")]));
        assert_eq!(judge(200, &unavailable, true, &policy), Some(Cause::Grpc(14)));
        assert_eq!(judge(200, &unavailable, false, &policy), None);
        assert_eq!(trailers(&unavailable, &policy), Some(Cause::Grpc(14)));
        assert_eq!((judge(200, &internal, true, &policy), trailers(&internal, &policy)), (None, None));
    }
}
