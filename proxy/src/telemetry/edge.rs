//! The counters of one edge: requests from here, over one route, to one version of one service.
//!
//! [`Edge::record`] is on the path of every request: it finds the outcome's counters in a small fixed table and adds to
//! two of them. No lock, no allocation but for an outcome's first time. Outcomes beyond the table are counted together
//! as code 0, so that an upstream that invents statuses costs no memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::reason::Reason;
use crate::telemetry::withheld::Withheld;
use crate::telemetry::would::{RetryCause, Would};

/// The upper bounds of the histogram, seconds: OpenTelemetry's, and three below its finest, because a mesh's are hops.
pub const BOUNDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

const BOUND_NANOS: [u64; 17] = {
    let micros: [u64; 17] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
        2_500_000, 5_000_000, 7_500_000, 10_000_000,
    ];
    let mut nanos = [0; 17];
    let mut index = 0;
    while index < 17 {
        nanos[index] = micros[index] * 1_000;
        index += 1;
    }
    nanos
};

/// Outcomes of one edge that are told apart. A power of two.
const OUTCOMES: usize = 32;

/// Causes of retries of one edge that are told apart.
const CAUSES: usize = 16;

/// The counters of one edge.
#[derive(Debug, Default)]
pub struct Edge {
    outcomes: [OnceLock<Box<Counted>>; OUTCOMES],
    /// Outcomes for which the table has no place.
    rest: Counts,
    causes: [Retries; CAUSES],
    would: [AtomicU64; Would::ALL.len()],
    withheld: [AtomicU64; Withheld::ALL.len()],
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Outcome {
    /// The HTTP status; 0 where the caller got none.
    pub code: u16,
    /// The gRPC status of a gRPC request.
    pub grpc: Option<u8>,
    /// Why this proxy did not serve it, or could not finish.
    pub reason: Option<Reason>,
}

/// How many requests had one outcome, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests by duration: one bucket for each of [`BOUNDS`], and one beyond.
    pub buckets: [u64; 18],
    /// All their durations.
    pub nanos: u64,
}

#[derive(Debug)]
struct Counted {
    outcome: Outcome,
    counts: Counts,
}

/// Durations, counted by [`BOUNDS`].
#[derive(Debug, Default)]
pub struct Counts {
    buckets: [AtomicU64; 18],
    nanos: AtomicU64,
}

#[derive(Debug, Default)]
struct Retries {
    /// [`RetryCause::pack`]; 0 where the place is free.
    cause: AtomicU32,
    count: AtomicU64,
}

impl Edge {
    /// Counts a request that is over.
    pub fn record(&self, code: u16, grpc: Option<u8>, reason: Option<Reason>, would: Would, duration: Duration) {
        self.counts(Outcome { code, grpc, reason }).add(duration);
        for what in would.iter() {
            self.would[what.index()].fetch_add(1, Relaxed);
        }
    }

    /// Counts another attempt.
    pub fn retry(&self, cause: RetryCause) {
        let key = cause.pack();
        for place in &self.causes {
            let taken = place.cause.compare_exchange(0, key, Relaxed, Relaxed);
            if taken.is_ok() || taken == Err(key) {
                place.count.fetch_add(1, Relaxed);
                return;
            }
        }
        // More causes than places: the last one stands for the rest.
        self.causes[CAUSES - 1].count.fetch_add(1, Relaxed);
    }

    /// Counts an attempt that was not made.
    pub fn withhold(&self, why: Withheld) {
        self.withheld[why as usize].fetch_add(1, Relaxed);
    }

    /// Attempts that were not made, by cause.
    pub fn withheld(&self) -> impl Iterator<Item = (Withheld, u64)> + '_ {
        Withheld::ALL.into_iter().map(|why| (why, self.withheld[why as usize].load(Relaxed)))
    }

    /// What was counted, by outcome. Counters are read one by one: a request that ends meanwhile is in or out.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, Reading)> + '_ {
        let told = self.outcomes.iter().filter_map(OnceLock::get).map(|one| (one.outcome, one.counts.read()));
        let rest = Some((Outcome::default(), self.rest.read())).filter(|(_, reading)| reading.requests() > 0);
        told.chain(rest)
    }

    /// Further attempts, by cause.
    pub fn retries(&self) -> impl Iterator<Item = (RetryCause, u64)> + '_ {
        self.causes
            .iter()
            .filter_map(|place| Some((RetryCause::unpack(place.cause.load(Relaxed))?, place.count.load(Relaxed))))
    }

    /// How often policies in Observe would have done something.
    pub fn would(&self) -> impl Iterator<Item = (Would, u64)> + '_ {
        Would::ALL.into_iter().map(|what| (what, self.would[what.index()].load(Relaxed)))
    }

    fn counts(&self, outcome: Outcome) -> &Counts {
        let start = outcome.hash();
        for step in 0..OUTCOMES {
            let place = &self.outcomes[(start + step) % OUTCOMES];
            let one = place.get_or_init(|| Box::new(Counted { outcome, counts: Counts::default() }));
            if one.outcome == outcome {
                return &one.counts;
            }
        }
        &self.rest
    }
}

impl Outcome {
    fn hash(self) -> usize {
        let grpc = self.grpc.map_or(0, |grpc| u32::from(grpc) + 1);
        let reason = self.reason.map_or(0, |reason| reason as u32 + 1);
        let key = u32::from(self.code) ^ grpc << 16 ^ reason << 24;
        (key.wrapping_mul(0x9e37_79b1) >> 27) as usize
    }
}

impl Counts {
    /// Counts one.
    pub fn add(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUND_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// What was counted.
    pub fn read(&self) -> Reading {
        let mut buckets = [0; 18];
        for (value, counter) in buckets.iter_mut().zip(&self.buckets) {
            *value = counter.load(Relaxed);
        }
        Reading { buckets, nanos: self.nanos.load(Relaxed) }
    }
}

impl Reading {
    /// How many requests.
    pub fn requests(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All their durations, seconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos).as_secs_f64()
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Reading) -> Reading {
        let mut since = *self;
        for (value, before) in since.buckets.iter_mut().zip(before.buckets) {
            *value = value.saturating_sub(before);
        }
        since.nanos = self.nanos.saturating_sub(before.nanos);
        since
    }

    /// Adds another outcome's.
    pub fn add(&mut self, other: &Reading) {
        for (value, other) in self.buckets.iter_mut().zip(other.buckets) {
            *value += other;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{BOUND_NANOS, BOUNDS, Edge, OUTCOMES, Outcome};
    use crate::reason::Reason;
    use crate::telemetry::would::{RetryCause, Would};

    fn record(edge: &Edge, outcome: Outcome, micros: u64) {
        edge.record(outcome.code, outcome.grpc, outcome.reason, Would::default(), Duration::from_micros(micros));
    }

    #[test]
    fn the_bounds_are_the_same_in_seconds_and_nanoseconds() {
        for (seconds, nanos) in BOUNDS.into_iter().zip(BOUND_NANOS) {
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_nanos(nanos));
        }
    }

    #[test]
    fn a_duration_falls_into_the_bucket_that_ends_with_it() {
        for (micros, bucket) in [(0, 0), (500, 0), (501, 1), (1_000, 1), (10_000_000, 16), (10_000_001, 17)] {
            let edge = Edge::default();
            record(&edge, Outcome { code: 200, ..Outcome::default() }, micros);
            let (_, reading) = edge.outcomes().next().expect("an outcome");
            assert_eq!(reading.buckets.iter().position(|count| *count == 1), Some(bucket), "{micros} us");
        }
    }

    #[test]
    fn outcomes_beyond_the_table_are_counted_together() {
        let edge = Edge::default();
        for code in 100..200 {
            record(&edge, Outcome { code, ..Outcome::default() }, 1);
        }
        let all: Vec<_> = edge.outcomes().collect();
        assert_eq!(all.len(), OUTCOMES + 1);
        assert_eq!(all.last().map(|(outcome, reading)| (outcome.code, reading.requests())), Some((0, 68)));
    }

    #[test]
    fn retries_and_rehearsals_are_counted_by_what_they_are() {
        let edge = Edge::default();
        for cause in [RetryCause::Status(503), RetryCause::Status(503), RetryCause::Reason(Reason::TryTimeout)] {
            edge.retry(cause);
        }
        let mut would = Would::RATE_LIMIT;
        would |= Would::EJECT;
        edge.record(200, None, None, would, Duration::ZERO);
        let retries: Vec<_> = edge.retries().collect();
        assert_eq!(retries, [(RetryCause::Status(503), 2), (RetryCause::Reason(Reason::TryTimeout), 1)]);
        let would: Vec<_> = edge.would().map(|(_, count)| count).collect();
        assert_eq!(would, [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn threads_lose_no_request() {
        let edge = Edge::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for code in 0..10_000_u16 {
                        record(&edge, Outcome { code: 200 + code % 40, ..Outcome::default() }, 1);
                    }
                });
            }
        });
        assert_eq!(edge.outcomes().map(|(_, reading)| reading.requests()).sum::<u64>(), 40_000);
    }

    proptest! {
        #[test]
        fn what_is_recorded_is_read(
            requests in prop::collection::vec((0_u16..6, 0_u8..3, 0_usize..3, 0_u64..20_000_000), 0..200),
        ) {
            let edge = Edge::default();
            let mut expected: BTreeMap<Outcome, (u64, u64)> = BTreeMap::new();
            for (code, grpc, reason, micros) in requests {
                let reason = Some(reason).filter(|reason| *reason > 0 && code % 2 == 0).map(|index| Reason::ALL[index]);
                let grpc = Some(grpc).filter(|grpc| *grpc > 1);
                let outcome = Outcome { code: 200 + code, grpc, reason };
                record(&edge, outcome, micros);
                let entry = expected.entry(outcome).or_default();
                *entry = (entry.0 + 1, entry.1 + micros * 1_000);
            }
            let read: BTreeMap<_, _> =
                edge.outcomes().map(|(outcome, reading)| (outcome, (reading.requests(), reading.nanos))).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
