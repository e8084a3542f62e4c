//! What adaptive concurrency knows, for `/metrics`.

use prometheus::proto::MetricFamily;

use crate::snapshot::Snapshot;
use crate::telemetry::family::Family;

/// The families of listeners with adaptive concurrency.
pub(super) fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut limit = Family::gauge("outrigger_adaptive_limit", "How many requests a listener lets in at once now.");
    let mut used = Family::gauge("outrigger_adaptive_limit_used", "How many of them are under way.");
    let mut baseline = Family::gauge(
        "outrigger_adaptive_min_rtt_seconds",
        "What what is behind the listener takes to answer when it is not busy, as last measured.",
    );
    let mut sample =
        Family::gauge("outrigger_adaptive_sample_rtt_seconds", "What it took in the last window, for a percentile.");
    let mut gradient =
        Family::gauge("outrigger_adaptive_gradient", "The ratio of the two, by which the limit changes.");
    let mut refused = Family::counter(
        "outrigger_adaptive_refused_total",
        "Requests beyond the limit: refused (mode enforce) or let through (observe).",
    );
    let mut all: Vec<_> = snapshot.gradients().collect();
    all.sort_by_key(|(name, _)| name.as_str());
    for (name, one) in all {
        let mode = if one.model().mode.enforces() { "enforce" } else { "observe" };
        let (known, labels) = (one.known(), [("listener", name.as_str()), ("mode", mode)]);
        limit.add(&labels, f64::from(known.limit));
        used.add(&labels, f64::from(known.held));
        if let Some(time) = known.baseline {
            baseline.add(&labels, time.as_secs_f64());
        }
        if let Some(time) = known.sample {
            sample.add(&labels, time.as_secs_f64());
        }
        gradient.add(&labels, known.gradient);
        refused.add(&labels, known.refused as f64);
    }
    [limit, used, baseline, sample, gradient, refused].into_iter().filter_map(Family::finish).collect()
}
