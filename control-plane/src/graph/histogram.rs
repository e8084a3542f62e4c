//! Latencies in fixed buckets, and percentiles interpolated inside them.
//!
//! The bounds are those every proxy sends (OpenTelemetry's advice for HTTP durations with three finer ones below). A
//! histogram with other bounds is taken in too: each of its buckets is counted where its upper bound falls, so a
//! latency is never shown better than it was.

/// The upper bounds of the buckets, in seconds; one more bucket holds everything above the last.
pub const BOUNDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Counts of requests by latency. Counts stop at `u32::MAX` a bucket rather than wrap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BOUNDS.len() + 1],
}

impl Histogram {
    /// Counts buckets with the given upper bounds; `counts` has one element more than `bounds`.
    pub fn add(&mut self, bounds: &[f64], counts: &[u64]) {
        for (index, &count) in counts.iter().enumerate() {
            let bucket = match bounds.get(index) {
                Some(bound) => BOUNDS.partition_point(|own| own < bound),
                None => BOUNDS.len(),
            };
            let slot = &mut self.counts[bucket];
            *slot = slot.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own = own.saturating_add(more);
        }
    }

    /// How many requests were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// The latency in seconds that a share `quantile` (0 to 1) of the requests stayed below; none without requests.
    ///
    /// Inside a bucket requests are taken as evenly spread. The last bucket has no upper bound, so a quantile that falls
    /// into it is reported as the last bound: at least so much.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (index, &count) in self.counts.iter().enumerate() {
            let count = f64::from(count);
            if count > 0.0 && below + count >= rank {
                let Some(&upper) = BOUNDS.get(index) else { break };
                let lower = if index == 0 { 0.0 } else { BOUNDS[index - 1] };
                return Some(lower + (upper - lower) * (rank - below) / count);
            }
            below += count;
        }
        Some(BOUNDS[BOUNDS.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{BOUNDS, Histogram};

    fn histogram(counts: &[(usize, u64)]) -> Histogram {
        let mut all = vec![0; BOUNDS.len() + 1];
        for &(bucket, count) in counts {
            all[bucket] += count;
        }
        let mut histogram = Histogram::default();
        histogram.add(&BOUNDS, &all);
        histogram
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_percentile_lies_inside_its_bucket() {
        // 90 requests within 5 to 10 ms, 10 within 100 to 250 ms.
        let histogram = histogram(&[(4, 90), (9, 10)]);
        let close = |quantile, expected: f64| {
            let got = histogram.quantile(quantile).expect("has requests");
            assert!((got - expected).abs() < 1e-9, "{quantile}: {got} is not {expected}");
        };
        close(0.45, 0.0075);
        close(0.9, 0.01);
        close(0.95, 0.175);
        close(1.0, 0.25);
    }

    #[test]
    fn above_the_last_bound_the_last_bound_is_reported() {
        assert_eq!(histogram(&[(17, 3)]).quantile(0.5), Some(10.0));
    }

    #[test]
    fn foreign_bounds_never_flatter() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.03, 20.0], &[1, 1, 1]);
        assert!(histogram.quantile(0.1).expect("has requests") > 0.025);
        assert_eq!(histogram.quantile(1.0), Some(10.0));
    }

    #[test]
    fn counts_stop_rather_than_wrap() {
        let mut full = histogram(&[(0, u64::MAX)]);
        full.merge(&full.clone());
        assert_eq!(full.count(), u64::from(u32::MAX));
    }

    fn any_histogram() -> impl Strategy<Value = Histogram> {
        proptest::collection::vec(0_u64..1000, BOUNDS.len() + 1).prop_map(|counts| {
            let mut histogram = Histogram::default();
            histogram.add(&BOUNDS, &counts);
            histogram
        })
    }

    proptest! {
        #[test]
        fn percentiles_never_fall(histogram in any_histogram(), a in 0.0..=1.0, b in 0.0..=1.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(histogram.quantile(low) <= histogram.quantile(high));
        }

        #[test]
        fn merging_adds(a in any_histogram(), b in any_histogram()) {
            let mut both = a.clone();
            both.merge(&b);
            prop_assert_eq!(both.count(), a.count() + b.count());
        }

        #[test]
        fn any_bounds_are_taken_in(bounds in proptest::collection::vec(any::<f64>(), 0..32), count in 0_u64..100) {
            let mut histogram = Histogram::default();
            histogram.add(&bounds, &vec![count; bounds.len() + 1]);
            prop_assert_eq!(histogram.count(), count * (bounds.len() as u64 + 1));
        }
    }
}
