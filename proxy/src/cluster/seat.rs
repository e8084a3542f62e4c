//! A place at an endpoint: whoever picks one takes it, and gives it back by dropping it.
//!
//! Taking is where a pick becomes exact. The balancer looks at endpoints without writing; between its look and the
//! taking another worker may have been faster, and then it picks again.

use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::Endpoint;

/// A place at an endpoint.
#[derive(Debug)]
#[must_use = "dropping a seat gives it back"]
pub struct Seat {
    endpoint: Arc<Endpoint>,
    probe: bool,
}

impl Seat {
    /// A place at `endpoint`. If it is on probation, as its only probe; `None` if there is one already, unless the
    /// request must go somewhere.
    pub(super) fn take(endpoint: &Arc<Endpoint>, must: bool, now: Instant) -> Option<Seat> {
        let probe = endpoint.outlier.is_on_probation(now) && endpoint.outlier.begin_probe();
        if !probe && !must && !endpoint.is_available(now) {
            return None;
        }
        endpoint.load.begin();
        Some(Seat { endpoint: Arc::clone(endpoint), probe })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether the request in it decides over the endpoint's return.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.endpoint.load.leave();
        if self.probe {
            self.endpoint.outlier.end_probe();
        }
    }
}
