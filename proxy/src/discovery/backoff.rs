//! How long to wait before the next attempt to reach the control plane: at random below a bound that grows (full
//! jitter), so that a thousand proxies do not come back at the same moment.

use std::time::Duration;

/// The bound before anything was ever heard: small, so that a proxy starts within a second of its control plane.
const FIRST: Duration = Duration::from_millis(100);
const FIRST_MAX: Duration = Duration::from_millis(600);
/// The bound after that.
const BASE: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(5);
const GROWTH: f64 = 1.6;

/// The wait before the next attempt.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    bound: Duration,
    heard: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { bound: FIRST, heard: false }
    }
}

impl Backoff {
    /// The control plane answered: the next failure is the first again.
    pub fn answered(&mut self) {
        *self = Backoff { bound: BASE, heard: true };
    }

    /// How long to wait after a failure.
    pub fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let bound = self.bound;
        self.bound = bound.mul_f64(GROWTH).min(if self.heard { MAX } else { FIRST_MAX });
        bound.mul_f64(rng.f64())
    }

    /// How long to wait after a stream that had answered and then was closed in order.
    pub fn after_close(rng: &mut fastrand::Rng) -> Duration {
        Duration::from_secs(1).mul_f64(rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Backoff, FIRST_MAX, MAX};

    proptest! {
        #[test]
        fn waits_stay_below_a_bound_that_grows_to_its_limit(seed: u64, heard: bool) {
            let rng = &mut fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            if heard {
                backoff.answered();
            }
            let max = if heard { MAX } else { FIRST_MAX };
            let mut bound = Duration::from_millis(if heard { 500 } else { 100 });
            for _ in 0..30 {
                prop_assert!(backoff.next(rng) <= bound);
                bound = bound.mul_f64(1.6).min(max);
            }
            backoff.answered();
            prop_assert!(backoff.next(rng) <= Duration::from_millis(500));
        }
    }
}
