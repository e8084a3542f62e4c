//! Admission control on the caller's side: of a destination that fails, only so much is asked as it is likely to answer
//! (client-side throttling of Google's "Site Reliability Engineering", chapter 21; the numbers are those of Envoy's
//! `admission_control` filter).

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::Problem;
use crate::value::Percent;

/// How much of the requests to a destination is given up at once while it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionControl {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// How far it looks back (`sampling_window`).
    pub window: Duration,
    /// With a smaller share of successes it begins to refuse (`sr_threshold`); more than 0.
    pub success_threshold: Percent,
    /// How fast the share of refusals grows, in thousandths; at least 1,000, which is in proportion (`aggression`).
    pub aggression_thousandths: u32,
    /// With fewer requests a second nothing is refused (`rps_threshold`).
    pub min_per_second: u32,
    /// However it fails, no greater share is refused (`max_rejection_probability`).
    pub max_rejection: Percent,
}

impl AdmissionControl {
    /// The defaults, which are Envoy's but for the rate: with none, one failure in a quiet time would give up half of what
    /// follows.
    pub fn with_defaults(origin: Origin, mode: Mode) -> Self {
        AdmissionControl {
            origin,
            mode,
            window: Duration::from_secs(30),
            success_threshold: Percent::from_hundredths(9_500),
            aggression_thousandths: 1000,
            min_per_second: 1,
            max_rejection: Percent::from_hundredths(8_000),
        }
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if self.window < Duration::from_secs(1) {
            return Err(Problem::invalid(self.window.as_secs_f64(), "must be at least 1s").at_field("window"));
        }
        if self.success_threshold == Percent::ZERO {
            return Err(Problem::invalid(0, "must be more than 0").at_field("successThreshold"));
        }
        if self.aggression_thousandths < 1000 {
            let aggression = f64::from(self.aggression_thousandths) / 1000.0;
            return Err(Problem::invalid(aggression, "must be at least 1").at_field("aggression"));
        }
        Ok(())
    }
}
