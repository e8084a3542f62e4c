//! Which failing endpoints are left out, and for how long (xDS `outlier_detection`).
//!
//! Failures in a row are counted on the endpoint, without a lock. Only when they reach the limit does the cluster
//! decide, one decision at a time: at most `max_percent` of the endpoints are out at once, one always may be, and the
//! last that takes requests never is. In Observe the decision is made and told, and nothing changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::policy::{Mode, Outlier};

use crate::endpoint::Endpoint;

/// How an attempt ended, as outlier detection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Any answer that is no failure.
    Success,
    /// A 5xx, a gRPC status that maps to one, or no answer.
    Failure,
}

/// An ejection, or one that would have been.
#[derive(Clone, Debug)]
pub struct Ejected {
    /// Who.
    pub endpoint: Arc<Endpoint>,
    /// For how long.
    pub time: Duration,
    /// Whether it was carried out.
    pub mode: Mode,
}

/// Whether one more endpoint may be left out: never the last, at most the share, but always one.
pub fn may_eject(policy: &Outlier, endpoints: &[Arc<Endpoint>], candidate: &Endpoint, now: Instant) -> bool {
    let ejected = endpoints.iter().filter(|endpoint| endpoint.outlier.is_ejected(now)).count() as u64;
    let another = endpoints.iter().any(|other| !std::ptr::eq(&raw const **other, candidate) && other.is_available(now));
    let most = endpoints.len() as u64 * u64::from(policy.max_percent.millionths()) / 1_000_000;
    another && ejected < most.max(1)
}

/// How long the next ejection of an endpoint lasts that was ejected `times` before.
pub fn ejection_time(policy: &Outlier, times: u32) -> Duration {
    policy.base_ejection.saturating_mul(times.saturating_add(1)).min(policy.max_ejection)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::policy::{Origin, Outlier};

    use super::ejection_time;

    #[test]
    fn each_ejection_is_a_step_longer_up_to_the_longest() {
        let policy = Outlier::with_defaults(Origin::default());
        let seconds = |times: u32| ejection_time(&policy, times).as_secs();
        assert_eq!([0, 1, 2, 9, 10, u32::MAX].map(seconds), [30, 60, 90, 300, 300, 300]);
        let still = Outlier { base_ejection: Duration::from_secs(300), ..policy };
        assert_eq!(ejection_time(&still, 3), Duration::from_secs(300));
    }
}
