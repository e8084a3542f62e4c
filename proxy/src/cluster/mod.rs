//! A destination as requests meet it: its endpoints, what it bears, and the history it keeps across configurations.
//!
//! Endpoints come and go often, so they sit behind a swap of their own and an assignment replaces nothing else. One
//! writer (discovery, or the compiler it calls) makes assignments; requests pick and report. A pick never fails while
//! an endpoint's source says that it is healthy: with all such endpoints ejected, ejections are ignored and counted
//! as panics.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_config::cluster::{Balancing, Cluster as Model};
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health};
use parking_lot::Mutex;

use crate::balance::Picker;
use crate::endpoint::{Endpoint, Latency};

pub mod budget;
pub mod ejection;
pub mod limits;
pub mod traffic;

pub use budget::{Budget, RetryPermit};
pub use ejection::{Ejected, Outcome};
pub use limits::{Acquired, Limit, Limits, Permit};
pub use traffic::Traffic;

/// What a cluster takes from the process it lives in.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How many workers there are.
    pub workers: usize,
    /// Where round robins begin.
    pub seed: u64,
    /// The time from which clocks count: when the cluster is made.
    pub now: Instant,
}

/// A destination.
#[derive(Debug)]
pub struct Cluster {
    /// How it was configured.
    pub config: Model,
    /// What it is called in metrics and spans: its host, or else its name.
    pub label: Arc<str>,
    /// How much of it is in use.
    pub limits: Arc<Limits>,
    /// How many retries it bears.
    pub budget: Arc<Budget>,
    /// What became of attempts at it.
    pub traffic: Arc<Traffic>,
    picker: ArcSwap<Picker>,
    setting: Setting,
    history: Arc<History>,
}

/// What a destination keeps across configurations, beside its endpoints, limits and budget.
#[derive(Debug)]
struct History {
    /// Held while an ejection is decided and while endpoints are exchanged, so that neither works on stale ones.
    governor: Mutex<Governor>,
    ejections: AtomicU64,
    would_eject: AtomicU64,
    overflows: AtomicU64,
    panics: AtomicU64,
}

#[derive(Debug)]
struct Governor {
    ejected: Vec<Arc<Endpoint>>,
    calmed: Instant,
}

impl History {
    fn new(now: Instant) -> Self {
        History {
            governor: Mutex::new(Governor { ejected: Vec::new(), calmed: now }),
            ejections: AtomicU64::new(0),
            would_eject: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }
}

impl Cluster {
    /// A destination with the endpoints of `assignment`, or those it had while there is none. What still holds of `previous`, the same destination until now, is taken
    /// over: endpoints by address, with their load, ejection and connections; what is in use of its limits; and its
    /// retry budget, unless that changed.
    pub fn new(config: Model, assignment: Option<&Assignment>, previous: Option<&Cluster>, setting: Setting) -> Self {
        let host = if config.host.is_empty() { config.name.as_str() } else { &config.host };
        let limits = previous.map(|cluster| Arc::clone(&cluster.limits)).unwrap_or_default();
        limits.tune(config.limits.as_ref());
        let budget = previous
            .filter(|cluster| *cluster.budget.model() == config.budget)
            .map_or_else(|| Arc::new(Budget::new(config.budget, setting.now)), |cluster| Arc::clone(&cluster.budget));
        let known = previous.map_or_else(Vec::new, |cluster| cluster.picker.load().endpoints().to_vec());
        let endpoints = match assignment {
            Some(assignment) => adopt(&known, &assignment.endpoints, latency(config.balancing), setting),
            None => known,
        };
        endpoints.iter().for_each(|endpoint| endpoint.load.tune(latency(config.balancing)));
        if !config.outlier.as_ref().is_some_and(|policy| policy.mode.enforces()) {
            // Without the policy nobody stays out by it.
            endpoints.iter().for_each(|endpoint| endpoint.outlier.restore());
        }
        let history =
            previous.map_or_else(|| Arc::new(History::new(setting.now)), |cluster| Arc::clone(&cluster.history));
        Cluster {
            label: host.into(),
            limits,
            budget,
            traffic: previous.map(|cluster| Arc::clone(&cluster.traffic)).unwrap_or_default(),
            picker: ArcSwap::from_pointee(Picker::new(config.balancing, endpoints, setting.seed)),
            setting,
            history,
            config,
        }
    }

    /// Chooses an endpoint. `hash` is the request's key for a ring hash. One of `avoid`, the endpoints that were tried
    /// before, is chosen only if there is no other: sooner an ejected one, which may be back, than one that has just
    /// failed. None only if no endpoint is healthy by its source.
    pub fn pick(
        &self,
        hash: Option<u64>,
        avoid: &[SocketAddr],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Arc<Endpoint>> {
        let picker = self.picker.load();
        let fresh = |endpoint: &Endpoint| !avoid.contains(&endpoint.address);
        if let Some(endpoint) = picker.pick(hash, now, rng, |one| one.is_available(now) && fresh(one)) {
            return Some(Arc::clone(endpoint));
        }
        let healthy = |endpoint: &Endpoint| endpoint.health() == Health::Healthy;
        if let Some(endpoint) = picker.pick(hash, now, rng, |one| healthy(one) && fresh(one)) {
            self.history.panics.fetch_add(1, Ordering::Relaxed);
            return Some(Arc::clone(endpoint));
        }
        picker.pick(hash, now, rng, healthy).map(Arc::clone)
    }

    /// Says how an attempt ended. Returns the ejection that follows, for whoever tells people.
    pub fn report(&self, endpoint: &Arc<Endpoint>, outcome: Outcome, now: Instant) -> Option<Ejected> {
        let policy = self.config.outlier.as_ref()?;
        match outcome {
            Outcome::Success => endpoint.outlier.succeed(),
            // What was under way when it was ejected says nothing new.
            Outcome::Failure if endpoint.outlier.is_ejected(now) => {}
            Outcome::Failure if endpoint.outlier.fail(policy.consecutive_errors) => {
                let mut governor = self.history.governor.lock();
                let picker = self.picker.load();
                if endpoint.outlier.is_ejected(now) || !ejection::may_eject(policy, picker.endpoints(), endpoint, now) {
                    self.history.overflows.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                let time = ejection::ejection_time(policy, endpoint.outlier.times());
                if policy.mode.enforces() {
                    endpoint.outlier.eject(now, time);
                    // Once, even if it failed anew before it was swept.
                    governor.ejected.retain(|other| !Arc::ptr_eq(other, endpoint));
                    governor.ejected.push(Arc::clone(endpoint));
                    self.history.ejections.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.history.would_eject.fetch_add(1, Ordering::Relaxed);
                }
                return Some(Ejected { endpoint: Arc::clone(endpoint), time, mode: policy.mode });
            }
            Outcome::Failure => {}
        }
        None
    }

    /// Returns the endpoints whose ejection ended since the last call, their failures forgiven, and shortens the next
    /// ejection of those that were calm for an interval. To be called about every second; balancers do not wait for it.
    pub fn sweep(&self, now: Instant) -> Vec<Arc<Endpoint>> {
        let mut governor = self.history.governor.lock();
        let back: Vec<_> = governor.ejected.extract_if(.., |endpoint| !endpoint.outlier.is_ejected(now)).collect();
        back.iter().for_each(|endpoint| endpoint.outlier.restore());
        let Some(policy) = &self.config.outlier else { return back };
        if now.saturating_duration_since(governor.calmed) >= policy.interval {
            governor.calmed = now;
            let picker = self.picker.load();
            picker.endpoints().iter().filter(|one| !one.outlier.is_ejected(now)).for_each(|one| one.outlier.calm());
        }
        back
    }

    /// Exchanges the endpoints, as EDS says. Those that stay keep their load, ejection and connections. True if
    /// [`Cluster::version`] changed, which routes take down when they are compiled.
    pub fn set_assignment(&self, assignment: &Assignment) -> bool {
        let before = self.version();
        self.exchange(assignment);
        self.version() != before
    }

    fn exchange(&self, assignment: &Assignment) {
        let old = self.picker.load_full();
        let stays = |(one, model): (&Arc<Endpoint>, &EndpointModel)| one.is(model) && one.weight() == model.weight;
        if old.endpoints().len() == assignment.endpoints.len()
            && old.endpoints().iter().zip(&assignment.endpoints).all(stays)
        {
            // Only health may differ, which needs no new picker.
            old.endpoints().iter().zip(&assignment.endpoints).for_each(|(one, model)| one.update(model));
            return;
        }
        let latency = latency(self.config.balancing);
        let endpoints = adopt(old.endpoints(), &assignment.endpoints, latency, self.setting);
        let picker = Arc::new(Picker::new(self.config.balancing, endpoints, self.setting.seed));
        let mut governor = self.history.governor.lock();
        governor.ejected.retain(|one| picker.endpoints().iter().any(|other| Arc::ptr_eq(one, other)));
        self.picker.store(picker);
    }

    /// The version of its endpoints, if they all have the same; else empty.
    pub fn version(&self) -> Arc<str> {
        let picker = self.picker.load();
        let mut versions = picker.endpoints().iter().map(|endpoint| &endpoint.version);
        let first = versions.next().map_or_else(|| "".into(), Arc::clone);
        if versions.all(|version| *version == first) { first } else { "".into() }
    }

    /// The endpoints as they are now, with the way to choose among them.
    pub fn picker(&self) -> Arc<Picker> {
        self.picker.load_full()
    }

    /// How often an endpoint was ejected.
    pub fn ejections(&self) -> u64 {
        self.history.ejections.load(Ordering::Relaxed)
    }

    /// How often an endpoint would have been ejected, were the policy enforced.
    pub fn would_eject(&self) -> u64 {
        self.history.would_eject.load(Ordering::Relaxed)
    }

    /// How often an endpoint failed often enough and stayed, because too many were out already.
    pub fn ejection_overflows(&self) -> u64 {
        self.history.overflows.load(Ordering::Relaxed)
    }

    /// How often an ejected endpoint was picked because there was no other.
    pub fn panics(&self) -> u64 {
        self.history.panics.load(Ordering::Relaxed)
    }
}

fn latency(balancing: Balancing) -> Latency {
    match balancing {
        Balancing::PeakEwma { decay, default_rtt } => Latency { default: default_rtt, decay },
        _ => Latency::default(),
    }
}

/// The endpoints of an assignment, known ones with their history.
fn adopt(known: &[Arc<Endpoint>], models: &[EndpointModel], latency: Latency, setting: Setting) -> Vec<Arc<Endpoint>> {
    let mut by_address: HashMap<SocketAddr, &Arc<Endpoint>> =
        known.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
    let endpoint = |model: &EndpointModel| match by_address.remove(&model.address).filter(|known| known.is(model)) {
        Some(known) => {
            known.update(model);
            Arc::clone(known)
        }
        None => Arc::new(Endpoint::new(model, setting.workers, latency, setting.now)),
    };
    models.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests;
