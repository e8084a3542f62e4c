//! Takes a place among the requests that the destination may have under way, for each attempt; it is free again when
//! the attempt's response is over (xDS `circuit_breakers`, `max_requests`). Raises [`Reason::BreakerRequests`]; in
//! Observe it only notes what it would have done.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::cluster::limits::{Acquired, Limit};
use crate::error::{Error, Reason};
use crate::exchange::Targeted;
use crate::telemetry::Would;

/// Puts [`Breaker`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct BreakerLayer;

/// Takes a place or refuses.
#[derive(Clone, Debug)]
pub struct Breaker<S> {
    inner: S,
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        Breaker { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Breaker<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Waiting {
        let aim = &targeted.aim;
        match aim.limits().try_acquire(Limit::Requests) {
            Acquired::Granted(permit) => targeted.permit = Some(permit),
            Acquired::WouldRefuse(permit) => {
                targeted.permit = Some(permit);
                aim.trail.note(|notes| notes.would |= Would::BREAKER);
            }
            Acquired::Refused => {
                let detail = format!("{} has as many requests under way as its limit allows", aim.cluster.label);
                return refuse(Error::new(Reason::BreakerRequests).because(detail));
            }
        }
        self.inner.call(targeted)
    }
}
