//! How busy an endpoint is: requests under way, and the peak-sensitive moving average of its latency.
//!
//! The average is Finagle's and Linkerd's peak EWMA. A slower answer than expected counts at once and in full; a
//! faster one, and silence, let the expectation sink over the decay time. Failures should not be observed: an endpoint
//! that refuses every connection answers fast.
//!
//! Everything is lock-free. Average and time stamp share one word, so no reader ever sees one without the other.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time stamp's unit. 32 bits of it span 119 hours; only half of them are told apart from a stamp of the future,
/// so an endpoint that was silent for more than 59 hours may count as one heard a moment ago, until its next answer.
const TICK: Duration = Duration::from_micros(100);

/// No answer yet: the bits of a NaN, which no observation makes.
const SILENT: u64 = u64::MAX;

/// How latency is averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// What is expected of an endpoint that has not answered yet.
    pub default: Duration,
    /// How fast an old latency is forgotten.
    pub decay: Duration,
}

impl Default for Latency {
    /// 30 ms and 10 s.
    fn default() -> Self {
        Latency { default: Duration::from_millis(30), decay: Duration::from_secs(10) }
    }
}

impl Latency {
    fn pack(self) -> u64 {
        // A decay of nothing would divide by zero.
        pack(self.default.as_secs_f32(), self.decay.as_secs_f32().max(0.001).to_bits())
    }
}

/// How busy an endpoint is.
pub struct Load {
    epoch: Instant,
    active: AtomicU32,
    /// The average in seconds and its time stamp in ticks.
    average: AtomicU64,
    /// [`Latency`] in seconds.
    latency: AtomicU64,
}

impl Load {
    /// Idle, and not heard of. `epoch` is the time the stamps count from.
    pub fn new(latency: Latency, epoch: Instant) -> Self {
        Load {
            epoch,
            active: AtomicU32::new(0),
            average: AtomicU64::new(SILENT),
            latency: AtomicU64::new(latency.pack()),
        }
    }

    /// A request begins; [`Load::end`] must follow.
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// A request begins, unless as many as `most` are under way; if it does, [`Load::leave`] must follow.
    pub fn try_begin(&self, most: u32) -> bool {
        if most == u32::MAX {
            self.begin();
            return true;
        }
        let more = |active: u32| (active < most).then_some(active + 1);
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// A request ended. `latency` is the time to its response head; none for a failure.
    pub fn end(&self, now: Instant, latency: Option<Duration>) {
        self.leave();
        if let Some(latency) = latency {
            self.observe(now, latency);
        }
    }

    /// A request is no longer under way.
    pub fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests under way.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// The latency expected now; none while the endpoint has never answered.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let word = self.average.load(Ordering::Relaxed);
        if word == SILENT {
            return None;
        }
        let (_, decay) = unpack(self.latency.load(Ordering::Relaxed));
        let seconds = expected(word, self.tick(now), f32::from_bits(decay));
        Some(Duration::try_from_secs_f32(seconds).unwrap_or(Duration::MAX))
    }

    /// The expected wait in seconds: the latency expected now, times the requests under way and the one to come.
    /// `share` is how much a request under way counts: below 1 for an endpoint heavier than its neighbours.
    pub fn score(&self, now: Instant, share: f32) -> f32 {
        let word = self.average.load(Ordering::Relaxed);
        let (default, decay) = unpack(self.latency.load(Ordering::Relaxed));
        let latency = match word {
            // Nobody's measured latency would lose to a guess for long: a newcomer is tried once, at once.
            SILENT if self.active() == 0 => return 0.0,
            SILENT => default,
            word => expected(word, self.tick(now), f32::from_bits(decay)),
        };
        latency * (1.0 + self.active() as f32 * share)
    }

    /// Averages another way from now on.
    pub fn tune(&self, latency: Latency) {
        self.latency.store(latency.pack(), Ordering::Relaxed);
    }

    /// Takes the time to a response head into the average.
    pub fn observe(&self, now: Instant, latency: Duration) {
        let sample = latency.as_secs_f32();
        let tick = self.tick(now);
        let (_, decay) = unpack(self.latency.load(Ordering::Relaxed));
        let decay = f32::from_bits(decay);
        let mut word = self.average.load(Ordering::Relaxed);
        loop {
            let next = next(word, sample, tick, decay);
            if next == word {
                return;
            }
            match self.average.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    fn tick(&self, now: Instant) -> u32 {
        // The cut to 32 bits is the wrap that `age` reckons with.
        (now.saturating_duration_since(self.epoch).as_micros() as u64 / TICK.as_micros() as u64) as u32
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("active", &self.active()).finish_non_exhaustive()
    }
}

/// The average after `sample`. Within one tick only peaks count; the next tick's sample weighs for all of it.
fn next(word: u64, sample: f32, tick: u32, decay: f32) -> u64 {
    let (average, stamp) = unpack(word);
    if word == SILENT {
        return pack(sample, tick);
    }
    let age = age(tick, stamp);
    let keep = kept(age, decay);
    if sample >= average * keep {
        return pack(sample, if age == 0 { stamp } else { tick });
    }
    if age == 0 {
        return word;
    }
    pack(average * keep + sample * (1.0 - keep), tick)
}

fn expected(word: u64, tick: u32, decay: f32) -> f32 {
    let (average, stamp) = unpack(word);
    average * kept(age(tick, stamp), decay)
}

/// Ticks since `stamp`; none if another worker's clock reading was later than ours.
fn age(tick: u32, stamp: u32) -> u32 {
    let age = tick.wrapping_sub(stamp);
    if age > u32::MAX / 2 { 0 } else { age }
}

/// exp(-age / decay). Under load ages are short, where three terms of the series are exact to f32 and ten times
/// cheaper than the function.
fn kept(age: u32, decay: f32) -> f32 {
    let x = age as f32 * TICK.as_secs_f32() / decay;
    if x < 0.01 { 1.0 - x + x * x * 0.5 } else { (-x).exp() }
}

fn pack(value: f32, low: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(low)
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use super::{Latency, Load};

    const MS: Duration = Duration::from_millis(1);

    fn observe(load: &Load, now: Instant, latency: Duration) {
        load.begin();
        load.end(now, Some(latency));
    }

    #[test]
    fn a_newcomer_is_tried_once_and_then_expected_to_take_the_default() {
        let now = Instant::now();
        let load = Load::new(Latency::default(), now);
        assert_eq!(load.latency(now), None);
        assert_eq!(load.score(now, 1.0), 0.0);
        load.begin();
        assert!((load.score(now + 1000 * MS, 1.0) - 0.060).abs() < 1e-6);
    }

    #[test]
    fn a_peak_counts_at_once_and_sinks_over_the_decay_time() {
        let start = Instant::now();
        let load = Load::new(Latency::default(), start);
        observe(&load, start + MS, 10 * MS);
        observe(&load, start + MS, 500 * MS);
        assert!((load.score(start + MS, 1.0) - 0.5).abs() < 1e-6);
        let later = load.score(start + 10_001 * MS, 1.0);
        assert!((later - 0.5 * (-1.0_f32).exp()).abs() < 1e-4, "{later}");
        observe(&load, start + 5001 * MS, 10 * MS);
        let keep = (-0.5_f32).exp();
        let after = load.score(start + 5001 * MS, 1.0);
        assert!((after - (0.5 * keep + 0.010 * (1.0 - keep))).abs() < 1e-4, "{after}");
    }

    #[test]
    fn requests_under_way_multiply_the_wait_by_their_share() {
        let now = Instant::now();
        let load = Load::new(Latency { default: 10 * MS, ..Latency::default() }, now);
        load.begin();
        load.begin();
        assert_eq!(load.active(), 2);
        assert!((load.score(now, 1.0) - 0.030).abs() < 1e-6);
        assert!((load.score(now, 0.5) - 0.020).abs() < 1e-6);
        load.end(now, None);
        assert_eq!((load.active(), load.latency(now)), (1, None));
    }

    #[test]
    fn no_request_is_lost_between_threads() {
        let now = Instant::now();
        let load = Load::new(Latency::default(), now);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for step in 0..10_000 {
                        load.begin();
                        load.end(now + MS * step, Some(MS));
                    }
                });
            }
        });
        assert_eq!(load.active(), 0);
        assert_eq!(load.latency(now).map(|latency| latency.as_micros()), Some(1000));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_average_stays_within_what_was_observed(
            steps in prop::collection::vec((0_u64..5_000_000, 1_u64..5_000_000), 1..100)
        ) {
            let (epoch, mut now) = (Instant::now(), Duration::ZERO);
            let load = Load::new(Latency::default(), epoch);
            let (mut low, mut high) = (u64::MAX, 0);
            for (wait, latency) in steps {
                now += Duration::from_micros(wait);
                low = low.min(latency);
                high = high.max(latency);
                observe(&load, epoch + now, Duration::from_micros(latency));
                let seen = load.score(epoch + now, 1.0) * 1e6;
                prop_assert!(seen >= low as f32 * 0.999 && seen <= high as f32 * 1.001, "{low} {seen} {high}");
                // The latest sample never lies above the average: that is what makes it a peak's.
                prop_assert!(seen >= latency as f32 * 0.999);
            }
        }

        #[test]
        fn silence_only_ever_lowers_the_score(latency in 1_u64..10_000_000, waits in prop::collection::vec(0_u64..10_000_000, 1..50)) {
            let (epoch, mut now) = (Instant::now(), Duration::ZERO);
            let load = Load::new(Latency::default(), epoch);
            observe(&load, epoch, Duration::from_micros(latency));
            let mut last = load.score(epoch, 1.0);
            for wait in waits {
                now += Duration::from_micros(wait);
                let score = load.score(epoch + now, 1.0);
                prop_assert!(score <= last && score >= 0.0, "{last} {score}");
                last = score;
            }
        }
    }
}
