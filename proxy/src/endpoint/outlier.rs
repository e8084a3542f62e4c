//! How an endpoint has been behaving: failures in a row, and whether it is ejected.
//!
//! This is only the record. Whether an endpoint may be ejected depends on its neighbours, so the cluster decides
//! (`cluster::ejection`). An ejection ends by itself when its time is over: nobody has to come and lift it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How an endpoint has been behaving.
#[derive(Debug)]
pub struct OutlierState {
    epoch: Instant,
    failures: AtomicU32,
    /// How often it was ejected; sinks again with time.
    times: AtomicU32,
    /// When the ejection ends, nanoseconds since the epoch; 0 if there was none.
    until: AtomicU64,
}

impl OutlierState {
    /// Without a stain. `epoch` is the time it counts from.
    pub fn new(epoch: Instant) -> Self {
        OutlierState { epoch, failures: AtomicU32::new(0), times: AtomicU32::new(0), until: AtomicU64::new(0) }
    }

    /// A request succeeded. Writes only where failures went before, so that healthy traffic shares no cache line.
    pub fn succeed(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed. True for exactly one caller each time `limit` failures in a row are reached; the count then
    /// begins anew.
    pub fn fail(&self, limit: u32) -> bool {
        let reached = |count: u32| if count + 1 >= limit { 0 } else { count + 1 };
        let before = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(reached(count)))
            .unwrap_or_default();
        reached(before) == 0
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often it was ejected, less one for each calm interval since.
    pub fn times(&self) -> u32 {
        self.times.load(Ordering::Relaxed)
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && until > self.nanos(now)
    }

    /// How much longer it is ejected.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        until.checked_sub(self.nanos(now)).filter(|left| *left > 0).map(Duration::from_nanos)
    }

    /// Ejects it for `time`.
    pub fn eject(&self, now: Instant, time: Duration) {
        let until = self.nanos(now).saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.times.fetch_add(1, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
    }

    /// It is back, whether or not its time is over; failures of before do not count against it.
    pub fn restore(&self) {
        self.until.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }

    /// An interval passed without an ejection: the next one is a step shorter.
    pub fn calm(&self) {
        if self.times() > 0 {
            self.times.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::OutlierState;

    #[test]
    fn a_success_begins_the_count_anew() {
        let state = OutlierState::new(Instant::now());
        let fail = |times: u32| (0..times).map(|_| state.fail(5)).filter(|reached| *reached).count();
        assert_eq!(fail(4), 0);
        state.succeed();
        assert_eq!(fail(4), 0);
        assert_eq!(fail(1), 1);
        assert_eq!(state.failures(), 0);
    }

    #[test]
    fn the_limit_is_reached_once_by_one_thread() {
        let state = OutlierState::new(Instant::now());
        let reached = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        reached.fetch_add(u32::from(state.fail(5)), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(reached.into_inner(), 8000 / 5);
    }

    #[test]
    fn an_ejection_ends_by_itself() {
        let now = Instant::now();
        let state = OutlierState::new(now);
        assert_eq!((state.is_ejected(now), state.remaining(now)), (false, None));
        state.eject(now, Duration::from_secs(3));
        assert_eq!(state.remaining(now + Duration::from_secs(1)), Some(Duration::from_secs(2)));
        assert!(state.is_ejected(now + Duration::from_millis(2999)));
        assert!(!state.is_ejected(now + Duration::from_secs(3)));
        state.restore();
        assert!(!state.is_ejected(now));
        state.calm();
        state.calm();
        assert_eq!(state.times(), 0);
    }
}
