//! Tries a request again when that may help (xDS `RetryPolicy`).
//!
//! Two classes. *Unsent*: no byte of the request left, so whatever its method and size it is sent again as it is, and
//! nothing is kept for that. The rest repeats a request that an endpoint may have seen: only for the methods that the
//! policy allows, with a body kept up to the policy's cap. Either way the destination's budget is asked first, the
//! wait is random below a growing bound, and no attempt starts that the request's deadline would cut before it waited.
//! In Observe the default policy acts, and the trail says what would have been tried beyond it.
//!
//! Raises nothing of its own: the last attempt's error or response goes on as it is, and the trail says that tries or
//! budget ran out.

use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderMap, StatusCode};
use outrigger_config::policy::{Condition, Mode, Retry as Policy};
use tower::{Layer, Service};

use super::{Next, PolicyFuture};
use crate::body::{Body, ReplaySource};
use crate::clock;
use crate::cluster::budget::RetryPermit;
use crate::error::{Error, Reason, RetryClass};
use crate::exchange::{Aim, Cause, Response, Targeted, grpc_status};
use crate::head;
use crate::telemetry::Would;

/// Puts [`Retry`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct RetryLayer;

/// Tries again.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Retry<S> {
    type Response = Response;
    type Error = Error;
    type Future = PolicyFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, targeted: Targeted) -> Self::Future {
        if targeted.aim.route.config.retry.is_none() {
            return Either::Left(self.inner.call(targeted));
        }
        targeted.aim.cluster.budget.request(targeted.aim.trail.started);
        Either::Right(Box::pin(run(self.inner.clone(), targeted)))
    }
}

/// What holds where nobody said anything.
static DEFAULT: LazyLock<Policy> = LazyLock::new(Policy::default_policy);

/// What can be sent again.
enum Copy {
    /// Nothing but what comes back unsent.
    None,
    /// The head; there is no body.
    Head(Box<http::Request<()>>),
    /// The head and the body as far as it was kept.
    Replay(Box<http::Request<()>>, ReplaySource),
}

impl Copy {
    fn of(http: Box<http::Request<Body>>, policy: &Policy) -> (Copy, Box<http::Request<Body>>) {
        if policy.only_unsent() || !policy.methods.allows(http.method().as_str()) || is_upgrade(http.headers()) {
            return (Copy::None, http);
        }
        let head = head::copy(&http);
        let (parts, body) = (*http).into_parts();
        if body.is_empty() {
            return (Copy::Head(Box::new(head)), Box::new(http::Request::from_parts(parts, body)));
        }
        let source = ReplaySource::new(body, policy.body_limit as usize);
        let first = Box::new(http::Request::from_parts(parts, source.attempt()));
        (Copy::Replay(Box::new(head), source), first)
    }

    /// The request once more; none if it can no longer be sent whole.
    fn again(&self) -> Option<Box<http::Request<Body>>> {
        let (head, body) = match self {
            Copy::None => return None,
            Copy::Head(head) => (head, Body::empty()),
            Copy::Replay(_, source) if !source.is_replayable() => return None,
            Copy::Replay(head, source) => (head, source.attempt()),
        };
        Some(Box::new((**head).clone().map(|()| body)))
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::UPGRADE)
}

async fn run<S: Next<Targeted>>(mut inner: S, targeted: Targeted) -> Result<Response, Error> {
    let Targeted { http, mut aim, permit, .. } = targeted;
    let route = Arc::clone(&aim.route);
    let Some(configured) = route.config.retry.as_ref() else {
        return inner.call(Targeted { http, aim, permit, edits: None }).await;
    };
    // A policy that is only rehearsed leaves in force what would hold without it.
    let (policy, rehearsed) = match configured.mode {
        Mode::Enforce => (configured, None),
        Mode::Observe => (&*DEFAULT, Some(configured)),
    };
    let (copy, mut http) = Copy::of(http, policy);
    // Held while a retry is under way: it counts against the budget from its decision to its end.
    let mut retrying: Option<RetryPermit> = None;
    loop {
        let outcome = inner.call(Targeted { http, aim: aim.clone(), permit: None, edits: None }).await;
        drop(retrying.take());
        let (cause, outcome, next) = match outcome {
            Ok(response) => match worth_repeating(&response, policy, &aim) {
                None => {
                    if rehearsed.is_some_and(|policy| worth_repeating(&response, policy, &aim).is_some()) {
                        aim.trail.note(|notes| notes.would |= Would::RETRY);
                    }
                    return Ok(response);
                }
                Some(cause) => (cause, Ok(response), copy.again()),
            },
            Err(mut error) => {
                let fault = |policy: &Policy| injected(&error, policy, &aim);
                let (injected, rehearses) = (fault(policy), rehearsed.is_some_and(|policy| fault(policy).is_some()));
                let next = match error.take_unsent() {
                    Some(unsent) if injected.is_some() || unsent_allows(&error, policy) => Some(unsent),
                    _ if sent_allows(&error, policy) => copy.again(),
                    _ => {
                        if rehearses || rehearsed.is_some_and(|policy| sent_allows(&error, policy)) {
                            aim.trail.note(|notes| notes.would |= Would::RETRY);
                        }
                        return Err(error);
                    }
                };
                (injected.unwrap_or(Cause::Reason(error.reason)), Err(error), next)
            }
        };
        let Some(next) = next else { return outcome };
        match admit(policy, &aim, cause) {
            Decision::Go(permit, wait) => {
                retrying = Some(permit);
                aim.trail.note(|notes| notes.retried = true);
                if let Ok(response) = outcome {
                    discard(response);
                }
                tokio::time::sleep(wait).await;
                http = next;
                aim = aim.again(cause);
            }
            Decision::Stop => return outcome,
        }
    }
}

enum Decision {
    Go(RetryPermit, Duration),
    Stop,
}

/// Asks, in this order: attempts left, time left, budget.
fn admit(policy: &Policy, aim: &Aim, cause: Cause) -> Decision {
    if aim.attempt >= policy.attempts {
        aim.trail.note(|notes| notes.reason = Some(Reason::RetriesExhausted));
        return Decision::Stop;
    }
    let wait = backoff(policy, aim.attempt + 1, &mut fastrand::Rng::new());
    if aim.deadline.is_some_and(|deadline| tokio::time::Instant::now() + wait >= deadline) {
        return Decision::Stop;
    }
    match aim.cluster.try_retry(clock::now()) {
        Some(permit) => {
            aim.trail.note(|notes| {
                if permit.is_beyond() {
                    notes.would |= Would::BREAKER;
                }
                if let Some(edge) = &notes.edge {
                    edge.retry(cause.into());
                }
            });
            Decision::Go(permit, wait)
        }
        None => {
            aim.trail.note(|notes| notes.reason = Some(Reason::RetryBudgetExhausted));
            Decision::Stop
        }
    }
}

/// Attempt N waits a uniform time below min((2^N - 1) x base, max).
fn backoff(policy: &Policy, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
    let factor = 2_u32.saturating_pow(attempt.min(16)) - 1;
    policy.backoff.base.saturating_mul(factor).min(policy.backoff.max).mul_f64(rng.f64())
}

fn unsent_allows(error: &Error, policy: &Policy) -> bool {
    let on = policy.on;
    let wide = on.has(Condition::Reset) || on.has(Condition::GatewayError) || on.has(Condition::ServerError);
    match error.reason.disposition().retry {
        RetryClass::Never => false,
        RetryClass::ConnectFailure => on.has(Condition::ConnectFailure) || wide,
        RetryClass::Refused => on.has(Condition::RefusedStream) || wide,
        RetryClass::Reset | RetryClass::Timeout => on.has(Condition::ResetBeforeRequest) || wide,
    }
}

fn sent_allows(error: &Error, policy: &Policy) -> bool {
    let on = policy.on;
    let wide = on.has(Condition::Reset) || on.has(Condition::GatewayError) || on.has(Condition::ServerError);
    match error.reason.disposition().retry {
        RetryClass::Never => false,
        RetryClass::Refused => on.has(Condition::RefusedStream) || wide,
        RetryClass::ConnectFailure | RetryClass::Reset | RetryClass::Timeout => wide,
    }
}

fn worth_repeating(response: &Response, policy: &Policy, aim: &Aim) -> Option<Cause> {
    let status = response.status();
    if aim.trail.grpc && status == StatusCode::OK {
        return grpc_worth_repeating(grpc_status(response.headers())?, policy);
    }
    status_worth_repeating(status, policy)
}

/// An attempt that met an injected fault counts as one that was answered so.
fn injected(error: &Error, policy: &Policy, aim: &Aim) -> Option<Cause> {
    let (status, grpc) = error.fault()?;
    match aim.trail.grpc {
        true => grpc_worth_repeating(grpc, policy),
        false => status_worth_repeating(StatusCode::from_u16(status).ok()?, policy),
    }
}

fn grpc_worth_repeating(number: u8, policy: &Policy) -> Option<Cause> {
    policy.grpc_codes.has(number).then_some(Cause::Grpc(number))
}

fn status_worth_repeating(status: StatusCode, policy: &Policy) -> Option<Cause> {
    let (code, on) = (status.as_u16(), policy.on);
    let gateway = matches!(code, 502..=504);
    let repeat = (on.has(Condition::ServerError) && status.is_server_error())
        || (on.has(Condition::GatewayError) && gateway)
        || (on.has(Condition::Retriable4xx) && code == 409)
        || policy.codes.contains(&code);
    repeat.then_some(Cause::Status(code))
}

/// Lets a short rest of a response pass, so that its connection can be used again; a long one is cut.
fn discard(response: Response) {
    use http_body::Body as _;
    let mut body = response.into_body();
    if body.is_end_stream() {
        return;
    }
    if body.size_hint().upper().is_none_or(|length| length > 64 * 1024) {
        return;
    }
    tokio::spawn(async move {
        let rest = async { while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::policy::{Condition, Retry as Policy};

    use super::{backoff, sent_allows, unsent_allows};
    use crate::error::{Error, Reason};

    #[test]
    fn waits_grow_to_their_bound_and_are_random_below_it() {
        let policy = Policy::default_policy();
        let mut rng = fastrand::Rng::with_seed(7);
        for (attempt, bound) in [(1, 25), (2, 75), (3, 175), (4, 250), (40, 250)] {
            let longest = (0..500).map(|_| backoff(&policy, attempt, &mut rng)).max().expect("some");
            assert!(longest < Duration::from_millis(bound), "{attempt}: {longest:?}");
            assert!(longest > Duration::from_millis(bound).mul_f64(0.9), "{attempt}: {longest:?}");
        }
    }

    #[test]
    fn only_what_was_not_sent_is_repeated_by_default() {
        let policy = Policy::default_policy();
        for (reason, unsent, sent) in [
            (Reason::ConnectionRefused, true, false),
            (Reason::ConnectionTerminated, true, false),
            (Reason::StreamRefused, true, true),
            (Reason::TryTimeout, true, false),
            (Reason::BreakerRequests, false, false),
            (Reason::HttpResponseTimeout, false, false),
        ] {
            let error = Error::new(reason);
            assert_eq!((unsent_allows(&error, &policy), sent_allows(&error, &policy)), (unsent, sent), "{reason:?}");
        }
    }

    #[test]
    fn a_policy_on_5xx_repeats_whatever_brought_no_answer() {
        let mut policy = Policy::default_policy();
        policy.on = [Condition::ServerError].into_iter().collect();
        for reason in [Reason::ConnectionRefused, Reason::ConnectionTerminated, Reason::TryTimeout] {
            assert!(sent_allows(&Error::new(reason), &policy), "{reason:?}");
        }
        assert!(!sent_allows(&Error::new(Reason::RateLimited), &policy));
    }
}
