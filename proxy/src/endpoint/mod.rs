//! One address of a destination, with everything the proxy knows about it.
//!
//! An [`Endpoint`] outlives the configuration that named it: as long as the same workload answers at the same address,
//! new assignments reuse it, so that its load, its ejection and its connections go on. What its source may change in
//! the meantime, weight, health and labels, is therefore atomic; who it is never changes. Balancers read endpoints on every
//! request and write nothing.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use outrigger_config::endpoint::{Endpoint as Model, Health, Locality};
use outrigger_config::subset::Metadata;

use crate::limits::Limits;
use crate::pool::Pools;

pub mod check;
pub mod load;
pub mod orca;
pub mod outlier;
pub mod ramp;
pub mod reported;
pub mod token;

pub use check::{CheckState, Sick, Standing, Turn};
pub use load::{Latency, Load};
pub use outlier::{Cause, Outcome, OutlierState, Tally};
pub use ramp::Ramp;
pub use reported::Reported;
pub use token::Token;

/// One address of a destination.
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// The workload's name, for people; empty where unknown.
    pub workload: Arc<str>,
    /// The workload's version label; empty where it has none.
    pub version: Arc<str>,
    /// What sessions call it.
    pub token: Token,
    /// Where it stands.
    pub locality: Locality,
    /// How busy it is.
    pub load: Load,
    /// How it has been behaving.
    pub outlier: OutlierState,
    /// The same, as a policy sees it that is rehearsed beside the one that acts.
    pub rehearsal: OutlierState,
    /// What health checks found out.
    pub check: CheckState,
    /// The same by a policy that is rehearsed beside the one that acts.
    pub rehearsed_check: CheckState,
    /// What it reports of its load.
    pub reported: Reported,
    /// When it came.
    pub ramp: Ramp,
    /// How much of it is in use, where its destination limits that for each endpoint.
    pub limits: Arc<Limits>,
    /// The connections to it.
    pub pools: Pools,
    weight: AtomicU32,
    priority: AtomicU32,
    health: AtomicU8,
    metadata: ArcSwapOption<Metadata>,
}

impl Endpoint {
    /// An endpoint without history. `epoch` is the time its clocks count from.
    pub fn new(model: &Model, workers: usize, latency: Latency, epoch: Instant) -> Self {
        Endpoint {
            address: model.address,
            workload: Arc::clone(&model.workload),
            version: Arc::clone(&model.version),
            token: Token::of(model.address, &model.workload),
            locality: model.locality.clone(),
            load: Load::new(latency, epoch),
            outlier: OutlierState::new(epoch),
            rehearsal: OutlierState::new(epoch),
            check: CheckState::default(),
            rehearsed_check: CheckState::default(),
            reported: Reported::new(epoch),
            ramp: Ramp::new(epoch),
            limits: Arc::default(),
            pools: Pools::new(workers),
            weight: AtomicU32::new(model.weight),
            priority: AtomicU32::new(model.priority),
            health: AtomicU8::new(model.health as u8),
            metadata: ArcSwapOption::from(said(model)),
        }
    }

    /// Whether `model` speaks of this endpoint: another workload at the same address is another endpoint.
    pub fn is(&self, model: &Model) -> bool {
        self.address == model.address
            && self.workload == model.workload
            && self.version == model.version
            && self.locality == model.locality
    }

    /// Its share among its neighbours, at least 1. A balancer keeps the weights it was built with.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Which group it belongs to. A balancer keeps the groups it was built with.
    pub fn priority(&self) -> u32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Whether its source says that it takes requests.
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            value if value == Health::Healthy as u8 => Health::Healthy,
            value if value == Health::Draining as u8 => Health::Draining,
            _ => Health::Unhealthy,
        }
    }

    /// What subsets are made by; none where nothing is known. A balancer keeps the subsets it was built with.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        self.metadata.load_full()
    }

    /// Whether `model` says the same of it as before.
    pub fn is_known_as(&self, model: &Model) -> bool {
        match &*self.metadata.load() {
            Some(known) => **known == model.metadata,
            None => model.metadata.is_empty(),
        }
    }

    /// Whether it may be chosen: healthy by its source and its checks, and not left out.
    pub fn is_available(&self, now: Instant) -> bool {
        self.health() == Health::Healthy && !self.check.is_out() && self.outlier.admits(now)
    }

    /// Whether it bears its part of the load: it may be chosen, and not only as a probe.
    pub fn is_in(&self, now: Instant) -> bool {
        self.health() == Health::Healthy && !self.check.is_out() && !self.outlier.is_out(now)
    }

    /// What it is to the balancer, in a word.
    pub fn state(&self, now: Instant) -> &'static str {
        match self.health() {
            Health::Healthy if self.check.is_out() => match self.check.standing() {
                Some(Standing::New) => "unchecked",
                _ => "failing",
            },
            Health::Healthy if self.outlier.is_ejected(now) => "ejected",
            Health::Healthy if self.outlier.is_out(now) => "probing",
            Health::Healthy => "healthy",
            Health::Draining => "draining",
            Health::Unhealthy => "unhealthy",
        }
    }

    /// Takes over what its source may change. Relaxed: no other memory hangs on it, a request more or less on the old
    /// value is as good as one that came a moment earlier.
    pub fn update(&self, model: &Model) {
        self.weight.store(model.weight, Ordering::Relaxed);
        self.priority.store(model.priority, Ordering::Relaxed);
        self.health.store(model.health as u8, Ordering::Relaxed);
        if !self.is_known_as(model) {
            self.metadata.store(said(model));
        }
    }
}

fn said(model: &Model) -> Option<Arc<Metadata>> {
    (!model.metadata.is_empty()).then(|| Arc::new(model.metadata.clone()))
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("weight", &self.weight())
            .field("health", &self.health())
            .field("load", &self.load)
            .field("outlier", &self.outlier)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::endpoint::{Endpoint as Model, Health};

    use super::{Endpoint, Latency};

    fn model(health: Health) -> Model {
        Model {
            weight: 2,
            health,
            workload: "shop/catalog-1".into(),
            version: "v1".into(),
            ..Model::at(([127, 0, 0, 1], 80).into())
        }
    }

    #[test]
    fn only_a_healthy_endpoint_that_is_not_ejected_is_available() {
        let now = Instant::now();
        let endpoint = Endpoint::new(&model(Health::Healthy), 1, Latency::default(), now);
        assert!(endpoint.is_available(now));
        for health in [Health::Draining, Health::Unhealthy] {
            endpoint.update(&model(health));
            assert_eq!(endpoint.health(), health);
            assert!(!endpoint.is_available(now));
        }
        endpoint.update(&model(Health::Healthy));
        endpoint.outlier.eject(now, Duration::from_secs(30), 0);
        assert!(!endpoint.is_available(now + Duration::from_secs(29)));
        assert!(endpoint.is_available(now + Duration::from_secs(30)));
    }

    #[test]
    fn another_workload_at_the_same_address_is_another_endpoint() {
        let endpoint = Endpoint::new(&model(Health::Healthy), 1, Latency::default(), Instant::now());
        assert!(endpoint.is(&Model { weight: 9, ..model(Health::Draining) }));
        assert!(!endpoint.is(&Model { workload: "shop/catalog-2".into(), ..model(Health::Healthy) }));
        assert!(!endpoint.is(&Model { version: "v2".into(), ..model(Health::Healthy) }));
    }
}
