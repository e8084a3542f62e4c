//! A place at an endpoint: whoever picks one takes it, and gives it back by dropping it.
//!
//! Taking is where a pick becomes exact. The balancer looks at endpoints without writing; between its look and the
//! taking another worker may have been faster, and then it picks again.

use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::Endpoint;
use crate::limits::{Acquired, Limit, Permit};

/// A place at an endpoint.
#[derive(Debug)]
#[must_use = "dropping a seat gives it back"]
pub struct Seat {
    endpoint: Arc<Endpoint>,
    probe: bool,
    /// What it uses of the endpoint's own limit, where there is one.
    _permit: Option<Permit>,
    beyond: bool,
}

impl Seat {
    /// A place at `endpoint`. If it is on probation, as its only probe; `None` if there is one already, unless the
    /// request must go somewhere. Where requests of an endpoint are `limited`, `None` too if it has as many as it may; and
    /// if it has as many as `most`.
    pub(super) fn take(endpoint: &Arc<Endpoint>, limited: bool, must: bool, most: u32, now: Instant) -> Option<Seat> {
        let (permit, beyond) = match limited.then(|| endpoint.limits.try_acquire(Limit::Requests)) {
            None => (None, false),
            Some(Acquired::Granted(permit)) => (Some(permit), false),
            Some(Acquired::WouldRefuse(permit)) => (Some(permit), true),
            Some(Acquired::Refused) => return None,
        };
        if !endpoint.load.try_begin(most) {
            return None;
        }
        let probe = endpoint.outlier.is_on_probation(now) && endpoint.outlier.begin_probe();
        if !probe && !must && !endpoint.is_available(now) {
            endpoint.load.leave();
            return None;
        }
        Some(Seat { endpoint: Arc::clone(endpoint), probe, _permit: permit, beyond })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether it is beyond a limit of the endpoint that is only observed.
    pub fn is_beyond(&self) -> bool {
        self.beyond
    }

    /// Whether the request in it decides over the endpoint's return.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Seat {
    /// The probe is decided, though the request goes on: another may take its place.
    pub fn end_probe(&mut self) {
        if std::mem::take(&mut self.probe) {
            self.endpoint.outlier.end_probe();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.endpoint.load.leave();
        self.end_probe();
    }
}
