//! One consistent configuration, compiled, and the place where the current one is found.
//!
//! Every request is served by exactly one [`Snapshot`]: it is loaded once, at the route match, and its number goes into
//! the span. Whoever accepts configuration (discovery, or the start in static mode) is the only writer: it keeps what is
//! accepted in a [`ResourceSet`], compiles it against the snapshot before, and stores the outcome. Endpoints alone come
//! and go inside their cluster, without a new snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use outrigger_config::listener::Listener;
use outrigger_config::name::{ClusterName, ListenerName, TableName};

use crate::circuit::Circuit;
use crate::cluster::Cluster;
use crate::gradient::{Gradient, Gradients};
use crate::rls::Asking;
use crate::route::hash::FastMap;
use crate::route::leased::Leased;
use crate::route::pace::Pace;
use crate::route::{Bucket, Table};

pub mod compile;
pub mod resources;

pub use compile::{Context, compile};
pub use resources::ResourceSet;

/// One configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// How many came before it in this process; 0 is the empty one at the start.
    pub number: u64,
    /// Where the proxy listens, in the order of names. One that did not change is the same `Arc` as before.
    pub listeners: Vec<Arc<Listener>>,
    serving: FastMap<ListenerName, Arc<Table>>,
    gradients: FastMap<ListenerName, Arc<Gradients>>,
    asking: FastMap<ListenerName, Arc<[Asking]>>,
    tables: BTreeMap<TableName, Arc<Table>>,
    clusters: BTreeMap<ClusterName, Arc<Cluster>>,
    buckets: HashMap<compile::BucketKey, Arc<Bucket>>,
    paces: HashMap<compile::PaceKey, Arc<Pace>>,
    /// Whether there is anybody to ask about global rules, by policy.
    circuits: HashMap<Arc<str>, Arc<Circuit>>,
}

impl Snapshot {
    /// The table that a listener serves by; none if there is no such listener, or its table has not come yet.
    pub fn table_for(&self, listener: &ListenerName) -> Option<&Arc<Table>> {
        self.serving.get(listener)
    }

    /// How many requests at once a listener lets in, where that follows what is behind it.
    pub fn gradients_for(&self, listener: &ListenerName) -> Option<&Arc<Gradients>> {
        if self.gradients.is_empty() { None } else { self.gradients.get(listener) }
    }

    /// Who is asked whether a listener's requests are within their limits, where another control plane says so.
    pub fn asking_for(&self, listener: &ListenerName) -> Option<&Arc<[Asking]>> {
        self.asking.get(listener)
    }

    /// All limits that follow what is behind a listener, in no order.
    pub fn gradients(&self) -> impl Iterator<Item = (&ListenerName, &Arc<Gradient>)> {
        self.gradients.iter().flat_map(|(name, both)| {
            [Some(&both.own), both.beside.as_ref()].into_iter().flatten().map(move |one| (name, one))
        })
    }

    /// Every table that has a name of its own, in the order of names.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// Every destination, in the order of names.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    /// Rate limit rules with a bucket for each key: the policy, the rule, how many keys it knows and how many it forgot.
    pub fn keyed(&self) -> impl Iterator<Item = (&str, &str, usize, u64)> {
        self.buckets.iter().filter_map(|(key, bucket)| {
            let (known, forgotten) = bucket.keys()?;
            Some((&*key.policy, &*key.rule, known, forgotten))
        })
    }

    /// Rules whose limit is divided among proxies: the policy, the rule, and what this one has of it.
    pub fn leased(&self) -> impl Iterator<Item = (&str, &str, &Bucket, &Leased)> {
        // Who divides them knows policies by their name alone.
        self.buckets.iter().filter_map(|(key, bucket)| {
            let policy = key.policy.rsplit(' ').next().unwrap_or_default();
            Some((policy, &*key.rule, &**bucket, bucket.leased()?))
        })
    }

    /// A destination by its name. Not for the request path, where each route holds its own.
    pub fn cluster(&self, name: &ClusterName) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }
}

/// Where the current snapshot is found; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Snapshots(Arc<ArcSwap<Snapshot>>);

impl Snapshots {
    /// With the empty snapshot.
    pub fn new() -> Self {
        Snapshots::default()
    }

    /// The current one, for a moment: not to be kept across an await.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The current one, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Makes `snapshot` the current one. Requests that began go on with theirs.
    pub fn store(&self, snapshot: Arc<Snapshot>) {
        self.0.store(snapshot);
    }
}

#[cfg(test)]
mod tests;
