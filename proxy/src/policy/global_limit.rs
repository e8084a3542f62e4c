//! Asks the rate limit service about a request (xDS `ratelimit`), and refuses what is over a limit.
//!
//! Raises [`Reason::RateLimited`] as the local limits do, and [`Reason::RateLimitUnavailable`] where the service gave no
//! answer in time and the policy says `onError: Deny`. The wait is never longer than the policy's timeout, and none at
//! all while the service is known to be away. In Observe the question is asked beside the request, which does not wait.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue};
use outrigger_config::policy::rate_limit::OnError;
use outrigger_config::policy::{Mode, RateLimit as Policy, Tell};
use outrigger_config::xds::rls::{Code, DOMAIN, RateLimitResponse};
use tower::{Layer, Service};

use super::rate_limit::{caller, count, facts, refusal};
use super::{Next, Waiting, foreign_limit};
use crate::error::{Error, Reason};
use crate::exchange::{Response, Routed};
use crate::rls::{Failure, Who};
use crate::route::global::{Globals, Question, level};
use crate::route::{Route, told};

/// Puts [`GlobalLimit`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct GlobalLimitLayer;

/// Asks, and goes on or refuses.
#[derive(Clone, Debug)]
pub struct GlobalLimit<S> {
    inner: S,
}

impl<S> Layer<S> for GlobalLimitLayer {
    type Service = GlobalLimit<S>;

    fn layer(&self, inner: S) -> GlobalLimit<S> {
        GlobalLimit { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for GlobalLimit<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut routed: Routed) -> Waiting {
        let foreign = routed.asking.take();
        let route = &routed.route;
        if route.globals.is_none() && route.rehearsed.globals.is_none() && foreign.is_none() {
            return self.inner.call(routed);
        }
        // What is rehearsed beside a limit sees what comes, not what that lets through.
        if let Some((globals, _)) = of_mode(route, Mode::Observe) {
            rehearse(&routed, globals);
        }
        let question = of_mode(route, Mode::Enforce).and_then(|(globals, _)| question(&routed, globals));
        if question.is_none() && foreign.is_none() {
            return self.inner.call(routed);
        }
        let mut inner = self.inner.clone();
        Box::pin(async move {
            if let Some(asking) = foreign {
                foreign_limit::ask(&routed, &asking).await?;
            }
            let fields = match question {
                Some(question) => ask(&routed, question).await?,
                None => Vec::new(),
            };
            let mut response = inner.call(routed).await?;
            response.headers_mut().extend(fields);
            Ok(response)
        })
    }
}

/// The global limits of a route that act, or those that are only observed; documents make no more than one of each.
fn of_mode(route: &Route, mode: Mode) -> Option<(&Globals, &Policy)> {
    let acting = route.globals.as_ref().zip(route.config.rate_limit.as_ref());
    let beside = route.rehearsed.globals.as_ref().zip(route.config.rehearsed.rate_limit.as_ref());
    [acting, beside].into_iter().flatten().find(|(_, policy)| policy.mode == mode)
}

fn question(routed: &Routed, globals: &Globals) -> Option<Question> {
    globals.question(&facts(routed), &caller(routed))
}

/// What the caller is told of a request that may go on, or why it may not.
async fn ask(routed: &Routed, question: Question) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let Some((globals, policy)) = of_mode(&routed.route, Mode::Enforce) else { return Ok(Vec::new()) };
    let limits = &routed.trail.connection.shared.limits;
    let answer =
        match limits.ask(&globals.circuit, Who::ControlPlane, DOMAIN, question.descriptors, globals.timeout).await {
            Ok(answer) => answer,
            Err(failure) if globals.on_error == OnError::Deny => return Err(denied(routed, policy, &failure)),
            Err(_) => return Ok(Vec::new()),
        };
    let rules = question.rules.iter().filter_map(|index| globals.rule(*index));
    let mut levels = rules.zip(answer.statuses.iter().map(level));
    if let Some(index) = over(&answer) {
        let Some((rule, level)) = levels.nth(index) else { return Err(Error::new(Reason::RateLimited)) };
        return Err(refusal(routed, policy, rule, level.map(|level| level.next).unwrap_or_default()));
    }
    if policy.tell != Tell::Always {
        return Ok(Vec::new());
    }
    Ok(told::fields(&levels.filter_map(|(rule, level)| Some((rule, level?))).collect::<Vec<_>>()).collect())
}

/// Which of the rules is over its limit; the first of them where the answer does not say.
pub(super) fn over(answer: &RateLimitResponse) -> Option<usize> {
    let is_over = |code: i32| code == i32::from(Code::OverLimit);
    let found = answer.statuses.iter().position(|status| is_over(status.code));
    is_over(answer.overall_code).then(|| found.unwrap_or_default())
}

fn denied(routed: &Routed, policy: &Policy, failure: &Failure) -> Error {
    routed.count_for_first();
    Error::new(Reason::RateLimitUnavailable).because(format_args!("{failure}, and {} says Deny", policy.origin))
}

/// Asks without waiting. What comes after the request is over is in the metrics alone.
fn rehearse(routed: &Routed, globals: &Globals) {
    let Some(question) = question(routed, globals) else { return };
    let (trail, route) = (Arc::clone(&routed.trail), Arc::clone(&routed.route));
    tokio::spawn(async move {
        let Some((globals, policy)) = of_mode(&route, Mode::Observe) else { return };
        let limits = &trail.connection.shared.limits;
        let answer =
            limits.ask(&globals.circuit, Who::ControlPlane, DOMAIN, question.descriptors, globals.timeout).await;
        if answer.is_ok_and(|answer| over(&answer).is_some()) {
            count(&trail, policy);
        }
    });
}
