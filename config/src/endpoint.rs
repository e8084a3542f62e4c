//! Where a request can go: addresses with weight, health and place (xDS `ClusterLoadAssignment`).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::Problem;
use crate::name::ClusterName;

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
    /// Where it stands.
    pub locality: Locality,
    /// The workload's name, for people; empty where unknown.
    pub workload: Arc<str>,
    /// The workload's version label; empty where it has none.
    pub version: Arc<str>,
}

/// The endpoints of one cluster (an EDS resource), ordered by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name the cluster asks for.
    pub name: ClusterName,
    /// The endpoints, no address twice.
    pub endpoints: Vec<Endpoint>,
}

impl Assignment {
    /// Orders the endpoints and refuses an address that is there twice or a weight of zero.
    pub fn try_new(name: ClusterName, mut endpoints: Vec<Endpoint>) -> Result<Self, Problem> {
        // By locality first: xDS groups by it, so that decoding an encoded assignment gives the same order.
        endpoints.sort_by(|a, b| (&a.locality, a.address).cmp(&(&b.locality, b.address)));
        let mut seen = std::collections::BTreeSet::new();
        for endpoint in &endpoints {
            if endpoint.weight == 0 {
                return Err(Problem::invalid(0, "must be at least 1").at_field("weight"));
            }
            if !seen.insert(endpoint.address) {
                return Err(Problem::invalid(endpoint.address, "is an endpoint twice").at_field("address"));
            }
        }
        Ok(Assignment { name, endpoints })
    }
}
