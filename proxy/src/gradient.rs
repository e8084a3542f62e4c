//! As many requests at once as the service bears, found out by how long its answers take (xDS `adaptive_concurrency`,
//! gradient controller).
//!
//! Now and then a few requests at once show what the service takes when it is not busy; in between, the limit follows
//! the ratio of that to what answers take now, with room for a queue of its square root. Unlike Envoy's, such a
//! measurement is bounded in time, so that a slow service is not held at a few requests for long; a time ends with the
//! answer's head, so that a slow reader is not taken for a slow service; and errors say nothing of what it bears.
//!
//! In Observe nobody is held back, so that there is no time without load but by chance: in a measurement what was answered
//! while there were few counts, and where that does not happen, the fastest of the others.
//!
//! Places are exact over all workers. Times are counted without a lock; the limit is found anew by whichever request
//! first finds it due, and nobody waits for that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use outrigger_config::policy::adaptive::{AdaptiveConcurrency as Model, Baseline, Measured};
use parking_lot::Mutex;

mod times;

use times::Times;

/// The longest part of the interval between two measurements that one may take.
const MEASURING: u32 = 10;

/// Fewer times than these say nothing; they are kept for the next window.
const ENOUGH: u32 = 5;

/// Of times under load this share of the fastest is the nearest to those without.
const FASTEST: f64 = 0.1;

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
    /// Requests that went on without one, in Observe.
    beside: AtomicU32,
    limit: AtomicU32,
    /// When the limit is found anew, nanoseconds from the epoch.
    due: AtomicU64,
    /// Which window times are counted for.
    window: AtomicU32,
    /// How many times end the window before it is due.
    wanted: AtomicU32,
    times: Times,
    /// In Observe: those of a measurement that were under load.
    loaded: Option<Box<Times>>,
    refused: AtomicU64,
    state: Mutex<State>,
}

/// What only the one that finds the limit anew needs.
#[derive(Clone, Copy, Debug)]
struct State {
    /// What the service takes when it is not busy.
    baseline: Option<Duration>,
    /// Whether that is no more than an estimate, of times under load.
    rough: bool,
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
    /// There is none, and it goes on beside those that have one; in Observe.
    Beside(Place),
    /// There is none.
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
    /// Begins with a measurement, unless `previous` knows what it would find: another way to measure begins anew, whatever
    /// else is another policy goes on from there. Places that requests have stay taken. `now` is also the time its clock
    /// counts from.
    pub fn new(model: Model, previous: Option<&Gradient>, now: Instant) -> Self {
        let known = previous.and_then(|previous| previous.carried(&model, now));
        let (baseline, next) = match model.baseline {
            Baseline::Fixed(fixed) => (Some(fixed), Some(now)),
            Baseline::Measured(_) => (None, None),
        };
        let limit = f64::from(model.min_limit);
        let fresh = State { baseline, rough: false, sample: None, gradient: 1.0, limit, next, low: 0 };
        let state = known.unwrap_or(fresh);
        let gradient = Gradient {
            epoch: now,
            held: previous.map(|previous| Arc::clone(&previous.held)).unwrap_or_default(),
            beside: AtomicU32::new(0),
            limit: AtomicU32::new(rounded(state.limit)),
            due: AtomicU64::new(0),
            window: AtomicU32::new(0),
            wanted: AtomicU32::new(u32::MAX),
            times: Times::default(),
            loaded: (!model.mode.enforces()).then(Box::default),
            refused: AtomicU64::new(previous.map_or(0, |previous| previous.refused.load(Relaxed))),
            state: Mutex::new(state),
            model,
        };
        match (gradient.model.baseline, state.next) {
            (Baseline::Measured(measured), None) => gradient.measure(&measured, now),
            _ => gradient.begin(u32::MAX, gradient.model.update_interval, now),
        }
        gradient
    }

    /// What of this holds under another policy.
    fn carried(&self, model: &Model, now: Instant) -> Option<State> {
        if model.percentile != self.model.percentile {
            return None;
        }
        let mut state = *self.state.lock();
        state.limit = state.limit.clamp(f64::from(model.min_limit), f64::from(model.max_limit));
        match (self.model.baseline, model.baseline) {
            (Baseline::Fixed(_), Baseline::Fixed(fixed)) => state.baseline = Some(fixed),
            (Baseline::Measured(_), Baseline::Measured(measured)) => {
                state.baseline?;
                // What was only estimated is measured as soon as it can be.
                let soonest = now.checked_add(measured.interval).filter(|_| !(state.rough && model.mode.enforces()));
                state.next = state.next.zip(soonest).map(|(next, soonest)| next.min(soonest));
            }
            _ => return None,
        }
        Some(state)
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
        let admitted = self.held.fetch_update(Relaxed, Relaxed, more).is_ok();
        if !admitted {
            self.refused.fetch_add(1, Relaxed);
            if self.loaded.is_none() {
                return Entered::Full;
            }
            self.beside.fetch_add(1, Relaxed);
        }
        let (gradient, window) = (Arc::clone(self), self.window.load(Relaxed));
        let place = Place { gradient, began: now, window, beside: !admitted, loaded: self.is_loaded() };
        if admitted { Entered::Admitted(place) } else { Entered::Beside(place) }
    }

    /// Whether there are more requests now than a measurement bears; they can be in Observe alone.
    fn is_loaded(&self) -> bool {
        let Some(most) = self.loaded.as_ref().and(self.model.baseline.measured()) else { return false };
        self.held.load(Relaxed).saturating_add(self.beside.load(Relaxed)) > most.concurrency
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

    /// A measurement is over. Where it has too few answers to say anything, and none before it did, it goes on.
    fn measured(&self, state: &mut State, measured: &Measured, now: Instant, rng: &mut fastrand::Rng) {
        let enough = |times: &&Times| times.count() >= ENOUGH.min(measured.requests);
        let found = Some(&self.times).filter(enough).and_then(|times| times.percentile(self.model.percentile.ratio()));
        let estimate = || self.loaded.as_deref().filter(enough)?.percentile(FASTEST);
        (state.baseline, state.rough) = match (found, state.baseline) {
            (Some(found), _) => (Some(found), false),
            (None, Some(before)) if !state.rough => (Some(before), false),
            (None, before) => match estimate().or(before) {
                Some(rough) => (Some(rough), true),
                None => return self.due.store(self.nanos(now + longest(measured)), Relaxed),
            },
        };
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
        if let Some(loaded) = &self.loaded {
            loaded.clear();
        }
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

/// A place among the requests under way, or in Observe beside them; free again when it is dropped.
#[must_use = "dropping a place gives it back"]
pub struct Place {
    gradient: Arc<Gradient>,
    began: Instant,
    window: u32,
    beside: bool,
    /// Whether there were more than a measurement bears when it began.
    loaded: bool,
}

impl Place {
    /// The answer is here. Only what began in this window counts: in a measurement, what began before it was busy. Beyond
    /// the limit nothing counts but there.
    pub fn answered(&self, now: Instant, rng: &mut fastrand::Rng) {
        let gradient = &self.gradient;
        let (wanted, took) = (gradient.wanted.load(Relaxed), now.saturating_duration_since(self.began));
        let measures = wanted != u32::MAX;
        if measures && gradient.window.load(Relaxed) != self.window || !measures && self.beside {
            return;
        }
        if measures && let Some(loaded) = gradient.loaded.as_ref().filter(|_| self.loaded || gradient.is_loaded()) {
            loaded.observe(took);
            return;
        }
        if gradient.times.observe(took) >= wanted {
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
        let count = if self.beside { &self.gradient.beside } else { &*self.gradient.held };
        count.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
