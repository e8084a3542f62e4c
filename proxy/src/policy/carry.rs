//! Carries the mark of a request that a layer above tries again past the workload (see [`crate::carried`]): on the way in
//! its trace is remembered while it lasts, on the way out a request of such a trace gets the mark again. Raises nothing.

use std::sync::Arc;
use std::task::{Context, Poll};

use outrigger_config::listener::Direction;
use tower::{Layer, Service};

use super::{Next, Waiting};
use crate::carried;
use crate::error::Error;
use crate::exchange::{Request, Response};
use crate::fields::Fields;

/// Puts [`Carry`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct CarryLayer;

/// Carries marks.
#[derive(Clone, Debug)]
pub struct Carry<S> {
    inner: S,
}

impl<S> Layer<S> for CarryLayer {
    type Service = Carry<S>;

    fn layer(&self, inner: S) -> Carry<S> {
        Carry { inner }
    }
}

impl<S: Next<Request>> Service<Request> for Carry<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Waiting {
        let trail = Arc::clone(&request.trail);
        let carried = &trail.connection.shared.carried;
        let marked = trail.fields.any(Fields::MARK);
        match trail.connection.entrance.direction {
            // Without a trace that the workload is told there is nothing it could pass on.
            Direction::Inbound if marked && trail.traced => {
                let held = carried.hold(trail.context.trace_id);
                trail.note(|notes| notes.held_mark = held);
            }
            Direction::Outbound if !marked && carried.holds(&trail.context.trace_id) => {
                carried::mark(request.http.headers_mut(), 0);
            }
            _ => {}
        }
        self.inner.call(request)
    }
}
