//! Outlier detection: an endpoint that keeps failing leaves the balancer for a while
//! (xDS `Cluster.outlier_detection`).

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::value::Percent;

/// When an endpoint is ejected and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// Failures in a row that eject: 5xx, a gRPC error class, or no response (`consecutive_5xx`). At least 1.
    pub consecutive_errors: u32,
    /// How often ejected endpoints are looked at (`interval`).
    pub interval: Duration,
    /// The first ejection's length; it grows by itself with each further one (`base_ejection_time`).
    pub base_ejection: Duration,
    /// The longest ejection (`max_ejection_time`). At least `base_ejection`.
    pub max_ejection: Duration,
    /// The share of endpoints that may be ejected at once; one always may, the last never (`max_ejection_percent`).
    pub max_percent: Percent,
}

impl Outlier {
    /// What holds once the policy is switched on without numbers: 5 in a row, 10 s, 30 s to 300 s, 10 %.
    pub fn with_defaults(origin: Origin) -> Self {
        Outlier {
            origin,
            mode: Mode::Enforce,
            consecutive_errors: 5,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_percent: Percent::from_millionths(100_000).unwrap_or(Percent::HUNDRED),
        }
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if self.consecutive_errors == 0 {
            return Err(Problem::invalid(0, "must be at least 1").at_field("consecutiveErrors"));
        }
        if self.interval.is_zero() {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("interval"));
        }
        if self.base_ejection.is_zero() {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("base").at_field("ejection"));
        }
        if self.max_ejection < self.base_ejection {
            return Err(Problem::new(Code::Conflict, "must be at least as long as ejection.base")
                .at_field("max")
                .at_field("ejection"));
        }
        Ok(())
    }
}
