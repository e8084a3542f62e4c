//! The weight that an endpoint's load reports give it, for as long as they are fresh (gRFC A58).
//!
//! An endpoint that begins to report is not believed at once: its first figures are those of a cold start. One that no
//! longer reports is not believed for ever. Reports come from many workers; weight and time are two words, of which one may
//! be a moment older than the other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use outrigger_config::cluster::LoadReports;

/// What an endpoint's reports come to.
#[derive(Debug)]
pub struct Reported {
    epoch: Instant,
    /// The bits of the last weight.
    weight: AtomicU64,
    /// Nanoseconds since the epoch of the last report, plus one; 0 before the first.
    last: AtomicU64,
    /// The same of the first of those that came without too long a pause.
    since: AtomicU64,
}

impl Reported {
    /// Nothing reported. `epoch` is the time it counts from.
    pub fn new(epoch: Instant) -> Self {
        Reported { epoch, weight: AtomicU64::new(0), last: AtomicU64::new(0), since: AtomicU64::new(0) }
    }

    fn nanos(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX - 1).saturating_add(1)
    }

    /// Takes a weight down.
    pub fn report(&self, weight: f64, now: Instant) {
        let now = self.nanos(now);
        let _ = self.since.compare_exchange(0, now, Relaxed, Relaxed);
        self.weight.store(weight.to_bits(), Relaxed);
        self.last.store(now, Relaxed);
    }

    /// The weight, if it is to be believed.
    pub fn weight(&self, rules: &LoadReports, now: Instant) -> Option<f64> {
        let (last, since, now) = (self.last.load(Relaxed), self.since.load(Relaxed), self.nanos(now));
        if last == 0 {
            return None;
        }
        if u128::from(now.saturating_sub(last)) >= rules.expiration.as_nanos() {
            // Whoever reports again begins anew.
            self.since.store(0, Relaxed);
            return None;
        }
        let young = u128::from(now.saturating_sub(since)) < rules.blackout.as_nanos();
        (since != 0 && !young).then(|| f64::from_bits(self.weight.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::LoadReports;

    use super::Reported;

    #[test]
    fn a_weight_is_believed_between_blackout_and_expiration() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rules = LoadReports::default();
        let reported = Reported::new(start);
        assert_eq!(reported.weight(&rules, at(0)), None);
        reported.report(7.0, at(1));
        assert_eq!(reported.weight(&rules, at(10)), None, "10 s of blackout");
        assert_eq!(reported.weight(&rules, at(11)), Some(7.0));
        reported.report(9.0, at(100));
        assert_eq!(reported.weight(&rules, at(279)), Some(9.0));
        assert_eq!(reported.weight(&rules, at(280)), None, "180 s until it expires");
        reported.report(5.0, at(300));
        assert_eq!(reported.weight(&rules, at(301)), None, "the blackout begins anew");
        assert_eq!(reported.weight(&rules, at(310)), Some(5.0));
    }
}
