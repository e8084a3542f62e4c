//! As many requests at once as the service bears, found out by how long its answers take (xDS `adaptive_concurrency`,
//! gradient controller).
//!
//! Now and then a few requests at once show what the service takes when it is not busy; in between, the limit follows
//! the ratio of that to what answers take now, with room for a queue of its square root. Unlike Envoy's, such a
//! measurement is bounded in time, so that a slow service is not held at a few requests for long; a time ends with the
//! answer's head, so that a slow reader is not taken for a slow service; and errors say nothing of what it bears.
//!
//! Places are exact over all workers. Times are counted without a lock; the limit is found anew by whichever request
//! first finds it due, and nobody waits for that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use outrigger_config::policy::adaptive::{AdaptiveConcurrency as Model, Baseline, Measured};
use parking_lot::Mutex;

/// The longest part of the interval between two measurements that one may take.
const MEASURING: u32 = 10;

/// Fewer times than these say nothing; they are kept for the next window.
const ENOUGH: u32 = 5;

/// So many windows in a row with the limit as low as it goes, and the baseline is measured anew: it may be another by
/// now.
const LOW: u32 = 5;

/// How much the limit may change in one window, before the room for a queue.
const GRADIENT: std::ops::RangeInclusive<f64> = 0.5..=2.0;

/// The limit of one listener.
pub struct Gradient {
    model: Model,
    epoch: Instant,
    /// Requests that have a place; of the listener, whatever becomes of its policy.
    held: Arc<AtomicU32>,
    limit: AtomicU32,
    /// When the limit is found anew, nanoseconds from the epoch.
    due: AtomicU64,
    /// Which window times are counted for.
    window: AtomicU32,
    /// How many times end the window before it is due.
    wanted: AtomicU32,
    times: Times,
    refused: AtomicU64,
    state: Mutex<State>,
}

/// The limits of a listener: the one that is kept, or is rehearsed alone, and one that is rehearsed beside one that acts.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The first of the two.
    pub own: Arc<Gradient>,
    /// The other one.
    pub beside: Option<Arc<Gradient>>,
}

/// What only the one that finds the limit anew needs.
#[derive(Clone, Copy, Debug)]
struct State {
    /// What the service takes when it is not busy.
    baseline: Option<Duration>,
    /// What it took in the last window.
    sample: Option<Duration>,
    gradient: f64,
    /// The limit outside of measurements.
    limit: f64,
    /// When the baseline is measured next; absent while it is.
    next: Option<Instant>,
    /// Windows in a row with the limit as low as it goes.
    low: u32,
}

/// The answer to whoever wants a place.
#[derive(Debug)]
pub enum Entered {
    /// It has one.
    Admitted(Place),
    /// There is none; in Observe it goes on without.
    Full,
}

/// What is known, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// How many requests may be under way.
    pub limit: u32,
    /// How many are.
    pub held: u32,
    /// What the service takes when it is not busy.
    pub baseline: Option<Duration>,
    /// What it took in the last window.
    pub sample: Option<Duration>,
    /// The ratio of the two, as it was used last.
    pub gradient: f64,
    /// Requests that were refused, or in Observe would have been.
    pub refused: u64,
}

impl Gradient {
    /// Begins with a measurement. `epoch` is the time its clock counts from. The places that requests have by `previous`
    /// stay taken.
    pub fn new(model: Model, previous: Option<&Gradient>, epoch: Instant) -> Self {
        let (baseline, next) = match model.baseline {
            Baseline::Fixed(fixed) => (Some(fixed), Some(epoch)),
            Baseline::Measured(_) => (None, None),
        };
        let limit = f64::from(model.min_limit);
        let state = State { baseline, sample: None, gradient: 1.0, limit, next, low: 0 };
        let gradient = Gradient {
            epoch,
            held: previous.map(|previous| Arc::clone(&previous.held)).unwrap_or_default(),
            limit: AtomicU32::new(model.min_limit),
            due: AtomicU64::new(0),
            window: AtomicU32::new(0),
            wanted: AtomicU32::new(u32::MAX),
            times: Times::default(),
            refused: AtomicU64::new(previous.map_or(0, |previous| previous.refused.load(Relaxed))),
            state: Mutex::new(state),
            model,
        };
        match gradient.model.baseline {
            Baseline::Fixed(_) => gradient.begin(u32::MAX, gradient.model.update_interval, epoch),
            Baseline::Measured(measured) => gradient.measure(&measured, epoch),
        }
        gradient
    }

    /// The policy.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes a place, if there is one.
    pub fn enter(self: &Arc<Self>, now: Instant, rng: &mut fastrand::Rng) -> Entered {
        if self.nanos(now) >= self.due.load(Relaxed) {
            self.turn(now, rng);
        }
        // Relaxed: a place guards no other memory, and a request at the moment of change may meet either limit.
        let limit = self.limit.load(Relaxed);
        let more = |held: u32| (held < limit).then_some(held + 1);
        if self.held.fetch_update(Relaxed, Relaxed, more).is_err() {
            self.refused.fetch_add(1, Relaxed);
            return Entered::Full;
        }
        Entered::Admitted(Place { gradient: Arc::clone(self), began: now, window: self.window.load(Relaxed) })
    }

    /// How many requests may be under way now.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        let State { baseline, sample, gradient, .. } = *self.state.lock();
        let (limit, held, refused) = (self.limit.load(Relaxed), self.held.load(Relaxed), self.refused.load(Relaxed));
        Known { limit, held, baseline, sample, gradient, refused }
    }

    /// Ends the window, if it has come to an end and nobody else is at it.
    fn turn(&self, now: Instant, rng: &mut fastrand::Rng) {
        let Some(mut state) = self.state.try_lock() else { return };
        let full = self.times.count() >= self.wanted.load(Relaxed);
        if !full && self.nanos(now) < self.due.load(Relaxed) {
            return;
        }
        match (self.model.baseline, state.next) {
            (Baseline::Measured(measured), None) => self.measured(&mut state, &measured, now, rng),
            (Baseline::Measured(measured), Some(next)) if now >= next || state.low >= LOW => {
                (state.next, state.low) = (None, 0);
                self.measure(&measured, now);
            }
            _ => self.follow(&mut state, now),
        }
    }

    /// A measurement is over. Without any answer in it, it goes on.
    fn measured(&self, state: &mut State, measured: &Measured, now: Instant, rng: &mut fastrand::Rng) {
        let found = self.times.percentile(self.model.percentile.ratio());
        let Some(baseline) = found.or(state.baseline) else {
            self.due.store(self.nanos(now + longest(measured)), Relaxed);
            return;
        };
        state.baseline = Some(baseline);
        let later = measured.interval.mul_f64(measured.jitter.ratio() * rng.f64());
        state.next = now.checked_add(measured.interval.saturating_add(later));
        self.limit.store(rounded(state.limit), Relaxed);
        self.begin(u32::MAX, self.model.update_interval, now);
    }

    fn measure(&self, measured: &Measured, now: Instant) {
        self.limit.fetch_min(measured.concurrency, Relaxed);
        self.begin(measured.requests, longest(measured), now);
    }

    /// The limit follows what answers took.
    fn follow(&self, state: &mut State, now: Instant) {
        let enough = self.times.count() >= ENOUGH;
        let sample = self.times.percentile(self.model.percentile.ratio()).filter(|_| enough);
        let (Some(sample), Some(baseline)) = (sample, state.baseline) else {
            self.due.store(self.nanos(now + self.model.update_interval), Relaxed);
            return;
        };
        let wanted = baseline.as_secs_f64() * (1.0 + self.model.buffer.ratio());
        let gradient = (wanted / sample.as_secs_f64()).clamp(*GRADIENT.start(), *GRADIENT.end());
        let base = state.limit * gradient;
        let (least, most) = (f64::from(self.model.min_limit), f64::from(self.model.max_limit));
        state.limit = (base + base.sqrt()).clamp(least, most);
        (state.sample, state.gradient) = (Some(sample), gradient);
        state.low = if state.limit <= least { state.low.saturating_add(1) } else { 0 };
        self.limit.store(rounded(state.limit), Relaxed);
        self.begin(u32::MAX, self.model.update_interval, now);
    }

    /// A new window, for which no earlier request's time counts.
    fn begin(&self, wanted: u32, length: Duration, now: Instant) {
        self.window.fetch_add(1, Relaxed);
        self.times.clear();
        self.wanted.store(wanted, Relaxed);
        self.due.store(self.nanos(now + length), Relaxed);
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gradient").field("known", &self.known()).finish_non_exhaustive()
    }
}

/// How long a measurement may take.
fn longest(measured: &Measured) -> Duration {
    (measured.interval / MEASURING).max(Duration::from_millis(1))
}

/// In range: a limit is between 1 and `u32::MAX`.
fn rounded(limit: f64) -> u32 {
    limit.floor() as u32
}

/// A place among the requests under way, free again when it is dropped.
#[must_use = "dropping a place gives it back"]
pub struct Place {
    gradient: Arc<Gradient>,
    began: Instant,
    window: u32,
}

impl Place {
    /// The answer is here. Only what began in this window counts: in a measurement, what began before it was busy.
    pub fn answered(&self, now: Instant, rng: &mut fastrand::Rng) {
        let gradient = &self.gradient;
        if gradient.window.load(Relaxed) != self.window && gradient.wanted.load(Relaxed) != u32::MAX {
            return;
        }
        if gradient.times.observe(now.saturating_duration_since(self.began)) >= gradient.wanted.load(Relaxed) {
            gradient.turn(now, rng);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.window)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gradient.held.fetch_sub(1, Relaxed);
    }
}

/// The finest and the longest time that is told apart: 16 us and 134 s, as powers of two of a microsecond.
const OCTAVES: std::ops::Range<u32> = 4..27;

/// Buckets of an octave, as a power of two: a bucket is 6 % wide.
const FINENESS: u32 = 4;

const BUCKETS: usize = ((OCTAVES.end - OCTAVES.start) << FINENESS) as usize;

/// The times of one window. What is counted while it is cleared may be lost, which an estimate bears.
struct Times {
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
    fn observe(&self, time: Duration) -> u32 {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let micros = micros.clamp(1 << OCTAVES.start, (1 << OCTAVES.end) - 1);
        let octave = micros.ilog2();
        let part = (micros >> (octave - FINENESS)) & ((1 << FINENESS) - 1);
        let index = (((octave - OCTAVES.start) << FINENESS) + part as u32) as usize;
        self.buckets[index].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed).saturating_add(1)
    }

    fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// The middle of the bucket below whose end this share of the times is.
    fn percentile(&self, share: f64) -> Option<Duration> {
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

    fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        self.count.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests;
