//! Limits on a destination: what Envoy calls circuit breaker thresholds (`Cluster.circuit_breakers`, priority DEFAULT).
//! Each is exact across all workers of one proxy; `Some(0)` allows none, `None` leaves it unlimited.

use super::{Mode, Origin};

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
    /// What one endpoint may have of it.
    pub per_endpoint: PerEndpoint,
}

/// How much of each endpoint one proxy may use at once (`per_host_thresholds`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerEndpoint {
    /// Connections to it.
    pub max_connections: Option<u32>,
    /// Requests under way to it.
    pub max_requests: Option<u32>,
}
