//! What callers saw, as numbers: a histogram of durations and the counts of one kind of caller. Pure; the load
//! generator feeds it and the story subtracts two readings of it to speak about the time between them.

use std::collections::BTreeMap;
use std::time::Duration;

/// Durations in buckets of at most 3 % width, from 1 us to 70 s.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
}

/// Buckets to each doubling.
const STEPS: u32 = 32;
/// log2 of the first bucket that is not exact.
const EXACT_BITS: u32 = 5;

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; (STEPS * 23) as usize] }
    }
}

impl Histogram {
    fn index(micros: u64) -> usize {
        let micros = micros.clamp(1, (1 << 26) - 1);
        let bits = 63 - micros.leading_zeros();
        if bits < EXACT_BITS {
            return micros as usize;
        }
        let step = (micros >> (bits - EXACT_BITS)) as u32 - STEPS;
        ((bits - EXACT_BITS + 1) * STEPS + step) as usize
    }

    /// The middle of a bucket.
    fn value(index: usize) -> Duration {
        let (octave, step) = (index as u64 / u64::from(STEPS), index as u64 % u64::from(STEPS));
        let micros = if octave == 0 {
            step as f64
        } else {
            let width = (1_u64 << (octave - 1)) as f64;
            (u64::from(STEPS) + step) as f64 * width + width / 2.0
        };
        Duration::from_secs_f64(micros / 1e6)
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let index = Self::index(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that `share` (0 to 1) of all do not exceed; zero where nothing was counted.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::value(index);
            }
        }
        Duration::ZERO
    }

    fn since(&self, earlier: &Histogram) -> Histogram {
        Histogram { counts: self.counts.iter().zip(&earlier.counts).map(|(now, then)| now - then).collect() }
    }
}

/// What one kind of caller saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Answers that were what the caller wanted.
    pub(crate) good: u64,
    /// Everything else: another status, a broken answer, none in time.
    pub(crate) bad: u64,
    /// From when the call was due, not from when it could be sent.
    pub(crate) durations: Histogram,
    /// Answers by status; 0 is a call without one.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Reasons named by `Proxy-Status`, or what the client itself ran into.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// For each reason the first whole `Proxy-Status` line with it.
    pub(crate) said: BTreeMap<String, String>,
    /// Good answers by what served a part of them: an instance, and for `recommend` its version.
    pub(crate) served: BTreeMap<String, u64>,
    /// The most calls that were under way at once.
    pub(crate) most_in_flight: usize,
}

impl Seen {
    /// All calls that came to an end.
    pub(crate) fn calls(&self) -> u64 {
        self.good + self.bad
    }

    /// The share that was good, in percent; 100 where nothing was called.
    pub(crate) fn success(&self) -> f64 {
        percent(self.good, self.calls(), 100.0)
    }

    /// How many answers had this status.
    pub(crate) fn status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// How many parts were served by `name`.
    pub(crate) fn served_by(&self, name: &str) -> u64 {
        self.served.get(name).copied().unwrap_or_default()
    }

    /// What was seen after `earlier` was read.
    pub(crate) fn since(&self, earlier: &Seen) -> Seen {
        Seen {
            good: self.good - earlier.good,
            bad: self.bad - earlier.bad,
            durations: self.durations.since(&earlier.durations),
            statuses: subtract(&self.statuses, &earlier.statuses),
            reasons: subtract(&self.reasons, &earlier.reasons),
            said: self.said.clone(),
            served: subtract(&self.served, &earlier.served),
            most_in_flight: self.most_in_flight,
        }
    }
}

fn subtract<K: Clone + Ord>(now: &BTreeMap<K, u64>, then: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    now.iter()
        .map(|(key, count)| (key.clone(), count - then.get(key).copied().unwrap_or_default()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// `part` of `whole` in percent; `otherwise` where there is no whole.
pub(crate) fn percent(part: u64, whole: u64, otherwise: f64) -> f64 {
    if whole == 0 { otherwise } else { part as f64 * 100.0 / whole as f64 }
}

/// Calls of a binomial split needed so that chance alone strays more than `points` percent from `share` (0 to 1) less
/// than once in a million runs (4.9 standard deviations).
pub(crate) fn calls_to_measure(share: f64, points: f64) -> u64 {
    let deviations = 4.9;
    (share * (1.0 - share) * (deviations * 100.0 / points).powi(2)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Histogram, Seen, calls_to_measure, percent};

    #[test]
    fn percentiles_are_within_three_percent() {
        let mut histogram = Histogram::default();
        for micros in 1..=100_000_u64 {
            histogram.record(Duration::from_micros(micros));
        }
        for share in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let seen = histogram.percentile(share).as_secs_f64() * 1e6;
            let wanted = 100_000.0 * share;
            assert!((seen - wanted).abs() / wanted < 0.03, "{share}: {seen} instead of {wanted}");
        }
    }

    #[test]
    fn extremes_stay_in_the_histogram() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(1_000));
        assert_eq!(histogram.count(), 2);
        assert!(histogram.percentile(1.0) > Duration::from_secs(60));
        assert_eq!(Histogram::default().percentile(0.5), Duration::ZERO);
    }

    #[test]
    fn a_difference_is_what_happened_between() {
        let mut seen = Seen { good: 5, bad: 1, ..Seen::default() };
        seen.statuses.insert(200, 5);
        seen.durations.record(Duration::from_millis(1));
        let earlier = seen.clone();
        seen.good += 3;
        seen.statuses.insert(200, 8);
        seen.durations.record(Duration::from_millis(9));
        let between = seen.since(&earlier);
        assert_eq!((between.good, between.bad, between.status(200), between.durations.count()), (3, 0, 3, 1));
        assert!(between.durations.percentile(0.5) > Duration::from_millis(8));
    }

    #[test]
    fn success_of_nothing_is_whole() {
        assert_eq!(Seen::default().success(), 100.0);
        assert_eq!(percent(1, 4, 0.0), 25.0);
    }

    #[test]
    fn two_points_of_a_tenth_take_some_thousand_calls() {
        assert!((5_000..6_000).contains(&calls_to_measure(0.1, 2.0)), "{}", calls_to_measure(0.1, 2.0));
    }
}
