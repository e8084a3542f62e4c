//! The records of decisions ([`crate::explain`]) that are worth keeping: of requests that failed, were tried again, were
//! slow, or were asked about.
//!
//! A ring for each worker, bounded in bytes and in number. Where there is no room the oldest goes of the [`Cause`] that
//! has most beyond its share, so that however many are slow, those that failed stay. Workers come in with
//! [`Records::push`], the admin port and the push to the control plane read. How many are made in a second is bounded as
//! well, so that an outage does not cost more than it costs anyway: what is beyond that is counted. The lock is the worker's own; readers
//! hold it while they copy pointers, and a request that is not kept never takes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use outrigger_config::record::Cause;
use parking_lot::Mutex;

/// How many bytes of records a process keeps.
pub const MAX_BYTES: usize = 2 << 20;

/// How many records a worker keeps, however small they are.
const MAX_RECORDS: usize = 512;

/// How many records a worker makes in a second.
const MAX_RATE: u32 = 100;

/// How many records may have been made in a second for one of this cause to be made, too; the rest is for weightier ones.
fn max_rate(cause: Cause) -> u32 {
    match cause {
        Cause::Failed => MAX_RATE,
        Cause::Retried => MAX_RATE * 3 / 4,
        Cause::Slow | Cause::Asked => MAX_RATE / 2,
    }
}

/// How long a request may take before it counts as slow, unless told otherwise.
pub const SLOW: Duration = Duration::from_secs(1);

/// Where records are kept. Clones share it; the default one keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct Records(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    slots: Box<[Mutex<Slot>]>,
    /// What each slot may hold, bytes.
    share: usize,
    slow: Duration,
    token: Option<Box<[u8]>>,
    kept: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Oldest first.
    ring: VecDeque<Arc<Kept>>,
    /// What is in it of each cause.
    held: [Held; Cause::ALL.len()],
    /// The number of the next record.
    next: u64,
    /// When the second that is counted began, and what it saw.
    second: Option<(Instant, u32)>,
}

/// How many records of a cause there are, and how long they are.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    records: usize,
    bytes: usize,
}

/// A record that is kept.
#[derive(Debug)]
pub struct Kept {
    /// The trace it belongs to.
    pub trace_id: [u8; 16],
    /// When its request began, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The record: JSON in printable ASCII.
    pub json: Box<str>,
    number: u64,
    cause: Cause,
}

/// How far a reader has read.
#[derive(Clone, Debug, Default)]
pub struct Cursor(Vec<u64>);

impl Records {
    /// Rings for `workers` workers that hold `max_bytes` together. Requests that take `slow` are worth a record; whoever
    /// has the `token`, if there is one, may ask for records.
    pub fn new(workers: usize, max_bytes: usize, slow: Duration, token: Option<Box<[u8]>>) -> Self {
        let workers = workers.max(1);
        Records(Some(Arc::new(Inner {
            slots: (0..workers).map(|_| Mutex::default()).collect(),
            share: max_bytes / workers,
            slow,
            token,
            kept: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })))
    }

    /// Whether a request that took so long is worth a record.
    pub fn is_slow(&self, took: Duration) -> bool {
        self.0.as_ref().is_some_and(|inner| took >= inner.slow)
    }

    /// What whoever asks for a record must say; none where being beside the proxy is enough.
    pub fn token(&self) -> Option<&[u8]> {
        self.0.as_ref()?.token.as_deref()
    }

    /// Whether a worker may make another record, without making one.
    pub fn has_room(&self, worker: usize, now: Instant) -> bool {
        // Where nothing is kept, whoever looks does so by himself.
        let Some(inner) = &self.0 else { return true };
        let second = inner.slot(worker).lock().second;
        second.is_none_or(|(began, seen)| {
            seen < MAX_RATE || now.saturating_duration_since(began) >= Duration::from_secs(1)
        })
    }

    /// Whether a worker may make another record for this cause. What may not be made is counted.
    pub fn admits(&self, worker: usize, cause: Cause, now: Instant) -> bool {
        let Some(inner) = &self.0 else { return false };
        let mut slot = inner.slot(worker).lock();
        let (began, seen) = slot.second.unwrap_or((now, 0));
        let fresh = now.saturating_duration_since(began) >= Duration::from_secs(1);
        let (began, seen) = if fresh { (now, 0) } else { (began, seen) };
        let admitted = seen < max_rate(cause);
        slot.second = Some((began, seen + u32::from(admitted)));
        if !admitted {
            inner.dropped.fetch_add(1, Relaxed);
        }
        admitted
    }

    /// Keeps a record, in the place of others where there is no room.
    pub fn push(&self, worker: usize, cause: Cause, trace_id: [u8; 16], at_unix_ms: u64, json: String) {
        let Some(inner) = &self.0 else { return };
        let mut slot = inner.slot(worker).lock();
        let number = slot.next;
        slot.next += 1;
        let kept = Kept { trace_id, at_unix_ms, json: json.into(), number, cause };
        let held = &mut slot.held[cause as usize];
        (held.records, held.bytes) = (held.records + 1, held.bytes + kept.weight());
        slot.ring.push_back(Arc::new(kept));
        inner.kept.fetch_add(1, Relaxed);
        while slot.is_beyond(inner.share) && slot.forget_one(inner.share) {}
    }

    /// The records of a trace, or all of them, newest first.
    pub fn list(&self, trace_id: Option<[u8; 16]>) -> Vec<Arc<Kept>> {
        let mut all = Vec::new();
        for slot in self.0.iter().flat_map(|inner| &inner.slots) {
            let wanted = |kept: &&Arc<Kept>| trace_id.is_none_or(|id| kept.trace_id == id);
            all.extend(slot.lock().ring.iter().filter(wanted).map(Arc::clone));
        }
        all.sort_by_key(|kept| std::cmp::Reverse(kept.at_unix_ms));
        all
    }

    /// At most `most` records that came after `cursor`, oldest first for each worker, and where to go on. What has gone
    /// from a ring in the meantime is passed over.
    pub fn since(&self, cursor: &Cursor, most: usize) -> (Vec<Arc<Kept>>, Cursor) {
        let mut next = cursor.clone();
        let mut all: Vec<Arc<Kept>> = Vec::new();
        for (index, slot) in self.0.iter().flat_map(|inner| inner.slots.iter().enumerate()) {
            next.0.resize(next.0.len().max(index + 1), 0);
            let unread = |kept: &&Arc<Kept>| kept.number >= next.0[index];
            let room = most.saturating_sub(all.len());
            let found: Vec<_> = slot.lock().ring.iter().filter(unread).take(room).map(Arc::clone).collect();
            if let Some(last) = found.last() {
                next.0[index] = last.number + 1;
            }
            all.extend(found);
        }
        (all, next)
    }

    /// How many records were made.
    pub fn kept(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.kept.load(Relaxed))
    }

    /// How many were not made, because there were too many in a second.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.dropped.load(Relaxed))
    }
}

impl Inner {
    fn slot(&self, worker: usize) -> &Mutex<Slot> {
        &self.slots[worker % self.slots.len()]
    }
}

impl Slot {
    fn is_beyond(&self, bytes: usize) -> bool {
        self.bytes() > bytes || self.ring.len() > MAX_RECORDS
    }

    fn bytes(&self) -> usize {
        self.held.iter().map(|held| held.bytes).sum()
    }

    /// Lets the oldest go of the cause that has most beyond its share; false where there is none.
    fn forget_one(&mut self, bytes: usize) -> bool {
        let in_bytes = self.bytes() > bytes;
        let most = Cause::most_beyond(self.held.map(|held| if in_bytes { held.bytes } else { held.records }));
        let Some(oldest) = self.ring.iter().position(|kept| kept.cause == most) else { return false };
        let Some(gone) = self.ring.remove(oldest) else { return false };
        let held = &mut self.held[most as usize];
        (held.records, held.bytes) = (held.records - 1, held.bytes - gone.weight());
        true
    }
}

impl Kept {
    fn weight(&self) -> usize {
        size_of::<Kept>() + self.json.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::record::Cause;

    use super::{Cursor, MAX_RATE, MAX_RECORDS, Records, SLOW};

    fn records(bytes: usize) -> Records {
        Records::new(2, bytes, SLOW, None)
    }

    fn fill(records: &Records, worker: usize, range: std::ops::Range<u8>) {
        range.for_each(|at| records.push(worker, Cause::Failed, [at; 16], u64::from(at), "x".repeat(1000)));
    }

    #[test]
    fn a_flood_of_slow_ones_leaves_those_that_failed() {
        for length in [10, 2000] {
            let records = Records::new(1, 1 << 20, SLOW, None);
            let push = |cause, at, times: usize| {
                (0..times).for_each(|_| records.push(0, cause, [0; 16], at, "x".repeat(length)));
            };
            let count = |at| records.list(None).iter().filter(|kept| kept.at_unix_ms == at).count();
            push(Cause::Failed, 1, 100);
            push(Cause::Retried, 2, 50);
            push(Cause::Slow, 3, 5000);
            push(Cause::Asked, 4, 5000);
            assert_eq!((count(1), count(2)), (100, 50));
            assert!(count(3).min(count(4)) > 50, "what nobody else needs is theirs: {} {}", count(3), count(4));
            // And the other way round they make room, but not all of it.
            push(Cause::Failed, 5, 5000);
            let most = if length == 10 { MAX_RECORDS } else { (1 << 20) / length };
            assert!(records.list(None).len() <= most);
            assert!(count(5) > most / 3 && count(3) > most / 16, "{} {}", count(5), count(3));
        }
    }

    #[test]
    fn slow_ones_leave_those_that_fail_in_the_same_second_their_records() {
        let (records, now) = (records(1 << 20), Instant::now());
        let admitted = |cause| (0..2 * MAX_RATE).filter(|_| records.admits(0, cause, now)).count();
        let counts = [Cause::Slow, Cause::Asked, Cause::Retried, Cause::Failed].map(admitted);
        assert_eq!(counts, [50, 0, 25, 25]);
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let records = records(2 * 5_500);
        fill(&records, 0, 1..9);
        fill(&records, 1, 9..11);
        let times: Vec<_> = records.list(None).iter().map(|kept| kept.at_unix_ms).collect();
        assert_eq!(times, [10, 9, 8, 7, 6, 5, 4], "five for a worker, newest first");
        assert_eq!((records.list(Some([7; 16])).len(), records.list(Some([1; 16])).len()), (1, 0));
        assert_eq!(records.kept(), 10);
    }

    #[test]
    fn a_reader_gets_each_record_once_however_it_pauses() {
        let records = records(1 << 20);
        fill(&records, 0, 0..5);
        fill(&records, 1, 5..7);
        let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
        for _ in 0..4 {
            let (found, next) = records.since(&cursor, 3);
            assert!(found.len() <= 3);
            seen.extend(found.iter().map(|kept| kept.at_unix_ms));
            cursor = next;
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
        fill(&records, 0, 7..8);
        assert_eq!(records.since(&cursor, 9).0.len(), 1);
    }

    #[test]
    fn an_outage_makes_so_many_records_a_second_and_counts_the_rest() {
        let (records, now) = (records(1 << 20), Instant::now());
        let admitted = |now| (0..2 * MAX_RATE).filter(|_| records.admits(0, Cause::Failed, now)).count();
        assert_eq!(admitted(now), MAX_RATE as usize);
        assert_eq!(records.dropped(), u64::from(MAX_RATE));
        assert!(records.admits(1, Cause::Failed, now), "each worker for itself");
        assert_eq!(admitted(now + Duration::from_secs(1)), MAX_RATE as usize);
    }

    #[test]
    fn without_a_ring_nothing_is_kept_or_slow() {
        let records = Records::default();
        records.push(0, Cause::Failed, [1; 16], 1, String::new());
        assert!(records.list(None).is_empty() && !records.is_slow(Duration::MAX));
        assert!(!records.admits(0, Cause::Failed, Instant::now()));
    }
}
