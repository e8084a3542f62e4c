//! Where finished spans wait for the exporter: one bounded list for each worker.
//!
//! Workers come in with [`SpanSink::submit`], the exporter takes all there is with [`SpanSink::take`]. Submitting never
//! waits and never makes memory grow beyond the bound: what does not fit is dropped and counted. The only lock is the
//! worker's own; the exporter holds it for one swap of a list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::telemetry::span::SpanRecord;

/// How many bytes of spans may wait.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;

/// How many spans are sent together. 512 at once make the process 5 MiB larger under load, and 128 make it no smaller, only
/// the collector's work more (`integration/bench`, workload `policy`).
pub const BATCH: usize = 256;

/// Where finished spans go. Clones share it; the default one has no exporter and keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct SpanSink(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    slots: Box<[Slot]>,
    /// What each slot may hold, bytes.
    share: usize,
    due: Notify,
    sent: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    waiting: Mutex<Vec<SpanRecord>>,
    /// Bytes of this slot's spans that wait or are being sent.
    bytes: AtomicUsize,
}

/// Spans that the exporter took; their bytes count until it says that they are gone.
#[derive(Debug)]
pub struct Taken {
    /// The spans.
    pub spans: Vec<SpanRecord>,
    slot: usize,
}

impl SpanSink {
    /// A sink for `workers` workers that holds at most `max_bytes`.
    pub fn new(workers: usize, max_bytes: usize) -> Self {
        let workers = workers.max(1);
        SpanSink(Some(Arc::new(Inner {
            slots: (0..workers).map(|_| Slot::default()).collect(),
            share: max_bytes / workers,
            due: Notify::new(),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })))
    }

    /// Whether anybody will export what is submitted.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a span on, or drops it where there is no room.
    pub fn submit(&self, worker: usize, record: SpanRecord) {
        let Some(inner) = &self.0 else { return };
        let slot = &inner.slots[worker % inner.slots.len()];
        let weight = record.weight();
        if slot.bytes.fetch_add(weight, Relaxed) + weight > inner.share {
            slot.bytes.fetch_sub(weight, Relaxed);
            inner.dropped.fetch_add(1, Relaxed);
            return;
        }
        let mut waiting = slot.waiting.lock();
        waiting.push(record);
        let due = waiting.len() == BATCH;
        drop(waiting);
        if due {
            inner.due.notify_one();
        }
    }

    /// Completes when a whole batch waits. Cancel safe.
    pub async fn due(&self) {
        match &self.0 {
            Some(inner) => inner.due.notified().await,
            None => std::future::pending().await,
        }
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.slots.len())
    }

    /// Takes all that waits in a slot and leaves `empty` there, whose memory it uses from now on.
    pub fn take(&self, slot: usize, empty: Vec<SpanRecord>) -> Taken {
        debug_assert!(empty.is_empty(), "spans would be lost");
        match &self.0 {
            Some(inner) => Taken { spans: std::mem::replace(&mut *inner.slots[slot].waiting.lock(), empty), slot },
            None => Taken { spans: empty, slot },
        }
    }

    /// Says that some of a slot's spans need no memory any more.
    pub fn release(&self, taken: &Taken, bytes: usize) {
        if let Some(inner) = &self.0 {
            inner.slots[taken.slot].bytes.fetch_sub(bytes, Relaxed);
        }
    }

    /// Counts spans that a collector has.
    pub fn count_sent(&self, spans: u64) {
        if let Some(inner) = &self.0 {
            inner.sent.fetch_add(spans, Relaxed);
        }
    }

    /// Counts spans that no collector took.
    pub fn count_dropped(&self, spans: u64) {
        if let Some(inner) = &self.0 {
            inner.dropped.fetch_add(spans, Relaxed);
        }
    }

    /// How many spans were sent.
    pub fn sent(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.sent.load(Relaxed))
    }

    /// How many spans were dropped: no room, or no collector took them.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.dropped.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, SpanSink};
    use crate::telemetry::span::SpanRecord;
    use crate::telemetry::span::tests::attempt;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let weight = attempt().weight();
        let sink = SpanSink::new(2, 2 * 3 * weight);
        (0..5).for_each(|_| sink.submit(0, attempt()));
        sink.submit(1, attempt());
        assert_eq!(sink.dropped(), 2, "each worker has a share of its own");
        let taken = sink.take(0, Vec::new());
        assert_eq!(taken.spans.len(), 3);
        // What is being sent takes memory still.
        sink.submit(0, attempt());
        assert_eq!(sink.dropped(), 3);
        sink.release(&taken, taken.spans.iter().map(SpanRecord::weight).sum());
        sink.submit(0, attempt());
        assert_eq!((sink.dropped(), sink.take(0, Vec::new()).spans.len()), (3, 1));
    }

    #[test]
    fn a_long_target_weighs_more() {
        let mut record = attempt();
        let before = record.weight();
        record.path = format!("/{}", "a".repeat(10_000)).into();
        assert!(record.weight() > before + 9_000);
    }

    #[tokio::test]
    async fn a_whole_batch_is_due() {
        let sink = SpanSink::new(1, usize::MAX);
        (1..BATCH).for_each(|_| sink.submit(0, attempt()));
        assert!(futures_util::FutureExt::now_or_never(sink.due()).is_none());
        sink.submit(0, attempt());
        sink.due().await;
    }

    #[test]
    fn without_an_exporter_nothing_is_kept() {
        let sink = SpanSink::default();
        sink.submit(0, attempt());
        assert!(!sink.is_enabled());
        assert_eq!((sink.take(0, Vec::new()).spans.len(), sink.dropped()), (0, 0));
    }
}
