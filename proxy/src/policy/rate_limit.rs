//! Takes a token for a request, or refuses it (xDS `local_ratelimit`; semantics: the bucket is one for all workers).
//! Raises [`Reason::RateLimited`] with `Retry-After`; in Observe it only notes what it would have done.

use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outrigger_config::policy::RateLimit as Policy;
use tower::{Layer, Service};

use super::{CheckFuture, Next, refuse};
use crate::error::{Error, Reason};
use crate::exchange::Routed;
use crate::route::{Facts, Limiter, Verdict};
use crate::telemetry::Would;

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
    type Response = S::Response;
    type Error = Error;
    type Future = CheckFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        match check(&routed) {
            Ok(()) => Either::Left(self.inner.call(routed)),
            Err(error) => refuse(error),
        }
    }
}

fn check(routed: &Routed) -> Result<(), Error> {
    let route = &*routed.route;
    // What is rehearsed sees what comes, not what the other lets through.
    if let (Some(limiter), Some(policy)) = (&route.rehearsed.limiter, &route.config.rehearsed.rate_limit) {
        decide(routed, limiter, policy)?;
    }
    match (&route.limiter, &route.config.rate_limit) {
        (Some(limiter), Some(policy)) => decide(routed, limiter, policy),
        _ => Ok(()),
    }
}

fn decide(routed: &Routed, limiter: &Limiter, policy: &Policy) -> Result<(), Error> {
    let uri = routed.http.uri();
    let facts = Facts {
        authority: routed.authority.to_str().unwrap_or_default(),
        path: uri.path(),
        query: uri.query(),
        method: routed.http.method(),
        headers: routed.http.headers(),
        grpc: routed.trail.grpc,
    };
    let metrics = &routed.trail.connection.shared.telemetry.metrics;
    match limiter.check(&facts) {
        Verdict::Allowed => Ok(()),
        Verdict::WouldLimit { .. } => {
            metrics.rate_limited(&policy.origin, policy.mode);
            routed.trail.note(|notes| notes.would |= Would::RATE_LIMIT);
            Ok(())
        }
        Verdict::Limited { rule, retry_after } => {
            metrics.rate_limited(&policy.origin, policy.mode);
            // Refused before a destination was chosen: it counts for the route's first.
            routed.count_for_first();
            let detail = format!("rule {rule} of {} has no token left", policy.origin);
            Err(Error::new(Reason::RateLimited).because(detail).refusing(
                StatusCode::from_u16(policy.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
                // Whole seconds, rounded up: earlier would be refused again.
                Some(retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)),
                extra_fields(policy),
            ))
        }
    }
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
