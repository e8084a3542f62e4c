//! Injects faults (xDS `HTTPFault`; a RoutePolicy's `fault`), on either side of the retries: around a routed request,
//! where the caller gets the fault as it is, or around each attempt, where it counts against the per-try timeout and is
//! retried as an endpoint's answer would be. Raises [`Reason::FaultInjected`]; in Observe it only notes what it would
//! have done.

use std::task::{Context, Poll};

use http::Request;
use outrigger_config::policy::fault::Scope;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::timeout::allowed;
use super::{Next, Waiting, refuse};
use crate::body::Body;
use crate::error::{Error, Reason};
use crate::exchange::{Response, Routed, Targeted, Trail};
use crate::route::fault::{Abort, Fault as Mechanism, Verdict};
use crate::route::{Facts, Route};
use crate::telemetry::Would;

/// Puts [`Fault`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct FaultLayer;

/// Delays, aborts and throttles.
#[derive(Clone, Debug)]
pub struct Fault<S> {
    inner: S,
}

impl<S> Layer<S> for FaultLayer {
    type Service = Fault<S>;

    fn layer(&self, inner: S) -> Fault<S> {
        Fault { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for Fault<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Waiting {
        let Some(verdict) = verdict(Scope::Request, &routed.route, &routed.http, &routed.authority, &routed.trail)
        else {
            return self.inner.call(routed);
        };
        if let (None, Some(abort)) = (verdict.delay, verdict.abort) {
            routed.count_for_first();
            return refuse(aborted(abort, None));
        }
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let Some(delay) = verdict.delay else { return throttled(inner.call(routed).await, &verdict) };
            let start = Instant::from_std(routed.trail.started);
            let timeouts = routed.trail.timeouts(&routed.route);
            let allowed = allowed(&timeouts, routed.http.headers(), &routed.trail);
            let deadline = allowed.map(|(time, _)| start + time);
            let end = Instant::now() + delay;
            tokio::time::sleep_until(deadline.map_or(end, |deadline| deadline.min(end))).await;
            if deadline.is_some_and(|deadline| deadline < end) {
                routed.count_for_first();
                let detail = "an injected delay was longer than the request's timeout";
                let reason = allowed.map_or(Reason::HttpResponseTimeout, |(_, reason)| reason);
                return Err(Error::new(reason).because(detail));
            }
            match verdict.abort {
                None => throttled(inner.call(routed).await, &verdict),
                Some(abort) => {
                    routed.count_for_first();
                    Err(aborted(abort, None))
                }
            }
        })
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Fault<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, targeted: Targeted) -> Waiting {
        let aim = &targeted.aim;
        let Some(verdict) = verdict(Scope::Attempt, &aim.route, &targeted.http, &aim.authority, &aim.trail) else {
            return self.inner.call(targeted);
        };
        if let (None, Some(abort)) = (verdict.delay, verdict.abort) {
            return refuse(aborted(abort, Some(targeted.http)));
        }
        let mut inner = self.inner.clone();
        Box::pin(async move {
            if let Some(delay) = verdict.delay {
                // The timeouts around this room cut a delay that is too long for them.
                tokio::time::sleep(delay).await;
            }
            match verdict.abort {
                None => throttled(inner.call(targeted).await, &verdict),
                Some(abort) => Err(aborted(abort, Some(targeted.http))),
            }
        })
    }
}

/// What is done to a request here; none where nothing is, or where it is only noted.
fn verdict(
    scope: Scope,
    route: &Route,
    http: &Request<Body>,
    authority: &http::HeaderValue,
    trail: &Trail,
) -> Option<Verdict> {
    let meant = |fault: &&Mechanism| fault.policy.scope == scope;
    if let Some(fault) = route.rehearsed.fault.as_ref().filter(meant) {
        decide(fault, http, authority, trail);
    }
    decide(route.fault.as_ref().filter(meant)?, http, authority, trail)
}

fn decide(fault: &Mechanism, http: &Request<Body>, authority: &http::HeaderValue, trail: &Trail) -> Option<Verdict> {
    let facts = Facts::of(http, authority, trail.grpc);
    let verdict = fault.decide(&facts, &mut fastrand::Rng::new());
    if verdict.is_nothing() {
        return None;
    }
    if !fault.policy.mode.enforces() {
        trail.note(|notes| notes.would |= Would::FAULT);
        return None;
    }
    Some(verdict)
}

/// The response, at the rate of the fault.
fn throttled(answer: Result<Response, Error>, verdict: &Verdict) -> Result<Response, Error> {
    match (answer, verdict.throttle) {
        (Ok(response), Some(rate)) => Ok(response.map(|body| body.throttled(rate))),
        (answer, _) => answer,
    }
}

/// `unsent` is the request where a retry may send it.
fn aborted(abort: Abort, unsent: Option<Box<Request<Body>>>) -> Error {
    let Abort { status, grpc } = abort;
    Error::new(Reason::FaultInjected).because("as a RoutePolicy asked for").injected(status, grpc, unsent)
}
