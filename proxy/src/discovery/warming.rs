//! What of the accepted may serve: nothing that leads somewhere that is not there yet (make before break, seen from the
//! receiving side).
//!
//! - A cluster waits for its endpoints, a listener for its table, for at most [`PATIENCE`]; what was there before goes
//!   on serving in its place.
//! - A table waits for clusters that are not even announced, for at most [`GAP`]: then requests for them get
//!   `destination_unavailable`, and the rest of the table is not held up for it again.
//! - A cluster that was taken away stays for as long as a table leads to it, at most [`FAREWELL`].
//!
//! The clock is time *with* the control plane: while there is no stream nothing can come, and nothing is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outrigger_config::cluster::{Cluster, Discovery};
use outrigger_config::listener::{Listener, TableSource};
use outrigger_config::name::{ClusterName, ResourceName};
use outrigger_config::resource::ResourceType;
use outrigger_config::route::RouteTable;

use crate::discovery::accepted::Accepted;
use crate::snapshot::ResourceSet;

/// How long something waits for a resource it asked for by name.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How long a table waits for clusters that nobody announced.
pub const GAP: Duration = Duration::from_secs(2);
/// How long a cluster stays that was taken away while a table leads to it.
pub const FAREWELL: Duration = Duration::from_secs(30);

/// What serves, and what is waited for.
#[derive(Debug, Default)]
pub struct Warming {
    serving: ResourceSet,
    waits: BTreeMap<Wait, Duration>,
    begun: bool,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    /// A resource that was asked for by name.
    Named(ResourceType, ResourceName),
    /// A cluster that a table leads to and nobody announced.
    Unannounced(ClusterName),
    /// The end of a cluster that was taken away.
    Leaving(ClusterName),
}

impl Wait {
    fn limit(&self) -> Duration {
        match self {
            Wait::Named(..) => PATIENCE,
            Wait::Unannounced(_) => GAP,
            Wait::Leaving(_) => FAREWELL,
        }
    }
}

/// One look at what is accepted.
struct Look<'a> {
    accepted: &'a Accepted,
    old: &'a ResourceSet,
    before: &'a BTreeMap<Wait, Duration>,
    clock: Duration,
    waits: BTreeMap<Wait, Duration>,
}

impl Warming {
    /// What is to serve from now on, if that is another set than before. `clock` is the time with the control plane.
    /// Nothing serves before listeners and clusters were heard of and nothing more is waited for.
    pub fn advance(&mut self, accepted: &Accepted, clock: Duration) -> Option<ResourceSet> {
        let look = Look { accepted, old: &self.serving, before: &self.waits, clock, waits: BTreeMap::new() };
        let (next, waits) = look.compose();
        self.waits = waits;
        if !self.begun {
            let heard =
                [ResourceType::Listener, ResourceType::Cluster].into_iter().all(|kind| accepted.has_answered(kind));
            if !heard || self.is_waiting(clock) {
                return None;
            }
        }
        if self.begun && next == self.serving {
            return None;
        }
        self.begun = true;
        self.serving = next.clone();
        Some(next)
    }

    /// An assignment changed inside what serves: no new set is needed, only this.
    pub fn note_assignment(&mut self, accepted: &Accepted, name: &ClusterName) {
        if let Some(assignment) = accepted.set().assignments.get(name) {
            self.serving.assignments.insert(name.clone(), assignment.clone());
        }
    }

    /// What serves.
    pub fn serving(&self) -> &ResourceSet {
        &self.serving
    }

    /// What is waited for, as `RDS outbound/shop`.
    pub fn waiting(&self, clock: Duration) -> Vec<String> {
        let open = self.waits.iter().filter(|(wait, since)| clock < **since + wait.limit());
        let text = |(wait, _): (&Wait, &Duration)| match wait {
            Wait::Named(kind, name) => Some(format!("{} {name}", kind.short())),
            Wait::Unannounced(name) => Some(format!("CDS {name}")),
            Wait::Leaving(_) => None,
        };
        open.filter_map(text).collect()
    }

    /// When [`Warming::advance`] is to be asked again if nothing else happens.
    pub fn next(&self, clock: Duration) -> Option<Duration> {
        self.waits.iter().map(|(wait, since)| *since + wait.limit()).filter(|at| *at > clock).min()
    }

    fn is_waiting(&self, clock: Duration) -> bool {
        let holds = |wait: &Wait| !matches!(wait, Wait::Leaving(_));
        self.waits.iter().any(|(wait, since)| holds(wait) && clock < *since + wait.limit())
    }
}

impl Look<'_> {
    fn compose(mut self) -> (ResourceSet, BTreeMap<Wait, Duration>) {
        let accepted = self.accepted.set();
        let mut next = ResourceSet { assignments: accepted.assignments.clone(), ..ResourceSet::default() };
        for (name, cluster) in &accepted.clusters {
            let ready = self.is_warm(cluster);
            let chosen = if ready { Some(cluster) } else { self.old.clusters.get(name) };
            if let Some(chosen) = chosen {
                next.clusters.insert(name.clone(), chosen.clone());
            }
        }
        for (name, table) in &accepted.tables {
            let chosen = if self.is_led(table, &next) { Some(table) } else { self.old.tables.get(name) };
            if let Some(chosen) = chosen {
                next.tables.insert(name.clone(), chosen.clone());
            }
        }
        for (name, listener) in &accepted.listeners {
            let chosen = if self.is_routed(listener, &next) { Some(listener) } else { self.old.listeners.get(name) };
            if let Some(chosen) = chosen {
                next.listeners.insert(name.clone(), chosen.clone());
            }
        }
        self.keep_what_is_used(&mut next);
        (next, self.waits)
    }

    /// Whether there is nothing to wait for, or no more patience.
    fn over(&mut self, wait: Wait) -> bool {
        let since = self.before.get(&wait).copied().unwrap_or(self.clock);
        let over = self.clock >= since + wait.limit();
        self.waits.insert(wait, since);
        over
    }

    fn is_warm(&mut self, cluster: &Cluster) -> bool {
        let Discovery::Eds(name) = &cluster.discovery else { return true };
        let kind = ResourceType::Assignment;
        self.accepted.set().assignments.contains_key(name)
            || self.accepted.is_absent(kind, name)
            || self.over(Wait::Named(kind, name.clone()))
    }

    fn is_led(&mut self, table: &RouteTable, next: &ResourceSet) -> bool {
        let mut led = true;
        for name in destinations(table) {
            // One that is announced is warm, or has an older self, or is waited for already; one that was taken away
            // says farewell.
            let warm = next.clusters.contains_key(name) || self.old.clusters.contains_key(name);
            let announced = self.accepted.set().clusters.contains_key(name);
            led &= warm || !announced && self.over(Wait::Unannounced(name.clone()));
        }
        led
    }

    fn is_routed(&mut self, listener: &Listener, next: &ResourceSet) -> bool {
        match &listener.table {
            TableSource::Rds(name) if next.tables.contains_key(name) => true,
            // A table that came and itself waits has a limit of its own.
            TableSource::Rds(name) if self.accepted.set().tables.contains_key(name) => false,
            TableSource::Rds(name) => {
                self.accepted.is_absent(ResourceType::Table, name)
                    || self.over(Wait::Named(ResourceType::Table, name.clone()))
            }
            TableSource::Inline(table) => self.is_led(table, next),
        }
    }

    /// Keeps tables that listeners still lead to, and for a while clusters that tables still lead to.
    fn keep_what_is_used(&mut self, next: &mut ResourceSet) {
        for listener in next.listeners.values() {
            if let TableSource::Rds(name) = &listener.table
                && let Some(old) = self.old.tables.get(name)
            {
                next.tables.entry(name.clone()).or_insert_with(|| old.clone());
            }
        }
        let inline = next.listeners.values().filter_map(|listener| match &listener.table {
            TableSource::Inline(table) => Some(table),
            TableSource::Rds(_) => None,
        });
        let used: BTreeSet<ClusterName> = next.tables.values().chain(inline).flat_map(destinations).cloned().collect();
        for name in used {
            if !next.clusters.contains_key(&name)
                && let Some(old) = self.old.clusters.get(&name)
                && !self.over(Wait::Leaving(name.clone()))
            {
                next.clusters.insert(name, old.clone());
            }
        }
        for cluster in next.clusters.values() {
            if let Discovery::Eds(name) = &cluster.discovery
                && let Some(old) = self.old.assignments.get(name)
            {
                next.assignments.entry(name.clone()).or_insert_with(|| old.clone());
            }
        }
    }
}

fn destinations(table: &RouteTable) -> impl Iterator<Item = &ClusterName> {
    let routes = table.hosts.iter().flat_map(|host| &host.routes);
    routes.flat_map(|route| {
        let mirrors = route.mirrors.iter().map(|mirror| &mirror.cluster);
        route.backends.iter().map(|backend| &backend.cluster).chain(mirrors)
    })
}
