//! Who calls whom, how fast and how well, over the last minute: the numbers behind `outrigger edges`, `outrigger stat`
//! and `GET /api/v1/graph`.
//!
//! Proxies push delta histograms once a second; [`Graph`] keeps them in rings of one-second slots and answers with the
//! windows of the last 10 and 60 seconds. Nothing here knows OTLP, HTTP or a clock: `now` is an argument.
//!
//! **What counts as success.** A request succeeded when it was answered with a status below 500 and nothing cut the
//! answer short. A status of 400 to 499, 429 among them, is the caller's affair: it is no failure of the destination,
//! and still shows in `codes` and, when a proxy gave the answer, in `reasons`. Any other request with a reason failed,
//! whether it has a status (an answer that broke off) or not (no answer at all). Of gRPC the same is said by its own
//! status: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS are failures of the
//! destination, the others are not; each but OK shows in `reasons`, as `grpc_UNAVAILABLE` where no proxy gave another.
//!
//! **What is bounded.** Edges ([`MAX_EDGES`]) and services ([`MAX_SERVICES`]), beyond which new ones are counted under
//! the name `other`; distinct reasons, codes in a second, and the length of names. An edge without traffic is forgotten
//! after a minute. A mesh of a thousand busy edges takes some 15 MB; a hostile one that fills every bound, below 100.

mod histogram;
mod ring;
mod view;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

pub use histogram::{BOUNDS, Histogram};
pub use ring::{Answers, MAX_WORDS, REASONS};
use ring::{Ring, Words};
pub use view::{Edge, GraphView, Seen, Service, Window, Windows};

/// The most edges that are kept apart; further ones are one edge from `other` to `other`.
pub const MAX_EDGES: usize = 4096;

/// The most services that are kept apart by what their own proxies say; further ones are `other`.
pub const MAX_SERVICES: usize = 1024;

/// The longest name that is kept, in bytes: that of a DNS name.
pub const MAX_NAME: usize = 253;

/// The name that stands for everything beyond a bound.
pub const OTHER: &str = "other";

/// What tells one edge from another: a caller and a version of what it calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeKey {
    /// The calling service.
    pub source: String,
    /// The namespace of the caller; empty when its proxy did not say.
    pub source_namespace: String,
    /// The called service, of which version.
    pub destination: ServiceKey,
}

/// What tells one service from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The name of the service.
    pub service: String,
    /// Its namespace; empty when the proxy did not say.
    pub namespace: String,
    /// The version of the workload that answered; empty when it has none.
    pub version: String,
}

/// The graph: rings of edges as callers see them, and of services as their own proxies see them.
#[derive(Debug)]
pub struct Graph {
    epoch: Instant,
    words: Words,
    edges: Rings<EdgeKey>,
    services: Rings<ServiceKey>,
}

impl Graph {
    /// An empty graph whose seconds are counted from `now`.
    pub fn new(now: Instant) -> Self {
        Graph { epoch: now, words: Words::default(), edges: Rings::new(MAX_EDGES), services: Rings::new(MAX_SERVICES) }
    }

    /// Counts requests of one edge, as the caller's proxy saw them.
    pub fn record_edge(&mut self, key: EdgeKey, answers: &Answers<'_>, now: Instant) {
        let at = self.since_epoch(now);
        self.edges.ring(key, at).record(answers, &mut self.words, at);
    }

    /// Counts requests to a service, as its own proxy saw them.
    pub fn record_service(&mut self, key: ServiceKey, answers: &Answers<'_>, now: Instant) {
        let at = self.since_epoch(now);
        self.services.ring(key, at).record(answers, &mut self.words, at);
    }

    /// Counts further attempts that the caller's proxy made on an edge, for one reason.
    pub fn record_retries(&mut self, key: EdgeKey, reason: &str, count: u64, now: Instant) {
        let at = self.since_epoch(now);
        self.edges.ring(key, at).record_retries(reason, count, &mut self.words, at);
    }

    /// Counts requests of one edge that a policy in Observe would have treated another way.
    pub fn record_edge_observed(&mut self, key: EdgeKey, what: &str, count: u64, now: Instant) {
        let at = self.since_epoch(now);
        self.edges.ring(key, at).record_observed(what, count, &mut self.words, at);
    }

    /// Counts requests to a service that a policy in Observe beside it would have treated another way.
    pub fn record_service_observed(&mut self, key: ServiceKey, what: &str, count: u64, now: Instant) {
        let at = self.since_epoch(now);
        self.services.ring(key, at).record_observed(what, count, &mut self.words, at);
    }

    /// The number of edges with traffic in the last minute, and of those that were folded into `other` since the start.
    pub fn edges(&self) -> (usize, u64) {
        (self.edges.rings.len(), self.edges.folded)
    }

    /// Forgets what had no traffic for a minute and answers with everything that had, sorted by name.
    pub fn view(&mut self, now: Instant) -> (Vec<Edge>, Vec<Service>) {
        let at = self.since_epoch(now);
        self.edges.expire(at);
        self.services.expire(at);
        view::view(&self.edges.rings, &self.services.rings, &self.words, at)
    }

    fn since_epoch(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }
}

/// Rings by key, bounded in number.
#[derive(Debug)]
struct Rings<K> {
    rings: HashMap<K, Ring>,
    limit: usize,
    folded: u64,
    expired_at: u64,
}

impl<K: Key> Rings<K> {
    fn new(limit: usize) -> Self {
        Rings { rings: HashMap::new(), limit, folded: 0, expired_at: 0 }
    }

    /// The ring of `key`, or that of `other` when there is no room for one more.
    fn ring(&mut self, key: K, at: Duration) -> &mut Ring {
        let mut key = key.shortened();
        // The last place is kept for `other`, so that the bound holds with it.
        let limit = self.limit;
        let full = |rings: &HashMap<K, Ring>| rings.len() + 1 >= limit;
        if full(&self.rings) && !self.rings.contains_key(&key) {
            // Looking for room costs a walk over everything: once a second is enough.
            if self.expired_at != at.as_secs() {
                self.expire(at);
            }
            if full(&self.rings) {
                self.folded += 1;
                key = K::other();
            }
        }
        self.rings.entry(key).or_insert_with(|| Ring::new(at))
    }

    fn expire(&mut self, at: Duration) {
        self.expired_at = at.as_secs();
        self.rings.retain(|_, ring| ring.expire(at));
    }
}

/// What a ring can be filed under.
trait Key: Eq + Hash {
    fn other() -> Self;
    fn shortened(self) -> Self;
}

impl Key for EdgeKey {
    fn other() -> Self {
        EdgeKey { source: OTHER.into(), source_namespace: String::new(), destination: ServiceKey::other() }
    }

    fn shortened(self) -> Self {
        EdgeKey {
            source: shortened(self.source),
            source_namespace: shortened(self.source_namespace),
            destination: self.destination.shortened(),
        }
    }
}

impl Key for ServiceKey {
    fn other() -> Self {
        ServiceKey { service: OTHER.into(), namespace: String::new(), version: String::new() }
    }

    fn shortened(self) -> Self {
        ServiceKey {
            service: shortened(self.service),
            namespace: shortened(self.namespace),
            version: shortened(self.version),
        }
    }
}

fn shortened(mut name: String) -> String {
    if name.len() > MAX_NAME {
        name.truncate(name.floor_char_boundary(MAX_NAME));
    }
    name
}

#[cfg(test)]
mod tests;
