//! Limits on a destination: what Envoy calls circuit breaker thresholds (`Cluster.circuit_breakers`), those of priority HIGH
//! beside those of DEFAULT: a request counts against those of its route's priority alone.
//! Each is exact across all workers of one proxy; `Some(0)` allows none, `None` leaves it unlimited.

use super::{Mode, Origin, Priority};

/// How much of a destination one proxy may use at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// Connections to the destination (`max_connections`).
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection (`max_pending_requests`).
    pub max_pending_requests: Option<u32>,
    /// Requests under way, waiting ones included (`max_requests`).
    pub max_requests: Option<u32>,
    /// Retries under way (`max_retries`), beside the budget.
    pub max_retries: Option<u32>,
    /// What one endpoint may have of it, whatever the priority.
    pub per_endpoint: PerEndpoint,
    /// What requests of priority High may have, beside all of the above.
    pub high: Thresholds,
}

/// How much requests of one priority may use at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Connections (`max_connections`).
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection (`max_pending_requests`).
    pub max_pending_requests: Option<u32>,
    /// Requests under way, waiting ones included (`max_requests`).
    pub max_requests: Option<u32>,
    /// Retries under way (`max_retries`), beside the budget.
    pub max_retries: Option<u32>,
}

impl Limits {
    /// What requests of this priority may have.
    pub fn of(&self, priority: Priority) -> Thresholds {
        match priority {
            Priority::Default => Thresholds {
                max_connections: self.max_connections,
                max_pending_requests: self.max_pending_requests,
                max_requests: self.max_requests,
                max_retries: self.max_retries,
            },
            Priority::High => self.high,
        }
    }

    /// The same with other numbers for this priority.
    #[must_use]
    pub fn with(self, priority: Priority, most: Thresholds) -> Self {
        let Thresholds { max_connections, max_pending_requests, max_requests, max_retries } = most;
        match priority {
            Priority::Default => Limits { max_connections, max_pending_requests, max_requests, max_retries, ..self },
            Priority::High => Limits { high: most, ..self },
        }
    }
}

/// How much of each endpoint one proxy may use at once (`per_host_thresholds`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerEndpoint {
    /// Connections to it.
    pub max_connections: Option<u32>,
    /// Requests under way to it.
    pub max_requests: Option<u32>,
}
