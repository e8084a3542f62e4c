//! A service's port as a destination: its cluster and its endpoints.

use std::net::SocketAddr;

use super::host::display;
use super::index::Index;
use super::name;
use crate::cluster::{Cluster, Discovery, Protocol};
use crate::document::{Service, ServicePort};
use crate::endpoint::{Assignment, Endpoint};
use crate::name::ObjectName;
use crate::policy::health_check::{HealthCheck, Probe};
use crate::policy::{Limits, Mode, Origin, Outlier};

/// What every destination may be used for at once, watched and not enforced, until a policy says otherwise.
const WATCHED_LIMIT: Option<u32> = Some(1024);

/// The cluster of a service's port.
pub(super) fn cluster(index: &Index, name: &ObjectName, port: &ServicePort) -> Cluster {
    let resource = name::cluster(name, port);
    let mut cluster = Cluster::new(resource.clone(), Discovery::Eds(resource));
    cluster.service = Some(name.clone());
    cluster.host = display(name).into();
    cluster.protocol = port.protocol;
    cluster.limits = Some(default_limits());
    cluster.outlier = Some(Outlier::with_defaults(Origin::default_policy()));
    let Some(policy) = index.backend_policy(name, port).map(|known| &known.spec) else { return cluster };
    let balancing = &policy.load_balancing;
    cluster.balancing = balancing.balancing.unwrap_or(cluster.balancing);
    cluster.balance_factor = balancing.balance_factor;
    cluster.localities = balancing.localities;
    cluster.slow_start = balancing.slow_start;
    cluster.panic_threshold = balancing.panic_threshold.unwrap_or(cluster.panic_threshold);
    cluster.limits = policy.limits.clone().or(cluster.limits);
    cluster.outlier = policy.outlier.clone().or(cluster.outlier);
    cluster.health_check = policy.health_check.clone().map(|check| spoken(check, port.protocol));
    cluster.budget = policy.budget.unwrap_or(cluster.budget);
    cluster.connect_timeout = policy.connect_timeout.unwrap_or(cluster.connect_timeout);
    cluster.idle_timeout = policy.idle_timeout.or(cluster.idle_timeout);
    cluster
}

/// The endpoints of a service's port: the workloads behind it that have a port of its name.
pub(super) fn assignment(index: &Index, name: &ObjectName, port: &ServicePort) -> Assignment {
    let endpoint = |workload: &ObjectName| {
        let known = &index.workloads.get(workload)?.spec;
        Some(Endpoint {
            address: SocketAddr::new(known.address, known.port_named(&port.name)?.port),
            weight: known.weight,
            health: known.health,
            priority: known.priority,
            locality: known.locality.clone(),
            workload: workload.name().into(),
            version: index.members.version(workload),
        })
    };
    let endpoints = index.members.workloads(name).iter().filter_map(endpoint).collect();
    let policy = index.backend_policy(name, port).map(|known| &known.spec.load_balancing);
    let overprovisioning = policy.and_then(|policy| policy.overprovisioning);
    Assignment::try_new(name::cluster(name, port), endpoints)
        .expect("no two workloads have one address, by `socket`")
        .overprovisioned(overprovisioning.unwrap_or(Assignment::DEFAULT_OVERPROVISIONING))
}

/// The ports of a service that a workload behind it has.
pub(super) fn served<'a>(index: &Index, service: &'a Service, workload: &ObjectName) -> Vec<&'a ServicePort> {
    let has = |port: &&ServicePort| {
        index.workloads.get(workload).is_some_and(|known| known.spec.port_named(&port.name).is_some())
    };
    service.ports.iter().filter(has).collect()
}

/// A port that speaks HTTP/2 alone is asked in it; what another port speaks nobody says, and HTTP/1.1 is the usual.
fn spoken(mut check: HealthCheck, protocol: Protocol) -> HealthCheck {
    if let Probe::Http(probe) = &mut check.probe {
        probe.http2 = check.port.is_none() && protocol == Protocol::Http2;
    }
    check
}

fn default_limits() -> Limits {
    Limits {
        origin: Origin::default_policy(),
        mode: Mode::Observe,
        max_connections: WATCHED_LIMIT,
        max_pending_requests: WATCHED_LIMIT,
        max_requests: WATCHED_LIMIT,
        ..Limits::default()
    }
}
