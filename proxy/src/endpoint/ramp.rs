//! How much of its part a newcomer gets: little by little, until its window is over (slow start).
//!
//! The share is Envoy's: time passed over the window, to the power of one over the aggression, and never less than the
//! least. An endpoint of a destination that begins with it is no newcomer, since all of them are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use outrigger_config::cluster::SlowStart;

/// When an endpoint came or came back.
#[derive(Debug)]
pub struct Ramp {
    epoch: Instant,
    /// Nanoseconds since the epoch, plus one; 0 if it is no newcomer.
    since: AtomicU64,
}

impl Ramp {
    /// No newcomer. `epoch` is the time it counts from.
    pub fn new(epoch: Instant) -> Self {
        Ramp { epoch, since: AtomicU64::new(0) }
    }

    /// It came, or came back.
    pub fn begin(&self, now: Instant) {
        let nanos = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX);
        self.since.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    /// The share of its part that it gets, 0 to 1.
    pub fn share(&self, slow: &SlowStart, now: Instant) -> f64 {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 {
            return 1.0;
        }
        let passed = now.saturating_duration_since(self.epoch).as_nanos() as f64 - (since - 1) as f64;
        let part = passed / slow.window.as_nanos().max(1) as f64;
        if part >= 1.0 {
            // Over: not to be reckoned again.
            let _ = self.since.compare_exchange(since, 0, Ordering::Relaxed, Ordering::Relaxed);
            return 1.0;
        }
        part.max(0.0).powf(1000.0 / f64::from(slow.aggression_thousandths.max(1))).max(slow.min_weight.ratio())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::SlowStart;

    use super::Ramp;

    #[test]
    fn the_share_is_that_of_the_published_formula() {
        let now = Instant::now();
        let ramp = Ramp::new(now);
        let line = SlowStart::with_defaults(Duration::from_secs(60));
        assert!((ramp.share(&line, now) - 1.0).abs() < 1e-9, "no newcomer");
        ramp.begin(now);
        // Envoy, "Slow start mode": max(min weight, (time / window) ^ (1 / aggression)).
        for (aggression, seconds, share) in
            [(1000, 0, 0.1), (1000, 3, 0.1), (1000, 15, 0.25), (1000, 30, 0.5), (2000, 15, 0.5), (500, 30, 0.25)]
        {
            let slow = SlowStart { aggression_thousandths: aggression, ..line };
            let seen = ramp.share(&slow, now + Duration::from_secs(seconds));
            assert!((seen - share).abs() < 1e-9, "{aggression} {seconds}: {seen}");
        }
        assert!((ramp.share(&line, now + Duration::from_secs(60)) - 1.0).abs() < 1e-9);
        assert!((ramp.share(&line, now) - 1.0).abs() < 1e-9, "over is over");
    }
}
