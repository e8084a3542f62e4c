//! What the mesh says of its traffic: the one handle that the receiver of OTLP fills and the API reads.
//!
//! All parts are short critical sections on plain memory; nothing waits while it holds one.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::decisions::Decisions;
use crate::graph::{Graph, GraphView};
use crate::traces::Traces;

/// The graph, the traces and the decisions. Cloning it shares them.
#[derive(Clone, Debug)]
pub struct Signals {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    graph: Mutex<Graph>,
    traces: Mutex<Traces>,
    decisions: Mutex<Decisions>,
}

impl Signals {
    /// Nothing seen yet; traces will take at most `trace_memory` bytes.
    pub fn new(trace_memory: usize, now: Instant) -> Self {
        let (graph, traces) = (Mutex::new(Graph::new(now)), Mutex::new(Traces::new(trace_memory)));
        let inner = Inner { graph, traces, decisions: Mutex::default() };
        Signals { inner: Arc::new(inner) }
    }

    /// Does something to the graph, or asks it something.
    pub fn graph<T>(&self, ask: impl FnOnce(&mut Graph) -> T) -> T {
        ask(&mut self.inner.graph.lock())
    }

    /// Does something to the traces, or asks them something.
    pub fn traces<T>(&self, ask: impl FnOnce(&mut Traces) -> T) -> T {
        ask(&mut self.inner.traces.lock())
    }

    /// Does something to the decisions, or asks them something.
    pub fn decisions<T>(&self, ask: impl FnOnce(&mut Decisions) -> T) -> T {
        ask(&mut self.inner.decisions.lock())
    }

    /// The graph as the API answers with it.
    pub fn graph_view(&self, now: Instant, wall: SystemTime) -> GraphView {
        let (edges, services) = self.graph(|graph| graph.view(now));
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let generated_unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        GraphView { generated_unix_ms, edges, services }
    }
}
