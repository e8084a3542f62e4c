//! Bounds the whole request: all attempts, the waits between them, and the response's body (xDS
//! `RouteAction.timeout` and `idle_timeout`; Gateway API `timeouts.request`). Raises [`Reason::HttpResponseTimeout`]
//! and [`Reason::IdleTimeout`] before the head; after it, the body breaks for the same reasons. A gRPC caller's own
//! `grpc-timeout` counts where it is the shorter.
//!
//! A request counts as idle while neither its body nor its answer moves, so that a long upload is not taken for a
//! silent one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Next, PolicyFuture};
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
    type Future = PolicyFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Self::Future {
        let mut timeouts = targeted.aim.timeouts();
        timeouts.request = allowed(timeouts.request, targeted.http.headers(), &targeted.aim.trail);
        if timeouts.request.is_none() && timeouts.idle.is_none() {
            return Either::Left(self.inner.call(targeted));
        }
        let start = Instant::from_std(targeted.aim.trail.started);
        let deadline = timeouts.request.map(|request| start + request);
        targeted.aim.deadline = deadline;
        // Only a body can keep a request alive before its answer.
        let pulse: Option<Pulse> = (timeouts.idle.is_some() && !targeted.http.body().is_empty()).then(Arc::default);
        if let Some(pulse) = &pulse {
            targeted.http.body_mut().set_pulse(Arc::clone(pulse), start);
        }
        let trail = Arc::clone(&targeted.aim.trail);
        let watch = Watch { start, deadline, idle: timeouts.idle, pulse, trail };
        Either::Right(Box::pin(run(self.inner.call(targeted), watch)))
    }
}

/// How long a request may take: what its route says, or what its gRPC caller waits where that is shorter.
pub(super) fn allowed(route: Option<Duration>, headers: &http::HeaderMap, trail: &Trail) -> Option<Duration> {
    let asked = trail.grpc.then(|| asked(headers)).flatten();
    route.into_iter().chain(asked).min()
}

/// How long a gRPC caller waits itself.
fn asked(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get(grpc::TIMEOUT)?.to_str().ok().and_then(grpc::parse_timeout)
}

struct Watch {
    start: Instant,
    deadline: Option<Instant>,
    idle: Option<Duration>,
    pulse: Option<Pulse>,
    trail: Arc<Trail>,
}

async fn run(inner: impl Future<Output = Result<Response, Error>>, watch: Watch) -> Result<Response, Error> {
    let mut response = match select(pin!(inner), pin!(watch.expired())).await {
        futures_util::future::Either::Left((answer, _)) => answer?,
        futures_util::future::Either::Right((error, _)) => {
            // Noted before the attempt is dropped, which is when its account is settled.
            watch.trail.note(|notes| notes.cut = Some(error.reason));
            return Err(error);
        }
    };
    if let Some(deadline) = watch.deadline {
        response.body_mut().set_deadline(deadline, Reason::HttpResponseTimeout);
    }
    if let Some(idle) = watch.idle {
        response.body_mut().set_idle(idle);
    }
    Ok(response)
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
            let Some(next) = [idle_at, self.deadline].into_iter().flatten().min() else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(next).await;
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                let took = now.duration_since(self.start).as_millis();
                return Error::new(Reason::HttpResponseTimeout)
                    .because(format_args!("no complete answer within the request's {took} ms"));
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
