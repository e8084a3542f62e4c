//! All counters of the process: the edges by their key, and what belongs to no edge.
//!
//! Whoever compiles routes asks for an [`Edge`] once and keeps it; requests then never look anything up. Keys are
//! bounded: beyond [`MAX_EDGES`] all further ones share one edge called `other`. An edge that no route uses any more
//! is dropped ten minutes later, so that a scrape or two still sees its last counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::Version;
use outrigger_config::listener::{Direction, Identity};
use outrigger_config::name::ObjectName;
use outrigger_config::policy::{Mode, Origin};
use parking_lot::Mutex;

use crate::reason::Reason;
use crate::telemetry::cache::CacheMetrics;
use crate::telemetry::edge::{Counts, Edge, Reading};
use crate::telemetry::would::Would;

/// How many edges are told apart.
pub const MAX_EDGES: usize = 4096;

/// How long an edge stays after the last route that used it.
const LINGER: Duration = Duration::from_secs(600);

/// What tells one edge from another; the caller's side is the process's own identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    /// Which way requests pass.
    pub direction: Direction,
    /// The service they go to.
    pub dst_service: Arc<str>,
    /// Its namespace.
    pub dst_namespace: Arc<str>,
    /// Its version; empty where it has none.
    pub dst_version: Arc<str>,
    /// The route.
    pub route: Arc<str>,
}

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    workload: OnceLock<ObjectName>,
    identity: ArcSwapOption<Identity>,
    edges: Mutex<HashMap<EdgeKey, Known>>,
    crowded: AtomicU64,
    unrouted: [Edge; 2],
    limited: Mutex<BTreeMap<(Arc<str>, &'static str), u64>>,
    /// How callers' connections began.
    pub detection: DetectionMetrics,
    /// What the cache did.
    pub cache: CacheMetrics,
    /// What discovery did.
    pub discovery: DiscoveryMetrics,
}

/// How callers' connections began, for `outrigger_detect_*`.
#[derive(Debug, Default)]
pub struct DetectionMetrics {
    known: [Counts; 2],
    timeouts: AtomicU64,
}

impl DetectionMetrics {
    /// Counts a connection whose caller has said which protocol it speaks.
    pub fn known(&self, version: Version, took: Duration) {
        self.known[usize::from(version == Version::HTTP_2)].add(took);
    }

    /// Counts a connection whose caller said nothing in time.
    pub fn timed_out(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    /// Connections by protocol and by how long their callers took to say it.
    pub fn durations(&self) -> [(&'static str, Reading); 2] {
        [("http1", self.known[0].read()), ("http2", self.known[1].read())]
    }

    /// Connections whose callers said nothing in time.
    pub fn timeouts(&self) -> u64 {
        self.timeouts.load(Relaxed)
    }
}

#[derive(Debug)]
struct Known {
    edge: Arc<Edge>,
    unused_since: Option<Instant>,
}

/// What discovery did, for `outrigger_xds_*`.
#[derive(Debug, Default)]
pub struct DiscoveryMetrics {
    state: Mutex<DiscoveryState>,
}

/// What discovery did until now.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryState {
    /// Whether a stream is open and has answered.
    pub connected: bool,
    /// Responses by type and whether they were `accepted` or `rejected`.
    pub updates: BTreeMap<(&'static str, &'static str), u64>,
    /// Streams that ended.
    pub disconnects: u64,
    /// When the last response was accepted.
    pub updated: Option<Instant>,
    /// The number of the snapshot in force, and how long it took to compile and apply.
    pub applied: Option<(u64, Duration)>,
}

impl DiscoveryMetrics {
    /// Notes something that happened.
    pub fn note(&self, write: impl FnOnce(&mut DiscoveryState)) {
        write(&mut self.state.lock());
    }

    /// What happened until now.
    pub fn state(&self) -> DiscoveryState {
        self.state.lock().clone()
    }
}

impl Metrics {
    /// Says which workload this process stands beside. Only the first call counts.
    pub fn set_workload(&self, workload: ObjectName) {
        let _ = self.workload.set(workload);
    }

    /// The workload this process stands beside.
    pub fn workload(&self) -> Option<&ObjectName> {
        self.workload.get()
    }

    /// Says as whom this process reports: what its listeners say of the workload.
    pub fn set_identity(&self, identity: Arc<Identity>) {
        self.identity.store(Some(identity));
    }

    /// As whom this process reports; none before its first listener.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    /// The counters of an edge: the same for the same key.
    pub fn edge(&self, key: &EdgeKey) -> Arc<Edge> {
        let mut edges = self.edges.lock();
        if let Some(known) = edges.get(key) {
            return Arc::clone(&known.edge);
        }
        let crowded = edges.len() >= MAX_EDGES;
        let key = if crowded { other(key.direction) } else { key.clone() };
        if crowded {
            self.crowded.fetch_add(1, Relaxed);
        }
        let known = edges.entry(key).or_insert_with(|| Known { edge: Arc::default(), unused_since: None });
        Arc::clone(&known.edge)
    }

    /// Every edge, in no order.
    pub fn edges(&self) -> Vec<(EdgeKey, Arc<Edge>)> {
        self.edges.lock().iter().map(|(key, known)| (key.clone(), Arc::clone(&known.edge))).collect()
    }

    /// Requests that no route took, by direction.
    pub fn unrouted_edge(&self, direction: Direction) -> &Edge {
        &self.unrouted[usize::from(direction == Direction::Outbound)]
    }

    /// How often an edge was asked for when there was no room for another.
    pub fn crowded(&self) -> u64 {
        self.crowded.load(Relaxed)
    }

    /// Drops edges that no route has used for ten minutes. To be called now and then.
    pub fn sweep(&self, now: Instant) {
        self.edges.lock().retain(|_, known| {
            if Arc::strong_count(&known.edge) > 1 {
                known.unused_since = None;
                return true;
            }
            now.duration_since(*known.unused_since.get_or_insert(now)) < LINGER
        });
    }

    /// Counts a request that no route took.
    pub fn unrouted(&self, direction: Direction, status: u16, reason: Option<Reason>, duration: Duration) {
        self.unrouted_edge(direction).record(status, None, reason, Would::default(), duration);
    }

    /// Counts a request that a rate limit refused, or in Observe would have.
    pub fn rate_limited(&self, origin: &Origin, mode: Mode) {
        let mode = if mode.enforces() { "enforce" } else { "observe" };
        // Refusals are rare beside requests; one short lock is fine, and the keys are the configuration's.
        *self.limited.lock().entry((Arc::clone(&origin.0), mode)).or_default() += 1;
    }

    /// Requests that rate limits refused or would have, by policy and mode.
    pub fn limited_by(&self) -> Vec<((Arc<str>, &'static str), u64)> {
        self.limited.lock().iter().map(|(key, count)| (key.clone(), *count)).collect()
    }
}

fn other(direction: Direction) -> EdgeKey {
    let other: Arc<str> = "other".into();
    EdgeKey {
        direction,
        dst_service: Arc::clone(&other),
        dst_namespace: "".into(),
        dst_version: "".into(),
        route: other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use outrigger_config::listener::Direction;

    use super::{EdgeKey, MAX_EDGES, Metrics};

    fn key(number: usize) -> EdgeKey {
        EdgeKey {
            direction: Direction::Outbound,
            dst_service: format!("service-{number}").into(),
            dst_namespace: "shop".into(),
            dst_version: "".into(),
            route: "default".into(),
        }
    }

    #[test]
    fn the_same_key_is_the_same_edge() {
        let metrics = Metrics::default();
        assert!(Arc::ptr_eq(&metrics.edge(&key(1)), &metrics.edge(&key(1))));
        assert!(!Arc::ptr_eq(&metrics.edge(&key(1)), &metrics.edge(&key(2))));
    }

    #[test]
    fn edges_beyond_the_bound_share_one() {
        let metrics = Metrics::default();
        let edges: Vec<_> = (0..MAX_EDGES + 2).map(|number| metrics.edge(&key(number))).collect();
        assert!(Arc::ptr_eq(&edges[MAX_EDGES], &edges[MAX_EDGES + 1]));
        assert_eq!((metrics.edges().len(), metrics.crowded()), (MAX_EDGES + 1, 2));
        assert!(Arc::ptr_eq(&edges[0], &metrics.edge(&key(0))));
    }

    #[test]
    fn an_edge_that_no_route_uses_lingers_and_goes() {
        let metrics = Metrics::default();
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let edge = metrics.edge(&key(1));
        metrics.sweep(start);
        drop(edge);
        metrics.sweep(start + minute);
        metrics.sweep(start + 10 * minute);
        assert_eq!(metrics.edges().len(), 1);
        // Used again meanwhile: the time begins anew.
        let edge = metrics.edge(&key(1));
        metrics.sweep(start + 10 * minute);
        drop(edge);
        metrics.sweep(start + 12 * minute);
        metrics.sweep(start + 21 * minute);
        assert_eq!(metrics.edges().len(), 1);
        metrics.sweep(start + 22 * minute);
        assert_eq!(metrics.edges().len(), 0);
    }
}
