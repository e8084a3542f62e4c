//! Tries a request again when that may help (xDS `RetryPolicy`).
//!
//! Two classes. *Unsent*: no byte of the request left, so whatever its method and size it is sent again as it is, and
//! nothing is kept for that. The rest repeats a request that an endpoint may have seen: only for the methods that the
//! policy allows, with a body kept up to the policy's cap. Either way the destination's budget is asked first, the
//! wait is random below a growing bound or as long as the answer asks, and no attempt starts that could not end before
//! the request's deadline. A request that a layer above tries again (`crate::carried`) is none of this one's but
//! while it is unsent. Of a policy that is rehearsed beside it, or alone, the trail says what would have been tried
//! beyond what was.
//!
//! Raises nothing of its own: the last attempt's error or response goes on as it is, and the trail says that tries or
//! budget ran out.

mod copy;
mod hedge;
mod judge;
mod peek;
mod wait;

use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use outrigger_config::policy::{Conditions, Mode, Retry as Policy};
use outrigger_config::value::Percent;
use tower::{Layer, Service};

use super::{Next, Waiting};
use crate::body::Body;
use crate::carried;
use crate::clock;
use crate::cluster::budget::RetryPermit;
use crate::error::{Error, Reason};
use crate::exchange::{Aim, Cause, Response, Targeted};
use crate::route::Route;
use crate::route::retrying::AnswerFields;
use crate::telemetry::{Withheld, Would};

use copy::Copy;
use wait::Asked;

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
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, targeted: Targeted) -> Waiting {
        // What is rehearsed stands beside a policy that acts, or in its place.
        if targeted.aim.retry().is_none() {
            return self.inner.call(targeted);
        }
        targeted.aim.cluster.budget.request(targeted.aim.trail.started);
        Box::pin(run(self.inner.clone(), targeted))
    }
}

/// What acts where a policy is only rehearsed: nothing is tried again.
static NEVER: LazyLock<Policy> =
    LazyLock::new(|| Policy { attempts: 0, on: Conditions::default(), ..Policy::default_policy() });

async fn run<S: Next<Targeted>>(mut inner: S, targeted: Targeted) -> Result<Response, Error> {
    let Targeted { http, mut aim, permit, .. } = targeted;
    let (route, trail) = (Arc::clone(&aim.route), Arc::clone(&aim.trail));
    let Some(configured) = trail.retry(&route) else {
        return inner.call(Targeted { http, aim, permit, edits: None }).await;
    };
    let (policy, rehearsed) = forces(configured, &route);
    if policy.hedge.or(rehearsed.and_then(|one| one.hedge)).is_some() {
        let targeted = Targeted { http, aim, permit, edits: None };
        // Apart, so that what it works with is not part of every request's future.
        return Box::pin(hedge::run(inner, targeted, policy, rehearsed, &route)).await;
    }
    let (copy, mut http) = Copy::of(http, policy, aim.trail.fields, &aim.trail.connection.shared.replay);
    aim.kept = matches!(copy, Copy::Head(_));
    let marks = copy.is_whole();
    let rules = Rules { policy, rehearsed, copy: &copy, route: &route };
    // Held while a retry is under way: it counts against the budget from its decision to its end.
    let mut retrying: Option<RetryPermit> = None;
    loop {
        if marks {
            carried::mark(http.headers_mut(), aim.attempt);
        }
        let mut outcome = inner.call(Targeted { http, aim: aim.clone(), permit: None, edits: None }).await;
        drop(retrying.take());
        let Some(again) = rules.weigh(&mut outcome, &aim).await else {
            if let (Some(pace), Ok(_)) = (route.pace(), &outcome)
                && let Some((ended, took)) = aim.trail.read(|notes| notes.tries.answered(aim.attempt))
            {
                pace.observe(aim.trail.started + ended, took);
            }
            rules.rehearse(&mut outcome, &aim);
            return outcome;
        };
        let Some((permit, wait)) = admit(policy, &aim, again.cause, again.asked) else { return outcome };
        retrying = Some(permit);
        aim.trail.note(|notes| notes.retried = true);
        if let Ok(response) = outcome {
            discard(response);
        }
        tokio::time::sleep(wait).await;
        http = again.next;
        aim = aim.again(again.cause);
    }
}

/// The policy in force, and the one that is only rehearsed, beside it or alone. What the caller wished for is in force in
/// the place of the route's own, and hides none that is rehearsed.
fn forces<'a>(configured: &'a Policy, route: &'a Route) -> (&'a Policy, Option<&'a Policy>) {
    let alone = route.config.retry.as_ref().filter(|policy| !policy.mode.enforces());
    match configured.mode {
        Mode::Enforce => (configured, alone.or(route.config.rehearsed.retry.as_ref())),
        Mode::Observe => (&*NEVER, Some(configured)),
    }
}

static NOTHING: LazyLock<AnswerFields> = LazyLock::new(AnswerFields::default);

/// What an attempt's outcome is held against.
struct Rules<'a> {
    policy: &'a Policy,
    rehearsed: Option<&'a Policy>,
    copy: &'a Copy,
    route: &'a Route,
}

/// What another attempt may better.
struct Again {
    cause: Cause,
    /// How long the answer asks to be left alone.
    asked: Asked,
    next: Box<http::Request<Body>>,
}

impl Rules<'_> {
    /// Why and how an attempt's outcome may be bettered; nothing where it is the request's. Waits for its trailers, where
    /// they may say more than its head.
    async fn weigh(&self, outcome: &mut Result<Response, Error>, aim: &Aim) -> Option<Again> {
        let again = self.judge(outcome, aim);
        if again.is_none() && self.trailers_matter(outcome, aim) {
            // Apart, as few requests need it.
            return Box::pin(self.peek(outcome, aim)).await;
        }
        again
    }

    /// Judges what is there of an outcome at once.
    fn judge(&self, outcome: &mut Result<Response, Error>, aim: &Aim) -> Option<Again> {
        match outcome {
            Ok(response) => self.answered(response, aim),
            Err(error) => self.failed(error, aim),
        }
    }

    fn answered(&self, response: &Response, aim: &Aim) -> Option<Again> {
        if let Some(cause) = self.worth_repeating(response, self.policy, aim) {
            return self.again(cause, response.headers(), aim);
        }
        if self.rehearsed.is_some_and(|policy| self.worth_repeating(response, policy, aim).is_some()) {
            aim.trail.note(|notes| notes.would |= Would::RETRY);
        }
        None
    }

    /// Whether an answer's trailers could lead to another attempt.
    fn trailers_matter(&self, outcome: &Result<Response, Error>, aim: &Aim) -> bool {
        let asks = aim.trail.grpc && !self.policy.grpc_codes.is_empty();
        asks && outcome.is_ok() && aim.attempt < self.policy.attempts && self.copy.is_whole()
    }

    /// Judges an answer by its trailers.
    async fn peek(&self, outcome: &mut Result<Response, Error>, aim: &Aim) -> Option<Again> {
        // What stands there meanwhile is seen by nobody.
        let response = std::mem::replace(outcome, Err(Error::new(Reason::ProxyInternalError))).ok()?;
        match peek::trailers(response, aim).await {
            Ok((response, trailers)) => {
                *outcome = Ok(response);
                let trailers = trailers?;
                self.again(judge::trailers(&trailers, self.policy)?, &trailers, aim)
            }
            Err(error) => {
                *outcome = Err(error);
                self.judge(outcome, aim)
            }
        }
    }

    /// Lets a policy that is only rehearsed see an answer's trailers, as they pass.
    fn rehearse(&self, outcome: &mut Result<Response, Error>, aim: &Aim) {
        let sees = |policy: &&Policy| !policy.grpc_codes.is_empty() && aim.attempt < policy.attempts;
        if let Some(policy) = self.rehearsed.filter(sees)
            && let Ok(response) = outcome
            && aim.trail.grpc
        {
            peek::watch(response, policy.grpc_codes, &aim.trail);
        }
    }

    fn again(&self, cause: Cause, fields: &HeaderMap, aim: &Aim) -> Option<Again> {
        let Some(next) = self.copy.again() else {
            withhold(aim, self.copy.withheld());
            return None;
        };
        let asked = wait::asked(fields, &self.policy.retry_after, clock::wall());
        Some(Again { cause, asked, next })
    }

    fn failed(&self, error: &mut Error, aim: &Aim) -> Option<Again> {
        let fault = |error: &Error, policy: &Policy| judge::injected(error, aim.trail.grpc, policy);
        let injected = fault(error, self.policy);
        let rehearses = self.rehearsed.is_some_and(|policy| fault(error, policy).is_some());
        let unsent = if error.is_unseen() { self.copy.again() } else { error.take_unsent() };
        let next = match unsent {
            // An injected fault stands for an answer, which is not this layer's to better where one above does.
            Some(unsent) if injected.is_some() && !self.copy.is_carried() => Some(unsent),
            Some(unsent) if judge::unsent(error, self.policy) => Some(unsent),
            _ if judge::sent(error, self.policy) => {
                let next = self.copy.again();
                if next.is_none() {
                    withhold(aim, self.copy.withheld());
                }
                next
            }
            _ => {
                if rehearses || self.rehearsed.is_some_and(|policy| judge::sent(error, policy)) {
                    aim.trail.note(|notes| notes.would |= Would::RETRY);
                }
                None
            }
        };
        let cause = injected.unwrap_or(Cause::Reason(error.reason));
        Some(Again { cause, asked: Asked::Nothing, next: next? })
    }

    fn worth_repeating(&self, response: &Response, policy: &Policy, aim: &Aim) -> Option<Cause> {
        let fields = if policy.headers.is_empty() { &*NOTHING } else { self.fields_of(policy, aim) };
        judge::head(response.status(), response.headers(), aim.trail.grpc, policy, fields)
    }

    /// Which fields of answers a policy looks for.
    fn fields_of<'a>(&'a self, policy: &Policy, aim: &'a Aim) -> &'a AnswerFields {
        // What the caller wished for adds to what is in force, not to what is rehearsed.
        let wished = aim.trail.wishes().filter(|_| std::ptr::eq(policy, self.policy));
        let wished = wished.and_then(|wishes| wishes.answers.as_ref());
        let own = self.route.config.retry.as_ref().is_some_and(|own| std::ptr::eq(own, policy));
        let retrying = if own { &self.route.retrying } else { &self.route.rehearsed.retrying };
        wished.or_else(|| Some(&retrying.as_ref()?.headers)).unwrap_or(&*NOTHING)
    }
}

/// Asks, in this order: attempts left, time left, budget.
fn admit(policy: &Policy, aim: &Aim, cause: Cause, asked: Asked) -> Option<(RetryPermit, Duration)> {
    if aim.attempt >= policy.attempts {
        aim.trail.note(|notes| notes.reason = Some(Reason::RetriesExhausted));
        return None;
    }
    let Some(wait) = wait::before(aim.attempt + 1, asked, policy.backoff, &mut fastrand::Rng::new()) else {
        withhold(aim, Some(Withheld::Asked));
        return None;
    };
    if aim.deadline.is_some_and(|deadline| tokio::time::Instant::now() + wait + usual(policy, aim) >= deadline) {
        withhold(aim, Some(Withheld::Time));
        return None;
    }
    let Some(permit) = aim.cluster.try_retry(aim.priority(), clock::now()) else {
        aim.trail.note(|notes| notes.reason = Some(Reason::RetryBudgetExhausted));
        return None;
    };
    aim.trail.note(|notes| {
        if permit.is_beyond() {
            notes.would |= Would::BREAKER;
        }
        if let Some(edge) = &notes.edge {
            edge.retry(cause.into());
        }
    });
    Some((permit, wait))
}

/// Says why an attempt that might have helped is not made.
fn withhold(aim: &Aim, why: Option<Withheld>) {
    let Some(why) = why else { return };
    aim.trail.note(|notes| {
        notes.withheld = Some(why);
        if let Some(edge) = &notes.edge {
            edge.withhold(why);
        }
    });
}

/// How long an attempt must be given: what half of the route's answers take, so far as that is known. One that would be
/// cut before costs its endpoint work that nobody sees.
fn usual(policy: &Policy, aim: &Aim) -> Duration {
    let half = aim.route.retrying.as_ref().and_then(|retrying| retrying.pace.percentile(Percent::HALF));
    let usual = half.unwrap_or_default();
    policy.per_try_timeout.map_or(usual, |timeout| usual.min(timeout))
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
mod storm;
