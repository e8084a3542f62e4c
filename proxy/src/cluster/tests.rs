//! The cluster as requests and assignments meet it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery};
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health};
use outrigger_config::name::ClusterName;
use outrigger_config::policy::{Mode, Origin, Outlier};
use outrigger_config::value::Percent;

use super::{Cause, Change, Cluster, Ejected, Outcome, Report, Setting};
use crate::endpoint::Endpoint;

mod picking;
mod ejection;
mod history;
mod limits;

const SECOND: Duration = Duration::from_secs(1);

fn name() -> ClusterName {
    ClusterName::try_new("shop/catalog/http").expect("a name")
}

fn address(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8], 80).into()
}

fn assignment(health: &[Health]) -> Assignment {
    let endpoint = |(index, health): (usize, &Health)| EndpointModel {
        health: *health,
        version: "v1".into(),
        ..EndpointModel::at(address(index))
    };
    Assignment::try_new(name(), health.iter().enumerate().map(endpoint).collect()).expect("an assignment")
}

fn healthy(count: usize) -> Assignment {
    assignment(&vec![Health::Healthy; count])
}

fn outlier(mode: Mode, percent: f64) -> Option<Outlier> {
    let max_percent = Percent::try_new(percent).expect("a percentage");
    Some(Outlier { mode, max_percent, consecutive_errors: Some(2), ..Outlier::with_defaults(Origin::default()) })
}

fn model(outlier: Option<Outlier>) -> Model {
    Model { balancing: Balancing::RoundRobin, outlier, ..Model::new(name(), Discovery::Eds(name())) }
}

fn cluster(model: Model, assignment: &Assignment, now: Instant) -> Cluster {
    Cluster::new(model, Some(assignment), None, Setting { workers: 1, seed: 0, now })
}

fn endpoint(cluster: &Cluster, index: usize) -> Arc<Endpoint> {
    let picker = cluster.picker();
    Arc::clone(picker.endpoints().iter().find(|one| one.address == address(index)).expect("an endpoint"))
}

fn picks(cluster: &Cluster, avoid: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut seen: Vec<_> =
        (0..100).filter_map(|_| cluster.pick(None, avoid, now, &mut rng)).map(|seat| seat.endpoint().address).collect();
    seen.sort();
    seen.dedup();
    seen
}

/// Fails as often in a row as it takes; whether that ejected.
fn break_down(cluster: &Cluster, index: usize, now: Instant) -> bool {
    let endpoint = endpoint(cluster, index);
    assert!(cluster.report(&endpoint, Outcome::Failure, now).is_none());
    told(cluster.report(&endpoint, Outcome::Failure, now)).is_some_and(|ejected| ejected.mode == Mode::Enforce)
}

fn told(change: Option<Change>) -> Option<Ejected> {
    match change {
        Some(Change::Ejected(ejected)) => Some(ejected),
        _ => None,
    }
}

/// Who is back, by address.
fn back(changes: &[Change]) -> Vec<SocketAddr> {
    let back = |change: &Change| match change {
        Change::Back(endpoint) => Some(endpoint.address),
        Change::Ejected(_) => None,
    };
    changes.iter().filter_map(back).collect()
}

/// The one endpoint on probation gets a probe that ends so.
fn probe(cluster: &Cluster, index: usize, outcome: Outcome, now: Instant) -> Option<Change> {
    let mut rng = fastrand::Rng::with_seed(1);
    let seat = (0..100)
        .filter_map(|_| cluster.pick(None, &[], now, &mut rng))
        .find(|seat| seat.endpoint().address == address(index))
        .expect("a probe");
    assert!(seat.is_probe());
    cluster.report(seat.endpoint(), Report { outcome, latency: None, probe: true }, now)
}

fn ejections(cluster: &Cluster) -> (u64, u64) {
    Cause::ALL.iter().fold((0, 0), |(done, would), cause| {
        let counts = cluster.ejections(*cause);
        (done + counts.0, would + counts.1)
    })
}
