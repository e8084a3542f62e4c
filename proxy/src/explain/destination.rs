//! A destination as it stands: its limits and budget, and its endpoints with what the balancer sees of them.

use std::time::{Duration, Instant};

use outrigger_config::cluster::Balancing;
use outrigger_config::policy::Priority;
use outrigger_config::record::{Destination, Endpoint, Gauge, Subset};

use super::millis;
use crate::cluster::{Admission, Ask, Cluster, Limit};

/// How many endpoints are told apart.
const MOST: usize = 16;

/// The endpoints that a request may go to, and how many more there are.
pub(super) fn endpoints(cluster: &Cluster, ask: Ask, now: Instant) -> (Vec<Endpoint>, usize) {
    let shown = |one: &std::sync::Arc<crate::endpoint::Endpoint>| Endpoint {
        address: one.address.to_string(),
        workload: one.workload.to_string(),
        state: one.state(now).to_owned(),
        check: one.check.failure().map(String::from),
        active: one.load.active(),
        latency_ms: one.load.latency(now).map(millis),
        weight: one.weight(),
        priority: one.priority(),
    };
    cluster.candidates(ask, |all| (all.iter().take(MOST).map(shown).collect(), all.len().saturating_sub(MOST)))
}

/// The destination, with the limits of the request's priority; `candidates` as they were noted while it was chosen, or else as they are.
pub(super) fn destination(
    (cluster, ask): (&Cluster, Ask),
    priority: Priority,
    candidates: Option<&(Duration, Vec<Endpoint>, usize)>,
    took: Duration,
    now: Instant,
) -> Destination {
    let (at, endpoints, more) = match candidates {
        Some((at, endpoints, more)) => (*at, endpoints.clone(), *more),
        None => {
            let (endpoints, more) = endpoints(cluster, ask, now);
            (took, endpoints, more)
        }
    };
    let gauge = |limit: Limit| {
        let limits = cluster.limits(priority);
        Some(Gauge { limit: limit.as_str().to_owned(), held: limits.held(limit), max: limits.max(limit)? })
    };
    Destination {
        name: cluster.label.to_string(),
        at_ms: millis(at),
        limits: Limit::ALL.into_iter().filter_map(gauge).collect(),
        retries: cluster.budget.active(),
        budget_left: cluster.budget.balance(now),
        given_up_percent: cluster.admission.as_ref().map_or(0.0, |admission| given_up(admission, now)),
        panic: cluster.is_panicking_for(ask),
        subset: cluster.tell(ask).map(|told| Subset {
            asked: told.asked,
            led: told.led,
            because: told.because.to_owned(),
        }),
        balancing: method(cluster.config.balancing).to_owned(),
        endpoints,
        more,
    }
}

/// Nothing where it only observes.
fn given_up(admission: &Admission, now: Instant) -> f64 {
    let share = if admission.model().mode.enforces() { admission.share(now) } else { 0.0 };
    (share * 1e3).round() / 10.0
}

fn method(balancing: Balancing) -> &'static str {
    match balancing {
        Balancing::RoundRobin => "round robin",
        Balancing::LeastRequest => "least request",
        Balancing::PeakEwma { .. } => "peak EWMA",
        Balancing::Random => "random",
        Balancing::RingHash { .. } => "ring hash",
        Balancing::Maglev { .. } => "maglev",
        Balancing::ClientSideWeightedRoundRobin(_) => "round robin by reported load",
    }
}
