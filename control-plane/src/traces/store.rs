//! The traces in memory, bounded in bytes.

use std::collections::{HashMap, VecDeque};

use super::id::TraceId;
use super::search::{Query, Summary};
use super::span::{Span, Trace};

/// The most traces that are kept, however small they are.
pub const MAX_TRACES: usize = 50_000;

/// The most spans of one trace that are kept.
pub const MAX_SPANS: usize = 512;

/// One trace may take this part of the whole memory.
const SHARE_OF_ONE: usize = 8;

/// What a trace costs beside its spans: its place in the map and in the order.
const TRACE_BYTES: usize = size_of::<Entry>() + 4 * size_of::<TraceId>();

/// What happened to the spans that arrived, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Spans that were taken in.
    pub kept: u64,
    /// Spans that were not, because their trace was too long or they were sent twice.
    pub dropped: u64,
    /// Traces that were forgotten for newer ones.
    pub evicted_traces: u64,
}

/// The traces.
#[derive(Debug)]
pub struct Traces {
    capacity: usize,
    bytes: usize,
    by_id: HashMap<TraceId, Entry>,
    /// By arrival of their first spans, oldest first.
    order: VecDeque<TraceId>,
    counters: Counters,
}

#[derive(Debug)]
struct Entry {
    spans: Vec<Span>,
    bytes: usize,
    dropped: u64,
}

impl Traces {
    /// Keeps at most `capacity` bytes of traces.
    pub fn new(capacity: usize) -> Self {
        Traces { capacity, bytes: 0, by_id: HashMap::new(), order: VecDeque::new(), counters: Counters::default() }
    }

    /// Takes in one span of a trace.
    pub fn record(&mut self, trace_id: TraceId, mut span: Span) {
        span.cap();
        let entry = self.by_id.entry(trace_id).or_insert_with(|| {
            self.order.push_back(trace_id);
            self.bytes += TRACE_BYTES;
            Entry { spans: Vec::new(), bytes: TRACE_BYTES, dropped: 0 }
        });
        // A vector grows in leaps, so a span is charged twice its own size: what is counted is never too little.
        let bytes = 2 * size_of::<Span>() + span.bytes();
        let too_long = entry.spans.len() >= MAX_SPANS || entry.bytes + bytes > self.capacity / SHARE_OF_ONE;
        if too_long || entry.spans.iter().any(|known| known.span_id == span.span_id) {
            // A span that a sender repeats for want of an answer is no loss to the trace.
            entry.dropped += u64::from(too_long);
            self.counters.dropped += 1;
        } else {
            entry.spans.push(span);
            entry.bytes += bytes;
            self.bytes += bytes;
            self.counters.kept += 1;
        }
        while self.bytes > self.capacity || self.order.len() > MAX_TRACES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.by_id.remove(&oldest).map_or(0, |entry| entry.bytes);
            self.counters.evicted_traces += 1;
        }
    }

    /// The trace with this identity, if it is still kept.
    pub fn get(&self, trace_id: TraceId) -> Option<Trace> {
        self.by_id.get(&trace_id).map(|entry| Trace::new(trace_id, entry.spans.clone(), entry.dropped))
    }

    /// The newest traces that match, newest first.
    pub fn search(&self, query: &Query) -> Vec<Summary> {
        let newest_first = self.order.iter().rev().filter_map(|id| Some((*id, self.by_id.get(id)?)));
        newest_first
            .filter(|(_, entry)| !entry.spans.is_empty() && query.matches(&entry.spans))
            .take(query.limit)
            .map(|(id, entry)| Summary::new(id, &entry.spans))
            .collect()
    }

    /// How many traces are kept.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What happened to the spans that arrived.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
