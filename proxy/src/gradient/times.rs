//! How long answers took, counted by all workers without a lock.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// The finest and the longest time that is told apart: 16 us and 134 s, as powers of two of a microsecond.
const OCTAVES: std::ops::Range<u32> = 4..27;

/// Buckets of an octave, as a power of two: a bucket is 6 % wide.
const FINENESS: u32 = 4;

const BUCKETS: usize = ((OCTAVES.end - OCTAVES.start) << FINENESS) as usize;

/// The times of one window. What is counted while it is cleared may be lost, which an estimate bears.
pub(super) struct Times {
    buckets: [AtomicU32; BUCKETS],
    count: AtomicU32,
}

impl Default for Times {
    fn default() -> Self {
        Times { buckets: std::array::from_fn(|_| AtomicU32::new(0)), count: AtomicU32::new(0) }
    }
}

impl Times {
    /// Counts a time, and says how many there are.
    pub(super) fn observe(&self, time: Duration) -> u32 {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let micros = micros.clamp(1 << OCTAVES.start, (1 << OCTAVES.end) - 1);
        let octave = micros.ilog2();
        let part = (micros >> (octave - FINENESS)) & ((1 << FINENESS) - 1);
        let index = (((octave - OCTAVES.start) << FINENESS) + part as u32) as usize;
        self.buckets[index].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// The middle of the bucket below whose end this share of the times is.
    pub(super) fn percentile(&self, share: f64) -> Option<Duration> {
        let counts: [u32; BUCKETS] = std::array::from_fn(|index| self.buckets[index].load(Relaxed));
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let index = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        let (octave, part) = (OCTAVES.start + (index as u32 >> FINENESS), index as u32 & ((1 << FINENESS) - 1));
        let width = (1_u64 << octave) >> FINENESS;
        Some(Duration::from_micros((1 << octave) + u64::from(part) * width + width / 2))
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        self.count.store(0, Relaxed);
    }
}
