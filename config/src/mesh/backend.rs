//! A service's port as a destination: its cluster and its endpoints.

use std::net::SocketAddr;

use super::effective::Held;
use super::host::display;
use super::index::Index;
use super::{name, subset};
use crate::cluster::{Cluster, Discovery, Protocol};
use crate::document::{BackendPolicy, Service, ServicePort};
use crate::endpoint::{Assignment, Endpoint};
use crate::name::ObjectName;
use crate::policy::health_check::{HealthCheck, Probe};
use crate::policy::{Limits, Mode, Origin, Outlier, Priority, Thresholds};

/// What every destination may be used for at once, watched and not enforced, until a policy says otherwise.
const WATCHED_LIMIT: Option<u32> = Some(1024);

/// The cluster of a service's port.
pub(super) fn cluster(index: &Index, name: &ObjectName, port: &ServicePort) -> Cluster {
    let resource = name::cluster(name, port);
    let mut cluster = Cluster::new(resource.clone(), Discovery::Eds(resource));
    cluster.service = Some(name.clone());
    cluster.host = display(name).into();
    cluster.protocol = port.protocol;
    let policies = index.backend_policy(name, port);
    (cluster.limits, cluster.rehearsed.limits) = limits(&policies);
    (cluster.outlier, cluster.rehearsed.outlier) = outlier(&policies);
    let (check, observed) = part(&policies, |policy| policy.health_check.clone(), |check| check.mode);
    cluster.health_check = check.map(|check| spoken(check, port.protocol));
    cluster.rehearsed.health_check = observed.map(|check| spoken(check, port.protocol));
    (cluster.admission, cluster.rehearsed.admission) =
        part(&policies, |policy| policy.admission.as_deref().cloned(), |admission| admission.mode);
    cluster.names_caller = index.service_limit(name, port).each().any(|known| known.spec.limit.asks_for_callers());
    let Some(policy) = policies.acting() else { return cluster };
    let balancing = &policy.load_balancing;
    cluster.balancing = balancing.balancing.unwrap_or(cluster.balancing);
    cluster.balance_factor = balancing.balance_factor;
    cluster.localities = balancing.localities;
    cluster.slow_start = balancing.slow_start;
    cluster.subsets.clone_from(&balancing.subsets);
    cluster.panic_threshold = balancing.panic_threshold.unwrap_or(cluster.panic_threshold);
    cluster.budget = policy.budget.unwrap_or(cluster.budget);
    cluster.connect_timeout = policy.connect_timeout.unwrap_or(cluster.connect_timeout);
    cluster.idle_timeout = policy.idle_timeout.or(cluster.idle_timeout);
    cluster
}

/// What acts, and what is observed: the policy in Observe, then a part in Observe of the one that acts, then the default.
fn limits(policies: &Held<'_, BackendPolicy>) -> (Option<Limits>, Option<Limits>) {
    let own = policies.acting().and_then(|policy| policy.limits.clone());
    let observed = policies.observed.and_then(|known| known.spec.limits.clone());
    match own {
        Some(acting) if acting.mode.enforces() => (Some(acting), observed),
        own => (observed.or(own).or_else(|| Some(default_limits())), None),
    }
}

/// The same of a part without a default.
fn part<P>(
    policies: &Held<'_, BackendPolicy>,
    part: impl Fn(&BackendPolicy) -> Option<P>,
    mode: impl Fn(&P) -> Mode,
) -> (Option<P>, Option<P>) {
    let own = policies.acting().and_then(&part);
    let observed = policies.observed.and_then(|known| part(&known.spec));
    match own {
        Some(acting) if mode(&acting).enforces() => (Some(acting), observed),
        own => (observed.or(own), None),
    }
}

/// The same; here the default acts, so that nothing observed puts it away.
fn outlier(policies: &Held<'_, BackendPolicy>) -> (Option<Outlier>, Option<Outlier>) {
    let own = policies.acting().and_then(|policy| policy.outlier.clone());
    let observed = policies.observed.and_then(|known| known.spec.outlier.clone());
    match own {
        Some(acting) if acting.enforces() => (Some(acting), observed),
        own => (Some(Outlier::with_defaults(Origin::default_policy())), observed.or(own)),
    }
}

/// The endpoints of a service's port: the workloads behind it that have a port of its name.
pub(super) fn assignment(index: &Index, name: &ObjectName, port: &ServicePort) -> Assignment {
    let keys = subset::keys(index, name, port);
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
            metadata: index.members.known(workload, &keys),
        })
    };
    let endpoints = index.members.workloads(name).iter().filter_map(endpoint).collect();
    let policies = index.backend_policy(name, port);
    let overprovisioning = policies.acting().and_then(|policy| policy.load_balancing.overprovisioning);
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
    let watched = Thresholds {
        max_connections: WATCHED_LIMIT,
        max_pending_requests: WATCHED_LIMIT,
        max_requests: WATCHED_LIMIT,
        max_retries: None,
    };
    let none = Limits { origin: Origin::default_policy(), mode: Mode::Observe, ..Limits::default() };
    none.with(Priority::Default, watched).with(Priority::High, watched)
}
