//! What the policies of destinations count, for `/metrics`: each family only where some destination has the policy.

use std::time::Instant;

use outrigger_config::policy::Mode;
use prometheus::proto::MetricFamily;

use crate::cluster::Cluster;
use crate::endpoint::Turn;
use crate::snapshot::Snapshot;
use crate::telemetry::family::Family;

/// What a destination is called in metrics.
pub(super) fn labels(cluster: &Cluster) -> [(&'static str, &str); 3] {
    let service = cluster.config.service.as_ref();
    [
        ("cluster", cluster.config.name.as_str()),
        ("dst_service", service.map_or(&*cluster.label, |service| service.name())),
        ("dst_namespace", service.map_or("", |service| service.namespace())),
    ]
}

/// The families of every policy.
pub(super) fn families(snapshot: &Snapshot, now: Instant) -> Vec<MetricFamily> {
    checks(snapshot).into_iter().chain(admissions(snapshot, now)).filter_map(Family::finish).collect()
}

fn admissions(snapshot: &Snapshot, now: Instant) -> [Family; 2] {
    let mut rejected = Family::counter(
        "outrigger_admission_rejected_total",
        "Requests given up because their destination fails (mode enforce), or that would have been (observe).",
    );
    let mut share = Family::gauge(
        "outrigger_admission_reject_ratio",
        "The share of a destination's requests that is given up now, or would be.",
    );
    for cluster in snapshot.clusters() {
        let name = labels(cluster);
        for admission in [&cluster.admission, &cluster.rehearsed_admission].into_iter().flatten() {
            let mode = if admission.model().mode.enforces() { "enforce" } else { "observe" };
            let labels = [&name[..], &[("mode", mode)]].concat();
            rejected.add(&labels, admission.rejected() as f64);
            share.add(&labels, admission.share(now));
        }
    }
    [rejected, share]
}

fn checks(snapshot: &Snapshot) -> [Family; 2] {
    let mut checks = Family::counter("outrigger_health_checks_total", "Health checks of a destination's endpoints.");
    let mut turns = Family::counter(
        "outrigger_health_check_turns_total",
        "Endpoints that left or came back by their health checks (mode enforce), or would have (observe).",
    );
    for cluster in snapshot.clusters().filter(|cluster| cluster.config.health_check.is_some()) {
        let name = labels(cluster);
        let with = |more: &[(&'static str, &'static str)]| [&name[..], more].concat();
        let (passed, failed) = cluster.checks.counts();
        checks.add(&with(&[("result", "passed")]), passed as f64);
        checks.add(&with(&[("result", "failed")]), failed as f64);
        for (turn, to) in [(Turn::Left, "failing"), (Turn::Back, "passing")] {
            for (mode, word) in [(Mode::Enforce, "enforce"), (Mode::Observe, "observe")] {
                turns.add(&with(&[("to", to), ("mode", word)]), cluster.checks.turns(turn, mode) as f64);
            }
        }
    }
    [checks, turns]
}
