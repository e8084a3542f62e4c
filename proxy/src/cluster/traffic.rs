//! What became of the attempts at a destination, and how long they waited for a connection to it.
//!
//! An attempt costs one relaxed addition, when it is over. Waiting is timed only where no connection is at hand, which
//! is not where most requests pass.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::session::Held;
use crate::clock;
use crate::endpoint::Outcome;
use crate::telemetry::edge::{Counts, Reading};

/// Counters of a destination.
#[derive(Debug, Default)]
pub struct Traffic {
    succeeded: AtomicU64,
    failed: AtomicU64,
    aborted: AtomicU64,
    waits: Counts,
    copies: AtomicUsize,
    sessions: [AtomicU64; 4],
    reports: AtomicU64,
    void_reports: AtomicU64,
    streams: AtomicUsize,
    stream_failures: AtomicU64,
}

impl Traffic {
    /// Counts an attempt that is over; no outcome: its caller gave it up, or a limit of ours did.
    pub fn attempt(&self, outcome: Option<Outcome>) {
        let counter = match outcome {
            Some(Outcome::Success) => &self.succeeded,
            Some(Outcome::Failure | Outcome::Gateway | Outcome::NoAnswer) => &self.failed,
            None => &self.aborted,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Attempts that are over, by what became of them.
    pub fn attempts(&self) -> [(&'static str, u64); 3] {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        [("success", read(&self.succeeded)), ("failure", read(&self.failed)), ("aborted", read(&self.aborted))]
    }

    /// Waits for `connection`, and counts how long. A wait that is given up is not counted.
    pub async fn waiting<T>(&self, connection: impl Future<Output = T>) -> T {
        let began = clock::now();
        let connection = connection.await;
        self.waits.add(clock::now().saturating_duration_since(began));
        connection
    }

    /// Counts a copy of a request that begins, unless `most` are under way.
    pub fn begin_copy(&self, most: usize) -> bool {
        // Relaxed: the count alone is shared, nothing is published by it.
        self.copies.fetch_update(Relaxed, Relaxed, |held| (held < most).then_some(held + 1)).is_ok()
    }

    /// Counts a request of a route with sessions.
    pub fn session(&self, held: Held) {
        self.sessions[held as usize].fetch_add(1, Relaxed);
    }

    /// Requests of routes with sessions, by what became of their session.
    pub fn sessions(&self) -> [(Held, u64); 4] {
        Held::ALL.map(|held| (held, self.sessions[held as usize].load(Relaxed)))
    }

    /// Counts a load report; a void one is no report.
    pub fn report(&self, void: bool) {
        if void { &self.void_reports } else { &self.reports }.fetch_add(1, Relaxed);
    }

    /// Load reports that were taken, and those that were void.
    pub fn reports(&self) -> (u64, u64) {
        (self.reports.load(Relaxed), self.void_reports.load(Relaxed))
    }

    /// An endpoint reports its load over a stream.
    pub fn stream_begins(&self) {
        self.streams.fetch_add(1, Relaxed);
    }

    /// It no longer does.
    pub fn stream_ends(&self) {
        self.streams.fetch_sub(1, Relaxed);
    }

    /// A stream of load reports ended, or none came about.
    pub fn stream_failed(&self) {
        self.stream_failures.fetch_add(1, Relaxed);
    }

    /// Streams of load reports under way.
    pub fn streams(&self) -> usize {
        self.streams.load(Relaxed)
    }

    /// How many have ended, or did not come about.
    pub fn stream_failures(&self) -> u64 {
        self.stream_failures.load(Relaxed)
    }

    /// A copy that began is over.
    pub fn end_copy(&self) {
        self.copies.fetch_sub(1, Relaxed);
    }

    /// How long attempts waited that found no connection at hand.
    pub fn waits(&self) -> Reading {
        self.waits.read()
    }
}

#[cfg(test)]
mod tests {
    use super::Traffic;
    use crate::endpoint::Outcome;

    #[tokio::test]
    async fn attempts_are_counted_by_outcome_and_waits_by_time() {
        let traffic = Traffic::default();
        for outcome in [Some(Outcome::Success), Some(Outcome::Success), Some(Outcome::Failure), None] {
            traffic.attempt(outcome);
        }
        assert_eq!(traffic.attempts(), [("success", 2), ("failure", 1), ("aborted", 1)]);
        assert_eq!(traffic.waiting(async { 7 }).await, 7);
        assert_eq!(futures_util::FutureExt::now_or_never(traffic.waiting(std::future::pending::<()>())), None);
        assert_eq!(traffic.waits().requests(), 1, "what is given up is not counted");
    }
}
