//! When targets were changed last, for answers that are under way meanwhile: one that was asked for before may be of
//! before the change, and is not kept.
//!
//! It stands apart from what is kept, since a target of which nothing is kept can be changed as well, and what is known of
//! it must not go when there is no room. It takes as much memory whatever happens: a target has the place of its key's
//! hash, and others may have the same. A change of one of these costs no more than that an answer which is under way then
//! is not kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

/// How many places there are.
const PLACES: usize = 8192;

/// The last change of each target.
#[derive(Debug)]
pub struct Changes {
    began: Instant,
    /// Nanoseconds since then; 0: none yet.
    places: Box<[AtomicU64]>,
}

impl Changes {
    /// No change since `began`.
    pub fn new(began: Instant) -> Self {
        Changes { began, places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The target of this key was changed at `now`.
    pub fn note(&self, key: &[u8], now: Instant) {
        self.place(key).fetch_max(self.time(now).max(1), Ordering::SeqCst);
    }

    /// When it was, in a number that tells one change from the next; 0 before the first.
    pub fn last(&self, key: &[u8]) -> u64 {
        self.place(key).load(Ordering::SeqCst)
    }

    /// Whether it was changed since `asked`, or then.
    pub fn since(&self, key: &[u8], asked: Instant) -> bool {
        let last = self.last(key);
        last > 0 && last >= self.time(asked)
    }

    fn time(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn place(&self, key: &[u8]) -> &AtomicU64 {
        // In range: below the number of places.
        &self.places[(xxh3_64(key) % PLACES as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Changes;

    #[test]
    fn only_what_was_asked_for_after_the_last_change_is_of_after_it() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let changes = Changes::new(began);
        assert!(!changes.since(b"a", began) && changes.last(b"a") == 0);
        changes.note(b"a", at(2));
        // Two threads may come in another order.
        changes.note(b"a", at(1));
        let asked = [0, 1, 2, 3].map(|seconds| changes.since(b"a", at(seconds)));
        assert_eq!(asked, [true, true, true, false]);
        assert!(!changes.since(b"b", began));
        changes.note(b"b", began);
        assert!(changes.since(b"b", began) && !changes.since(b"b", at(1)), "at once");
    }
}
