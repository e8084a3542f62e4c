//! How long the answers of a route take: a histogram of what the last ten to twenty seconds brought, from which any
//! percentile can be read.
//!
//! Nobody waits: a sample is one addition, and whoever first counts into a new slot clears the older of two halves.
//! What is counted at that very moment may be lost, which an estimate bears. A bucket is an eighth of a power of two
//! wide, so that a percentile is at most 12.5 % too long, and never too short.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use outrigger_config::value::Percent;

/// How long a half is counted into.
const SLOT: Duration = Duration::from_secs(10);

/// The finest and the longest that is told apart: 64 us and 134 s, as powers of two of a microsecond.
const OCTAVES: std::ops::Range<u32> = 6..27;

/// Buckets of an octave, as a power of two.
const FINENESS: u32 = 3;

const BUCKETS: usize = ((OCTAVES.end - OCTAVES.start) << FINENESS) as usize;

/// Samples below which nothing is known.
const ENOUGH: u64 = 20;

/// How long the answers of a route take.
#[derive(Debug)]
pub struct Pace {
    epoch: Instant,
    /// The slot that is counted into, plus one; 0 before the first.
    slot: AtomicU64,
    halves: [[AtomicU32; BUCKETS]; 2],
}

impl Pace {
    /// Nothing is known. `epoch` is the time its slots count from.
    pub fn new(epoch: Instant) -> Self {
        let half = || std::array::from_fn(|_| AtomicU32::new(0));
        Pace { epoch, slot: AtomicU64::new(0), halves: [half(), half()] }
    }

    /// Counts an answer that took so long to its head.
    pub fn observe(&self, now: Instant, latency: Duration) {
        let slot = 1 + now.saturating_duration_since(self.epoch).as_secs() / SLOT.as_secs();
        let half = &self.halves[slot as usize % 2];
        let last = self.slot.load(Relaxed);
        // A worker whose clock reading is older counts into the present. Whoever loses the race finds the half cleared.
        if slot > last && self.slot.compare_exchange(last, slot, Relaxed, Relaxed).is_ok() {
            half.iter().for_each(|bucket| bucket.store(0, Relaxed));
        }
        half[index(latency)].fetch_add(1, Relaxed);
    }

    /// What `share` of the answers do not exceed; none while there were too few of them.
    pub fn percentile(&self, share: Percent) -> Option<Duration> {
        let count = |index: usize| self.halves.iter().map(|half| u64::from(half[index].load(Relaxed))).sum::<u64>();
        let total: u64 = (0..BUCKETS).map(count).sum();
        if total < ENOUGH {
            return None;
        }
        let wanted = (u128::from(total) * u128::from(share.millionths())).div_ceil(1_000_000).max(1);
        let mut seen = 0;
        let found = (0..BUCKETS).find(|index| {
            seen += u128::from(count(*index));
            seen >= wanted
        });
        Some(upper(found.unwrap_or(BUCKETS - 1)))
    }
}

/// The bucket of a latency.
fn index(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.clamp(1 << OCTAVES.start, (1 << OCTAVES.end) - 1);
    let octave = micros.ilog2();
    let part = (micros >> (octave - FINENESS)) & ((1 << FINENESS) - 1);
    (((octave - OCTAVES.start) << FINENESS) + part as u32) as usize
}

/// The bound that no latency of a bucket exceeds.
fn upper(index: usize) -> Duration {
    let (octave, part) = ((index >> FINENESS) as u32 + OCTAVES.start, (index as u64) & ((1 << FINENESS) - 1));
    Duration::from_micros((((1 << FINENESS) + part + 1) << (octave - FINENESS)) - 1)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::value::Percent;
    use proptest::prelude::{prop, prop_assert, proptest};

    use super::{ENOUGH, Pace, index, upper};

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for bucket in 0..super::BUCKETS - 1 {
            let bound = upper(bucket);
            assert_eq!(index(bound), bucket);
            assert_eq!(index(bound + Duration::from_micros(1)), bucket + 1);
        }
        assert_eq!(index(Duration::MAX), super::BUCKETS - 1);
    }

    #[test]
    fn little_is_as_good_as_nothing() {
        let now = Instant::now();
        let pace = Pace::new(now);
        for _ in 1..ENOUGH {
            pace.observe(now, Duration::from_millis(1));
            assert_eq!(pace.percentile(Percent::HALF), None);
        }
        pace.observe(now, Duration::from_millis(1));
        assert!(pace.percentile(Percent::HALF).is_some());
    }

    #[test]
    fn what_was_slow_is_forgotten() {
        let start = Instant::now();
        let pace = Pace::new(start);
        for second in 0..40_u64 {
            let latency = Duration::from_millis(if second < 10 { 800 } else { 10 });
            (0..10).for_each(|_| pace.observe(start + Duration::from_secs(second), latency));
        }
        assert!(pace.percentile(Percent::HUNDRED).expect("known") < Duration::from_millis(12));
    }

    proptest! {
        #[test]
        fn a_percentile_is_never_too_short_and_an_eighth_too_long_at_most(
            micros in prop::collection::vec(64_u64..60_000_000, 20..300),
            share in 1_u32..=1_000_000,
        ) {
            let now = Instant::now();
            let pace = Pace::new(now);
            micros.iter().for_each(|micros| pace.observe(now, Duration::from_micros(*micros)));
            let mut sorted = micros;
            sorted.sort_unstable();
            let rank = (sorted.len() as u64 * u64::from(share)).div_ceil(1_000_000).max(1) as usize;
            let exact = sorted[rank - 1];
            let found = pace.percentile(Percent::from_millionths(share).expect("a share")).expect("known");
            let found = u64::try_from(found.as_micros()).expect("small");
            prop_assert!(found >= exact && found <= exact + exact / 8, "{exact} {found}");
        }
    }
}
