//! Where a request can go: addresses with weight, health and place (xDS `ClusterLoadAssignment`).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::Problem;
use crate::name::ClusterName;
use crate::subset::Metadata;

/// Whether an endpoint takes requests, as its source says (xDS `HealthStatus`). What the proxy finds out itself
/// (outlier detection) is kept beside this, not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// It takes requests (UNKNOWN and HEALTHY).
    #[default]
    Healthy,
    /// It finishes what it has and takes nothing new (DRAINING).
    Draining,
    /// It takes nothing (UNHEALTHY, TIMEOUT, DEGRADED).
    Unhealthy,
}

/// Where an endpoint stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// The region.
    pub region: Arc<str>,
    /// The zone inside the region.
    pub zone: Arc<str>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Its share among its neighbours, at least 1.
    pub weight: u32,
    /// Whether it takes requests.
    pub health: Health,
    /// Which group it belongs to: those of 0 are asked first, higher ones as far as the lower ones are not healthy.
    pub priority: u32,
    /// Where it stands.
    pub locality: Locality,
    /// The workload's name, for people; empty where unknown.
    pub workload: Arc<str>,
    /// The workload's version label; empty where it has none.
    pub version: Arc<str>,
    /// What subsets of the destination are made by, of all that is known of it; empty where there are none.
    pub metadata: Metadata,
}

impl Endpoint {
    /// A healthy one there, of which nothing else is known.
    pub fn at(address: SocketAddr) -> Self {
        Endpoint {
            address,
            weight: 1,
            health: Health::Healthy,
            priority: 0,
            locality: Locality::default(),
            workload: Arc::from(""),
            version: Arc::from(""),
            metadata: Metadata::new(),
        }
    }
}

/// How much of all requests the endpoints of one place get, where places are weighed against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalityWeight {
    /// The priority whose endpoints are meant.
    pub priority: u32,
    /// The place.
    pub locality: Locality,
    /// The weight; 0 gets nothing.
    pub weight: u32,
}

/// The endpoints of one cluster (an EDS resource), ordered by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name the cluster asks for.
    pub name: ClusterName,
    /// The endpoints, no address twice.
    pub endpoints: Vec<Endpoint>,
    /// How much of a group may be missing before the next one helps, in percent: with 140, a group bears all of its
    /// load as long as 100 of 140 parts of it are in (`policy.overprovisioning_factor`). At least 100.
    pub overprovisioning: u32,
    /// The places whose weight is not the sum of their endpoints' weights, ordered by priority and place
    /// (`LocalityLbEndpoints.load_balancing_weight`).
    pub weights: Vec<LocalityWeight>,
}

impl Assignment {
    /// The overprovisioning unless said otherwise: 140 %.
    pub const DEFAULT_OVERPROVISIONING: u32 = 140;

    /// The highest priority, as in xDS.
    pub const MAX_PRIORITY: u32 = 128;

    /// Orders the endpoints and refuses an address that is there twice or a weight of zero.
    pub fn try_new(name: ClusterName, mut endpoints: Vec<Endpoint>) -> Result<Self, Problem> {
        // By priority and locality first: xDS groups by them, so that decoding an encoded assignment gives the same
        // order.
        endpoints.sort_by(|a, b| (a.priority, &a.locality, a.address).cmp(&(b.priority, &b.locality, b.address)));
        let mut seen = std::collections::BTreeSet::new();
        for endpoint in &endpoints {
            if endpoint.weight == 0 {
                return Err(Problem::invalid(0, "must be at least 1").at_field("weight"));
            }
            if endpoint.priority > Self::MAX_PRIORITY {
                return Err(Problem::invalid(endpoint.priority, "must be at most 128").at_field("priority"));
            }
            if !seen.insert(endpoint.address) {
                return Err(Problem::invalid(endpoint.address, "is an endpoint twice").at_field("address"));
            }
        }
        Ok(Assignment { name, endpoints, overprovisioning: Self::DEFAULT_OVERPROVISIONING, weights: Vec::new() })
    }

    /// With these weights of places. Those that are the sum of their endpoints' say nothing, and those of places without
    /// endpoints mean nothing: both are left out.
    #[must_use]
    pub fn weighing(mut self, mut weights: Vec<LocalityWeight>) -> Self {
        let sum = |one: &LocalityWeight| self.sum(one.priority, &one.locality);
        weights.retain(|one| sum(one) > 0 && one.weight != sum(one));
        weights.sort_by(|a, b| (a.priority, &a.locality).cmp(&(b.priority, &b.locality)));
        self.weights = weights;
        self
    }

    /// The sum of the weights of the endpoints of a place.
    pub fn sum(&self, priority: u32, locality: &Locality) -> u32 {
        let own = self.endpoints.iter().filter(|one| one.priority == priority && one.locality == *locality);
        own.fold(0, |sum, one| sum.saturating_add(one.weight))
    }

    /// With another overprovisioning, in percent; less than 100 is 100.
    #[must_use]
    pub fn overprovisioned(mut self, percent: u32) -> Self {
        self.overprovisioning = percent.max(100);
        self
    }
}
