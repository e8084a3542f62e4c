//! What was received and is good, by type and name, kept across streams: the last good word of the control plane.
//!
//! Responses enter as [`Incoming`] resources ([`Accepted::take`]); what is valid is kept, what is not is named with the
//! field and the reason and leaves the last good one of its name in place (gRFC A46), so that one bad resource never
//! takes its siblings along. What listeners and clusters ask for in turn is read off here ([`Accepted::names`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_config::cluster::Discovery;
use outrigger_config::error::Problem;
use outrigger_config::listener::TableSource;
use outrigger_config::name::ResourceName;
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::xds;
use prost::Message;

use crate::snapshot::ResourceSet;

/// How many resources of one type are taken; beyond it a response is refused.
pub const MAX_RESOURCES: usize = 65_536;

/// A resource as it came, out of whatever it was wrapped in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its name, if the response says one beside it.
    pub name: String,
    /// Its version; over SotW the response's.
    pub version: String,
    /// The type it says it is.
    pub type_url: String,
    /// Its bytes; none for a heartbeat, which only extends the time to live.
    pub value: Option<Bytes>,
    /// How long it holds without being heard of again.
    pub ttl: Option<Duration>,
}

/// What a response changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether a listener, table or cluster is new, different or gone.
    pub structure: bool,
    /// The assignments that are new, different or gone.
    pub assignments: BTreeSet<ResourceName>,
}

impl Change {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        !self.structure && self.assignments.is_empty()
    }

    /// Adds what else changed.
    pub fn add(&mut self, other: Change) {
        self.structure |= other.structure;
        self.assignments.extend(other.assignments);
    }
}

/// What is accepted.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    set: ResourceSet,
    known: BTreeMap<ResourceType, BTreeMap<ResourceName, Known>>,
    /// The types of which at least one response came.
    answered: BTreeSet<ResourceType>,
    /// What the control plane said does not exist.
    absent: BTreeSet<(ResourceType, ResourceName)>,
}

#[derive(Clone, Debug)]
struct Known {
    version: String,
    expires: Option<Instant>,
}

impl Accepted {
    /// What is accepted.
    pub fn set(&self) -> &ResourceSet {
        &self.set
    }

    /// Whether a response of the type ever came.
    pub fn has_answered(&self, kind: ResourceType) -> bool {
        self.answered.contains(&kind)
    }

    /// Whether the control plane said that a resource does not exist.
    pub fn is_absent(&self, kind: ResourceType, name: &ResourceName) -> bool {
        self.absent.contains(&(kind, name.clone()))
    }

    /// How many resources of a type there are.
    pub fn count(&self, kind: ResourceType) -> usize {
        self.known.get(&kind).map_or(0, BTreeMap::len)
    }

    /// The versions of a type's resources, by name, as the first request of a delta stream says them.
    pub fn versions(&self, kind: ResourceType) -> BTreeMap<String, String> {
        let known = self.known.get(&kind).into_iter().flatten();
        known.map(|(name, known)| (name.to_string(), known.version.clone())).collect()
    }

    /// What is to be asked for by name: tables for listeners, assignments for clusters.
    pub fn names(&self, kind: ResourceType) -> BTreeSet<ResourceName> {
        match kind {
            ResourceType::Table => {
                let table = |source: &TableSource| match source {
                    TableSource::Rds(name) => Some(name.clone()),
                    TableSource::Inline(_) => None,
                };
                self.set.listeners.values().filter_map(|listener| table(&listener.table)).collect()
            }
            ResourceType::Assignment => {
                let assignment = |discovery: &Discovery| match discovery {
                    Discovery::Eds(name) => Some(name.clone()),
                    Discovery::Static(_) => None,
                };
                self.set.clusters.values().filter_map(|cluster| assignment(&cluster.discovery)).collect()
            }
            ResourceType::Listener | ResourceType::Cluster => BTreeSet::new(),
        }
    }

    /// Takes what came of a type. `complete`: what is not in it is gone (SotW, listeners and clusters). Of the types
    /// that are asked for by name, what nobody asks for is passed over. What is wrong is returned, and nothing else is
    /// affected by it.
    pub fn take(
        &mut self,
        kind: ResourceType,
        incoming: Vec<Incoming>,
        removed: &[String],
        complete: bool,
        now: Instant,
    ) -> (Change, Vec<Problem>) {
        self.answered.insert(kind);
        let (mut change, mut problems) = (Change::default(), Vec::new());
        if incoming.len() > MAX_RESOURCES {
            problems.push(Problem::invalid(incoming.len(), format!("must be at most {MAX_RESOURCES} resources")));
            return (change, problems);
        }
        let wanted = matches!(kind, ResourceType::Table | ResourceType::Assignment).then(|| self.names(kind));
        let mut seen = BTreeSet::new();
        // Nothing may be taken for gone because its name could not be read.
        let mut nameless = false;
        for one in incoming {
            let name = match named(&one) {
                Ok(name) => name,
                Err(problem) => {
                    nameless = true;
                    problems.push(problem);
                    continue;
                }
            };
            if !seen.insert(name.clone()) {
                problems.push(of(kind, &name, Problem::invalid(&name, "must be there once in a response")));
                continue;
            }
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&name)) {
                continue;
            }
            match self.keep(kind, &name, one, now) {
                Ok(true) => note(&mut change, kind, name),
                Ok(false) => {}
                Err(problem) => problems.push(of(kind, &name, problem)),
            }
        }
        for name in removed.iter().filter_map(|name| ResourceName::try_new(name).ok()) {
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(&name)) && !seen.contains(&name) {
                self.absent.insert((kind, name.clone()));
                self.forget_known(&mut change, kind, &name);
            }
        }
        if complete && !nameless {
            let known = self.known.get(&kind).into_iter().flatten().map(|(name, _)| name);
            for name in known.filter(|name| !seen.contains(*name)).cloned().collect::<Vec<_>>() {
                self.forget_known(&mut change, kind, &name);
            }
        }
        (change, problems)
    }

    /// Drops what nobody asks for any more.
    pub fn tidy(&mut self) -> Change {
        let mut change = Change::default();
        for kind in [ResourceType::Table, ResourceType::Assignment] {
            let wanted = self.names(kind);
            self.absent.retain(|(other, name)| *other != kind || wanted.contains(name));
            let known = self.known.get(&kind).into_iter().flatten().map(|(name, _)| name);
            let held: Vec<&ResourceName> = match kind {
                ResourceType::Table => self.set.tables.keys().chain(known).collect(),
                _ => self.set.assignments.keys().chain(known).collect(),
            };
            let gone: BTreeSet<_> = held.into_iter().filter(|name| !wanted.contains(*name)).cloned().collect();
            for name in gone {
                self.known.entry(kind).or_default().remove(&name);
                self.set.remove(kind, &name);
                note(&mut change, kind, name);
            }
        }
        change
    }

    /// Drops what was not heard of within its time to live.
    pub fn expire(&mut self, now: Instant) -> Change {
        let mut change = Change::default();
        for kind in ResourceType::ALL {
            let known = self.known.get(&kind).into_iter().flatten();
            let old = known.filter(|(_, known)| known.expires.is_some_and(|at| at <= now));
            for name in old.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                tracing::warn!(resource = %name, kind = kind.short(), "Dropped: its time to live is over");
                self.forget_known(&mut change, kind, &name);
            }
        }
        change
    }

    /// When the next resource's time to live is over.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.known.values().flat_map(BTreeMap::values).filter_map(|known| known.expires).min()
    }

    /// True if something changed by it.
    fn keep(&mut self, kind: ResourceType, name: &ResourceName, one: Incoming, now: Instant) -> Result<bool, Problem> {
        let expires = one.ttl.map(|ttl| now + ttl);
        let Some(value) = one.value else {
            if let Some(known) = self.known.get_mut(&kind).and_then(|known| known.get_mut(name)) {
                known.expires = expires;
            }
            return Ok(false);
        };
        if one.type_url != kind.type_url() {
            return Err(Problem::invalid(&one.type_url, format!("must be {}", kind.type_url())));
        }
        let resource = xds::decode(kind, &value)?;
        if resource.name() != name {
            return Err(Problem::invalid(resource.name(), format!("must be the name it is sent under, {name}")));
        }
        self.absent.remove(&(kind, name.clone()));
        let known = Known { version: one.version, expires };
        self.known.entry(kind).or_default().insert(name.clone(), known);
        let same = match &resource {
            Resource::Listener(one) => self.set.listeners.get(name) == Some(one),
            Resource::Table(one) => self.set.tables.get(name) == Some(one),
            Resource::Cluster(one) => self.set.clusters.get(name) == Some(one),
            Resource::Assignment(one) => self.set.assignments.get(name) == Some(one),
            // Nothing for a proxy to listen on.
            Resource::ApiListener(_) => true,
        };
        if !same {
            self.set.insert(resource);
        }
        Ok(!same)
    }

    /// Takes something out that the control plane took away. Tables and endpoints stay for as long as something asks for
    /// them: it is the listener, or the cluster, that says that they are not needed.
    fn forget_known(&mut self, change: &mut Change, kind: ResourceType, name: &ResourceName) {
        let was_known = self.known.get_mut(&kind).is_some_and(|known| known.remove(name).is_some());
        if was_known && matches!(kind, ResourceType::Listener | ResourceType::Cluster) {
            self.set.remove(kind, name);
            note(change, kind, name.clone());
        }
    }
}

fn note(change: &mut Change, kind: ResourceType, name: ResourceName) {
    match kind {
        ResourceType::Assignment => drop(change.assignments.insert(name)),
        _ => change.structure = true,
    }
}

/// The problem with the resource it is of.
fn of(kind: ResourceType, name: &ResourceName, mut problem: Problem) -> Problem {
    problem.object = format!("{} {name}", kind.short());
    problem
}

/// The first field of each of the four types is its name: so that a resource that is wrong can be named.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

fn named(one: &Incoming) -> Result<ResourceName, Problem> {
    if !one.name.is_empty() {
        return ResourceName::try_new(&one.name);
    }
    let read = one.value.as_ref().map(|value| Named::decode(value.clone()));
    match read {
        Some(Ok(named)) => ResourceName::try_new(&named.name).map_err(|problem| problem.at_field("name")),
        Some(Err(error)) => {
            let length = one.value.as_ref().map_or(0, Bytes::len);
            Err(Problem::invalid(format!("{length} bytes"), format!("cannot be read: {error}")))
        }
        None => Err(Problem::invalid("", "a heartbeat must name its resource")),
    }
}
