//! Which proxies are connected, what each was sent and what each has said to it.
//!
//! A stream enters itself with [`Proxies::register`] and reports after each step; the API reads the whole with
//! [`Proxies::list`]. A proxy that has gone stays listed for [`REMEMBERED`], so that "it was here a minute ago" can be
//! told from "it never came"; the list of those is bounded. Nothing here steers anything.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::resource::ResourceType;
use parking_lot::Mutex;
use serde::Serialize;

/// How long a proxy stays listed after its stream has ended.
pub const REMEMBERED: Duration = Duration::from_secs(600);
/// How many ended streams are remembered at most; the oldest are forgotten first.
pub const MAX_REMEMBERED: usize = 4096;

/// What a proxy has refused, as the API prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NackStatus {
    /// The proxy's own words, cut at 512 bytes.
    pub message: String,
    /// The version it refused.
    pub version: String,
    /// How long ago it did.
    pub age_seconds: f64,
}

/// How a proxy stands with one type of resource, as the API prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeStatus {
    /// The last version sent; empty when none was.
    pub sent: String,
    /// The last version acknowledged; empty when none was.
    pub acked: String,
    /// How long ago the last response was sent, or the subscription made if there was none.
    pub age_seconds: f64,
    /// How many resources the proxy was sent and still has.
    pub resources: usize,
    /// What it refuses now; absent when it has accepted everything since.
    pub nack: Option<NackStatus>,
}

/// One proxy, as `GET /api/v1/proxies` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyStatus {
    /// Its node id.
    pub node: String,
    /// What it is: `outrigger`, `envoy` or `grpc`.
    pub client: &'static str,
    /// How it is served: `delta` or `sotw`.
    pub transport: &'static str,
    /// Whether its stream is open.
    pub connected: bool,
    /// How long the stream has been open, or was.
    pub connected_seconds: f64,
    /// Whether it has acknowledged everything of the current generation.
    pub synced: bool,
    /// Each type it has asked for, by short name.
    pub types: BTreeMap<&'static str, TypeStatus>,
}

/// What a proxy has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The proxy's own words, cut at 512 bytes.
    pub message: String,
    /// The version it refused.
    pub version: String,
    /// When it did.
    pub at: Instant,
}

/// How a stream stands with one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeReport {
    /// The last version sent.
    pub sent: String,
    /// The last version acknowledged.
    pub acked: String,
    /// When the last response was sent, or the subscription made.
    pub at: Instant,
    /// How many resources the client was sent and still has.
    pub resources: usize,
    /// What it refuses now.
    pub nack: Option<Nack>,
}

/// How a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The generation of which the client has acknowledged everything; 0 while something is due, under way or refused.
    pub synced: u64,
    /// The types it has asked for.
    pub types: BTreeMap<ResourceType, TypeReport>,
}

/// All proxies. Cloning it shares it.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    live: HashMap<u64, Record>,
    gone: VecDeque<(Instant, Record)>,
}

#[derive(Debug)]
struct Record {
    node: String,
    client: &'static str,
    transport: &'static str,
    since: Instant,
    report: Arc<Mutex<Report>>,
}

/// The entry of one stream; the stream has ended when it is dropped.
#[derive(Debug)]
pub struct Registration {
    proxies: Proxies,
    id: u64,
    report: Arc<Mutex<Report>>,
}

impl Proxies {
    /// Enters a stream. What was remembered of an earlier stream of the same node is forgotten.
    pub fn register(&self, node: &str, client: &'static str, transport: &'static str, now: Instant) -> Registration {
        // Only uniqueness matters.
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let report = Arc::new(Mutex::new(Report::default()));
        let record = Record { node: node.to_owned(), client, transport, since: now, report: report.clone() };
        let mut table = self.inner.table.lock();
        table.forget(now);
        table.gone.retain(|(_, record)| record.node != node);
        table.live.insert(id, record);
        drop(table);
        Registration { proxies: self.clone(), id, report }
    }

    /// How many streams are open.
    pub fn connected(&self) -> usize {
        self.inner.table.lock().live.len()
    }

    /// Every proxy, by node id, those that are connected first; `generation` is the one to be in step with.
    pub fn list(&self, generation: u64, now: Instant) -> Vec<ProxyStatus> {
        let mut table = self.inner.table.lock();
        table.forget(now);
        let live = table.live.values().map(|record| record.status(generation, None, now));
        let gone = table.gone.iter().map(|(at, record)| record.status(generation, Some(*at), now));
        let mut list: Vec<_> = live.chain(gone).collect();
        drop(table);
        list.sort_by(|a, b| (!a.connected, &a.node).cmp(&(!b.connected, &b.node)));
        list
    }

    fn leave(&self, id: u64, now: Instant) {
        let mut table = self.inner.table.lock();
        if let Some(record) = table.live.remove(&id) {
            // A node that has already come back is not shown twice.
            if !table.live.values().any(|other| other.node == record.node) {
                table.gone.push_back((now, record));
            }
        }
        table.forget(now);
    }
}

impl Registration {
    /// Replaces what is known of the stream.
    pub fn report(&self, report: Report) {
        *self.report.lock() = report;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.proxies.leave(self.id, Instant::now());
    }
}

impl Table {
    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.gone.front() {
            if self.gone.len() <= MAX_REMEMBERED && now.saturating_duration_since(*at) <= REMEMBERED {
                break;
            }
            self.gone.pop_front();
        }
    }
}

impl Record {
    fn status(&self, generation: u64, ended: Option<Instant>, now: Instant) -> ProxyStatus {
        let report = self.report.lock();
        let since = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
        let types = report.types.iter().map(|(kind, of_type)| {
            let nack = of_type.nack.as_ref().map(|nack| NackStatus {
                message: nack.message.clone(),
                version: nack.version.clone(),
                age_seconds: since(nack.at),
            });
            let status = TypeStatus {
                sent: of_type.sent.clone(),
                acked: of_type.acked.clone(),
                age_seconds: since(of_type.at),
                resources: of_type.resources,
                nack,
            };
            (kind.short(), status)
        });
        ProxyStatus {
            node: self.node.clone(),
            client: self.client,
            transport: self.transport,
            connected: ended.is_none(),
            connected_seconds: ended.unwrap_or(now).saturating_duration_since(self.since).as_secs_f64(),
            synced: ended.is_none() && report.synced != 0 && report.synced >= generation,
            types: types.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Proxies, REMEMBERED, Report};

    #[test]
    fn a_proxy_is_remembered_for_a_while_after_it_has_gone() {
        let proxies = Proxies::default();
        let now = Instant::now();
        let registration = proxies.register("shop/catalog-1", "envoy", "sotw", now);
        assert!(proxies.list(1, now)[0].connected);
        drop(registration);
        let later = Instant::now();
        assert!(!proxies.list(1, later)[0].connected);
        assert!(proxies.list(1, later + REMEMBERED + Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn a_node_that_comes_back_is_listed_once() {
        let proxies = Proxies::default();
        let now = Instant::now();
        let first = proxies.register("shop/catalog-1", "envoy", "sotw", now);
        let second = proxies.register("shop/catalog-1", "envoy", "sotw", now);
        drop(first);
        assert_eq!(proxies.list(1, now).len(), 1);
        drop(second);
        let _third = proxies.register("shop/catalog-1", "envoy", "sotw", now);
        let list = proxies.list(1, now);
        assert_eq!((list.len(), list[0].connected), (1, true));
    }

    #[test]
    fn synced_means_with_the_generation_that_is_asked_for() {
        let proxies = Proxies::default();
        let now = Instant::now();
        let registration = proxies.register("shop/catalog-1", "envoy", "sotw", now);
        assert!(!proxies.list(0, now)[0].synced);
        registration.report(Report { synced: 3, ..Report::default() });
        assert!(proxies.list(3, now)[0].synced);
        assert!(!proxies.list(4, now)[0].synced);
    }
}
