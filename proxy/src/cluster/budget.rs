//! How many retries a destination bears: a share of its requests, and always a few.
//!
//! A retry is allowed while the retries of the sliding window are fewer than `percent` of its requests, or than
//! `min_per_second` for each second, whichever is more. Where both come to fewer than `min_concurrent` in the whole
//! window, so many at once are allowed too; where they come to more they are not, because retries that fail at once
//! would never be many at once, and so without a bound. The bound is exact whatever the number of threads: retries are
//! taken with one compare-and-swap on a running total, and the window is the difference between that total and what it
//! was when the window began.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::policy::Budget as Model;

use crate::limits::Permit;

/// How many parts the window moves in.
pub(super) const SLOTS: u64 = 10;

/// The retry budget of a destination.
#[derive(Debug)]
pub struct Budget {
    model: Model,
    epoch: Instant,
    /// How long a slot is, in nanoseconds.
    slot: u64,
    requests: Window,
    retries: Window,
    /// Retries under way.
    active: AtomicU32,
    refused: AtomicU64,
}

impl Budget {
    /// A budget with an empty window. `epoch` is the time its slots count from.
    pub fn new(model: Model, epoch: Instant) -> Self {
        Budget {
            epoch,
            // Slots of 580 years fit.
            slot: (model.interval / SLOTS as u32).max(Duration::from_millis(1)).as_nanos() as u64,
            model,
            requests: Window::default(),
            retries: Window::default(),
            active: AtomicU32::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The numbers it was made of.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A request begins; its retries are not counted here.
    pub fn request(&self, now: Instant) {
        self.requests.enter(self.slot(now));
        self.requests.add();
    }

    /// Takes a retry out of the budget, from its waiting on until the permit is dropped.
    pub fn try_withdraw(self: &Arc<Self>, now: Instant) -> Option<RetryPermit> {
        let slot = self.slot(now);
        let allowed = self.share(slot).max(self.floor());
        self.retries.enter(slot);
        let taken = self.retries.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, |total| {
            (self.retries.since(total, slot) < allowed).then(|| total.wrapping_add(1))
        });
        if taken.is_ok() {
            self.active.fetch_add(1, Ordering::Relaxed);
            return Some(RetryPermit { budget: Arc::clone(self), limit: None, beyond: false });
        }
        let few = allowed < u64::from(self.model.min_concurrent);
        let more = |active: u32| (few && active < self.model.min_concurrent).then_some(active + 1);
        if self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            self.retries.total.fetch_add(1, Ordering::AcqRel);
            return Some(RetryPermit { budget: Arc::clone(self), limit: None, beyond: false });
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Retries under way.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// How often a retry was refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Retries the window still allows.
    pub fn balance(&self, now: Instant) -> u64 {
        let slot = self.slot(now);
        let total = self.retries.total.load(Ordering::Acquire);
        self.share(slot).max(self.floor()).saturating_sub(self.retries.since(total, slot))
    }

    fn share(&self, slot: u32) -> u64 {
        let requests = self.requests.counted(slot);
        // At most what was counted, since a share is.
        (u128::from(requests) * u128::from(self.model.percent.millionths()) / 1_000_000) as u64
    }

    fn floor(&self) -> u64 {
        let floor = u128::from(self.model.min_per_second) * self.model.interval.as_millis() / 1000;
        u64::try_from(floor).unwrap_or(u64::MAX)
    }

    fn slot(&self, now: Instant) -> u32 {
        // Nanoseconds of 580 years and slots of 100 ms over 13 years fit; the wrap after that is harmless.
        (now.saturating_duration_since(self.epoch).as_nanos() as u64 / self.slot) as u32
    }
}

/// A running total, and what it was when each of the latest slots began.
#[derive(Debug, Default)]
pub(super) struct Window {
    total: AtomicU32,
    /// Slot number plus one above, the total at its beginning below; 0 before the first.
    marks: [AtomicU64; SLOTS as usize],
}

impl Window {
    /// Makes sure that the beginning of `slot` is marked. Must come before anything is counted in it, so that slots
    /// without a mark are known to be empty.
    pub(super) fn enter(&self, slot: u32) {
        let mark = &self.marks[slot as usize % SLOTS as usize];
        let word = mark.load(Ordering::Acquire);
        let number = u64::from(slot) + 1;
        // A later slot stays: a worker whose clock reading is older counts into the present.
        if word >> 32 < number {
            let begins = number << 32 | u64::from(self.total.load(Ordering::Acquire));
            // Whoever lost the race finds the mark made.
            let _ = mark.compare_exchange(word, begins, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Counts one; its slot is entered.
    pub(super) fn add(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted in the window that ends with `slot`.
    pub(super) fn counted(&self, slot: u32) -> u64 {
        self.since(self.total.load(Ordering::Relaxed), slot)
    }

    /// What was counted between the beginning of the window that ends with `slot` and `total`.
    fn since(&self, total: u32, slot: u32) -> u64 {
        let number = u64::from(slot) + 1;
        let first = self
            .marks
            .iter()
            .map(|mark| mark.load(Ordering::Acquire))
            .filter(|word| *word != 0 && (word >> 32) + SLOTS > number)
            .min();
        // The marked total is in the lower half.
        first.map_or(0, |word| u64::from(total.wrapping_sub(word as u32)))
    }
}

/// A retry under way, given back to the budget's concurrency when dropped.
#[must_use = "dropping a retry permit ends the retry"]
pub struct RetryPermit {
    budget: Arc<Budget>,
    /// What it uses of the limit on retries, where there is one.
    limit: Option<Permit>,
    beyond: bool,
}

impl RetryPermit {
    /// The same, holding its part of the limit on retries too.
    pub(super) fn within(mut self, limit: Permit, beyond: bool) -> Self {
        (self.limit, self.beyond) = (Some(limit), beyond);
        self
    }

    /// Whether it is beyond a limit that is only observed.
    pub fn is_beyond(&self) -> bool {
        self.beyond
    }
}

impl fmt::Debug for RetryPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetryPermit")
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.budget.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use outrigger_config::policy::Budget as Model;
    use outrigger_config::value::Percent;
    use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

    use super::Budget;

    fn model(percent: f64, min_concurrent: u32, min_per_second: u32) -> Model {
        let percent = Percent::try_new(percent).expect("a percentage");
        Model { percent, min_concurrent, min_per_second, ..Model::default() }
    }

    fn budget(model: Model, epoch: Instant) -> Arc<Budget> {
        Arc::new(Budget::new(model, epoch))
    }

    fn withdraw(budget: &Arc<Budget>, now: Instant, most: usize) -> usize {
        (0..most).take_while(|_| budget.try_withdraw(now).is_some()).count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retried() {
        let now = Instant::now();
        let budget = budget(model(20.0, 0, 0), now);
        assert_eq!(withdraw(&budget, now, 10), 0);
        (0..100).for_each(|_| budget.request(now));
        assert_eq!(budget.balance(now), 20);
        assert_eq!(withdraw(&budget, now, 100), 20);
        assert_eq!(budget.refused(), 2);
    }

    #[test]
    fn requests_and_retries_leave_with_the_window() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let budget = budget(model(20.0, 0, 0), start);
        (0..100).for_each(|_| budget.request(at(0)));
        assert_eq!(withdraw(&budget, at(5), 15), 15);
        assert_eq!(withdraw(&budget, at(9), 100), 5);
        // The requests are gone, and the retries of second 5 still count against the new ones.
        (0..100).for_each(|_| budget.request(at(10)));
        assert_eq!(withdraw(&budget, at(10), 100), 0);
        assert_eq!(withdraw(&budget, at(15), 100), 15);
        assert_eq!(withdraw(&budget, at(1000), 100), 0);
    }

    #[test]
    fn a_few_a_second_are_always_allowed() {
        let now = Instant::now();
        let budget = budget(model(0.0, 0, 10), now);
        assert_eq!(withdraw(&budget, now, 1000), 100);
        assert_eq!(withdraw(&budget, now + Duration::from_secs(10), 1000), 100);
    }

    #[test]
    fn a_few_at_once_are_always_allowed() {
        let now = Instant::now();
        let budget = budget(model(0.0, 3, 0), now);
        let held: Vec<_> = (0..10).filter_map(|_| budget.try_withdraw(now)).collect();
        assert_eq!((held.len(), budget.active()), (3, 3));
        drop(held);
        assert_eq!(budget.active(), 0);
        assert!(budget.try_withdraw(now).is_some());
    }

    #[test]
    fn threads_take_exactly_what_is_there() {
        let now = Instant::now();
        let budget = budget(model(20.0, 0, 0), now);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..1000).for_each(|_| budget.request(now));
                });
            }
        });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    taken.fetch_add(withdraw(&budget, now, usize::MAX) as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(taken.into_inner(), 8000 / 5);
    }

    #[test]
    fn retries_that_fail_at_once_are_no_way_around_the_share() {
        let now = Instant::now();
        let budget = budget(model(20.0, 3, 0), now);
        (0..1000).for_each(|_| budget.request(now));
        // Each is over before the next begins, so that there is never more than one at once.
        assert_eq!(withdraw(&budget, now, 1000), 200);
    }

    #[test]
    fn eight_threads_never_exceed_the_share_by_one() {
        let start = Instant::now();
        let budget = budget(model(20.0, 0, 0), start);
        let (requests, retries, millis) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        // Within one window, over all its parts.
                        let passed = millis.fetch_add(1, Ordering::Relaxed).min(15_000) * 9 / 15;
                        let now = start + Duration::from_millis(passed);
                        budget.request(now);
                        requests.fetch_add(1, Ordering::SeqCst);
                        retries.fetch_add(withdraw(&budget, now, 3) as u64, Ordering::SeqCst);
                    }
                });
            }
        });
        let (requests, retries) = (requests.into_inner(), retries.into_inner());
        assert!(retries <= requests / 5, "{retries} of {requests}");
        assert!(retries > requests / 5 - 20, "{retries} of {requests}: what is there is to be had");
    }

    #[test]
    fn eight_threads_never_hold_more_than_a_few_at_once() {
        let now = Instant::now();
        let budget = budget(model(0.0, 3, 0), now);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let _held = budget.try_withdraw(now);
                        assert!(budget.active() <= 3);
                    }
                });
            }
        });
        assert_eq!(budget.active(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        // A reference that keeps every event.
        #[test]
        fn no_window_holds_more_retries_than_it_bears(
            steps in prop::collection::vec((0_u64..3000, 0_u64..20, 0_u64..20), 1..60),
            percent in 0_u32..100,
            floor in 0_u32..5,
        ) {
            let epoch = Instant::now();
            let budget = budget(model(f64::from(percent), 0, floor), epoch);
            let (mut millis, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (wait, arrive, wanted) in steps {
                millis += wait;
                let now = epoch + Duration::from_millis(millis);
                let slot = millis / 1000;
                for _ in 0..arrive {
                    budget.request(now);
                    requests.push(slot);
                }
                for _ in 0..wanted {
                    let window = |events: &[u64]| events.iter().filter(|at| **at + 10 > slot).count() as u64;
                    let allowed = (window(&requests) * u64::from(percent) / 100).max(u64::from(floor) * 10);
                    let granted = budget.try_withdraw(now).is_some();
                    prop_assert_eq!(granted, window(&retries) < allowed);
                    if granted {
                        retries.push(slot);
                    }
                }
            }
        }
    }
}
