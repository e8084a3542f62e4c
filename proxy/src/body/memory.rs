//! How much memory the kept bodies of all requests may take together: exact, whatever the number of threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why a body is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is larger than one request's may be.
    Request,
    /// All bodies together would be larger than the process's may be.
    Process,
}

/// The memory that kept bodies take.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    abandoned: [AtomicU64; 2],
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new(Memory::DEFAULT)
    }
}

impl Memory {
    /// What holds unless said otherwise: 64 MiB.
    pub const DEFAULT: usize = 64 << 20;

    /// Nothing is kept yet.
    pub fn new(limit: usize) -> Self {
        Memory { limit, used: AtomicUsize::new(0), abandoned: Default::default() }
    }

    /// Takes so many bytes, unless that would be too much.
    pub fn try_take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives back what was taken.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a body that is no longer kept.
    pub fn abandon(&self, bound: Bound) {
        self.abandoned[bound as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How much it may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How much it is.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bodies were not kept, because of their own bound and of the process's.
    pub fn abandoned(&self) -> [(&'static str, u64); 2] {
        let count = |bound: Bound| self.abandoned[bound as usize].load(Ordering::Relaxed);
        [("request", count(Bound::Request)), ("process", count(Bound::Process))]
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn eight_threads_take_exactly_what_is_there() {
        let memory = Memory::new(10_000);
        let taken = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while memory.try_take(7) {
                        taken.fetch_add(7, std::sync::atomic::Ordering::Relaxed);
                        assert!(memory.used() <= 10_000);
                    }
                });
            }
        });
        assert_eq!((taken.into_inner(), memory.used()), (9_996, 9_996));
        memory.give(9_996);
        assert_eq!(memory.used(), 0);
        assert!(!memory.try_take(usize::MAX) && memory.try_take(10_000));
    }
}
