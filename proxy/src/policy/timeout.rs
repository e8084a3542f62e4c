//! Bounds the whole request: all attempts, the waits between them, and the response's body (xDS
//! `RouteAction.timeout`, `idle_timeout` and `max_stream_duration`; Gateway API `timeouts.request`). Raises
//! [`Reason::HttpResponseTimeout`], [`Reason::IdleTimeout`] and [`Reason::StreamTimeout`] before the head; after it, the
//! body breaks for the same reasons, and a tunnel by itself (`crate::tunnel`). A gRPC caller's own `grpc-timeout` counts
//! where it is the shorter.
//!
//! A request counts as idle while neither its body nor its answer moves, so that a long upload is not taken for a
//! silent one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use outrigger_config::policy::Timeouts;
use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service};

use super::{Next, Waiting};
use crate::body::Pulse;
use crate::error::{Error, Reason};
use crate::exchange::{Response, Targeted, Trail};
use crate::grpc;

/// Puts [`Timeout`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer;

/// Bounds a request.
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Timeout<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Waiting {
        let timeouts = targeted.aim.timeouts();
        let allowed = allowed(&timeouts, targeted.http.headers(), &targeted.aim.trail);
        if allowed.is_none() && timeouts.idle.is_none() {
            return self.inner.call(targeted);
        }
        let start = Instant::from_std(targeted.aim.trail.started);
        let trail = Arc::clone(&targeted.aim.trail);
        let deadline = allowed.map(|(time, reason)| Deadline { at: start + time, start, reason });
        targeted.aim.deadline = deadline.map(|deadline| deadline.at);
        if let (Some(deadline), None) = (deadline, timeouts.idle) {
            return Box::pin(bound(self.inner.call(targeted), deadline, trail));
        }
        // Only a body can keep a request alive before its answer.
        let pulse: Option<Pulse> = (timeouts.idle.is_some() && !targeted.http.body().is_empty()).then(Arc::default);
        if let Some(pulse) = &pulse {
            targeted.http.body_mut().set_pulse(Arc::clone(pulse), start);
        }
        let watch = Watch { start, deadline, idle: timeouts.idle, pulse };
        Box::pin(attend(self.inner.call(targeted), watch, trail))
    }
}

/// How long a request may take, and what it ends with after that: what its route says, or what its gRPC caller waits
/// where that is shorter.
pub(super) fn allowed(timeouts: &Timeouts, headers: &http::HeaderMap, trail: &Trail) -> Option<(Duration, Reason)> {
    let asked = trail.grpc.then(|| asked(headers)).flatten();
    let (asked, stream) = match (asked, timeouts.grpc_max) {
        (Some(asked), Some(most)) => (Some(if most.is_zero() { asked } else { asked.min(most) }), None),
        (asked, _) => (asked, timeouts.stream),
    };
    let request = timeouts.request.into_iter().chain(asked).min();
    match (request, stream) {
        (None, Some(stream)) => Some((stream, Reason::StreamTimeout)),
        (Some(request), Some(stream)) if stream < request => Some((stream, Reason::StreamTimeout)),
        (request, _) => Some((request?, Reason::HttpResponseTimeout)),
    }
}

/// How long a gRPC caller waits itself.
fn asked(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get(grpc::TIMEOUT)?.to_str().ok().and_then(grpc::parse_timeout)
}

/// When a request must be over.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    start: Instant,
    reason: Reason,
}

impl Deadline {
    /// What the request ends with when it has passed.
    fn missed(&self) -> Error {
        let took = Instant::now().duration_since(self.start).as_millis();
        let whose = if self.reason == Reason::StreamTimeout { "stream" } else { "request" };
        Error::new(self.reason).because(format_args!("no complete answer within the {whose}'s {took} ms"))
    }
}

/// A request with a deadline.
async fn bound(mut inner: Waiting, deadline: Deadline, trail: Arc<Trail>) -> Result<Response, Error> {
    let Ok(answer) = timeout_at(deadline.at, &mut inner).await else { return Err(cut(deadline.missed(), &trail)) };
    let mut response = answer?;
    response.body_mut().set_deadline(deadline.at, deadline.reason);
    Ok(response)
}

/// A request that must not be idle, either.
async fn attend(inner: Waiting, watch: Watch, trail: Arc<Trail>) -> Result<Response, Error> {
    let mut response = match select(pin!(inner), pin!(watch.expired())).await {
        Either::Left((answer, _)) => answer?,
        Either::Right((error, _)) => return Err(cut(error, &trail)),
    };
    if let Some(deadline) = watch.deadline {
        response.body_mut().set_deadline(deadline.at, deadline.reason);
    }
    if let Some(idle) = watch.idle {
        response.body_mut().set_idle(idle);
    }
    Ok(response)
}

/// Notes why the attempt under way is given up; before it is dropped, which is when its account is settled.
fn cut(error: Error, trail: &Trail) -> Error {
    trail.note(|notes| notes.cut = Some(error.reason));
    error
}

struct Watch {
    start: Instant,
    deadline: Option<Deadline>,
    idle: Option<Duration>,
    pulse: Option<Pulse>,
}

impl Watch {
    /// When something last moved.
    fn last_moved(&self) -> Instant {
        let millis = self.pulse.as_ref().map_or(0, |pulse| pulse.load(Ordering::Relaxed));
        self.start + Duration::from_millis(millis)
    }

    async fn expired(&self) -> Error {
        loop {
            let idle_at = self.idle.map(|idle| self.last_moved() + idle);
            let Some(next) = [idle_at, self.deadline.map(|deadline| deadline.at)].into_iter().flatten().min() else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(next).await;
            let now = Instant::now();
            if let Some(deadline) = self.deadline.filter(|deadline| deadline.at <= now) {
                return deadline.missed();
            }
            if let Some(idle) = self.idle
                && self.last_moved() + idle <= now
            {
                let silent = idle.as_millis();
                return Error::new(Reason::IdleTimeout).because(format_args!("nothing moved for {silent} ms"));
            }
        }
    }
}
