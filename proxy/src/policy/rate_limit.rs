//! Takes a token for a request, or refuses it (xDS `local_ratelimit`; semantics: a bucket is one for all workers).
//! Raises [`Reason::RateLimited`] with `Retry-After`, `RateLimit` and `x-envoy-ratelimited`; in Observe it only notes
//! what it would have done.

use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outrigger_config::listener::Direction;
use outrigger_config::policy::gcra::Level;
use outrigger_config::policy::{RateLimit as Policy, RateLimitRule, Tell};
use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::clock;
use crate::error::{Error, Reason};
use crate::exchange::{Response, Routed, Trail};
use crate::route::{Caller, Facts, Limiter, Verdict, told};
use crate::telemetry::Would;

/// Says that a proxy's limit refused the request: whoever retries leaves it, as Envoy's word for it has it.
pub(super) const LIMITED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-envoy-ratelimited"), HeaderValue::from_static("true"));

/// Puts [`RateLimit`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitLayer;

/// Takes a token or refuses.
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for RateLimit<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Waiting {
        let fields: Vec<_> = match check(&routed) {
            Verdict::Allowed => return self.inner.call(routed),
            Verdict::WouldLimit => {
                if let Some(policy) = &routed.route.config.rate_limit {
                    count(&routed.trail, policy);
                }
                return self.inner.call(routed);
            }
            Verdict::Limited { rule, retry_after } => {
                let Some(policy) = &routed.route.config.rate_limit else { return refuse(Reason::RateLimited) };
                return refuse(refusal(&routed, policy, rule, retry_after));
            }
            Verdict::Told(rules) => told::fields(&rules).collect(),
        };
        let inner = self.inner.call(routed);
        Box::pin(inner.map(|answer| {
            let mut response = answer?;
            response.headers_mut().extend(fields);
            Ok(response)
        }))
    }
}

/// Takes the tokens. What is rehearsed beside a limit sees what comes, not what that lets through.
fn check(routed: &Routed) -> Verdict<'_> {
    let route = &*routed.route;
    if let (Some(limiter), Some(policy)) = (&route.rehearsed.limiter, &route.config.rehearsed.rate_limit)
        && matches!(decide(routed, limiter), Verdict::WouldLimit)
    {
        count(&routed.trail, policy);
    }
    route.limiter.as_ref().map_or(Verdict::Allowed, |limiter| decide(routed, limiter))
}

fn decide<'a>(routed: &'a Routed, limiter: &'a Limiter) -> Verdict<'a> {
    limiter.check(|| facts(routed), &caller(routed), clock::now())
}

/// What the rules' matches read.
pub(super) fn facts(routed: &Routed) -> Facts<'_> {
    Facts::of(&routed.http, &routed.authority, routed.trail.grpc)
}

/// Who calls, as far as a rule may ask.
pub(super) fn caller(routed: &Routed) -> Caller<'_> {
    let connection = &routed.trail.connection;
    let entrance = &connection.entrance;
    // Who calls through an outbound listener is whom the proxy stands beside, whatever it says.
    let beside = entrance.caller.as_ref().filter(|_| entrance.direction == Direction::Outbound);
    let address: IpAddr = connection.peer.ip();
    Caller { headers: routed.http.headers(), address, workload: beside.map(HeaderValue::as_bytes) }
}

/// Counts what was refused, or would have been.
pub(super) fn count(trail: &Trail, policy: &Policy) {
    trail.connection.shared.telemetry.metrics.rate_limited(&policy.origin, policy.mode);
    if !policy.mode.enforces() {
        trail.note(|notes| notes.would |= Would::RATE_LIMIT);
    }
}

/// The answer to a request that is over a limit.
pub(super) fn refusal(routed: &Routed, policy: &Policy, rule: &RateLimitRule, retry_after: Duration) -> Error {
    // Refused before a destination was chosen: it counts for the route's first.
    routed.count_for_first();
    count(&routed.trail, policy);
    let mut fields = extra_fields(policy);
    fields.extend([LIMITED]);
    if policy.tell != Tell::Never {
        fields.extend(told::fields(&[(rule, Level { left: 0, next: retry_after })]));
    }
    Error::new(Reason::RateLimited)
        .because(format_args!("rule {} of {} has no token left", rule.name, policy.origin))
        .refusing(
            StatusCode::from_u16(policy.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
            Some(told::whole_seconds(retry_after)),
            fields,
        )
}

fn extra_fields(policy: &Policy) -> HeaderMap {
    policy
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect()
}
