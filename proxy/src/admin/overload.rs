//! What the overload manager knows, for `/metrics`.

use outrigger_config::route::Priority;
use prometheus::proto::MetricFamily;

use crate::overload::{Overload, Resource};
use crate::telemetry::family::Family;

/// The families of the overload manager.
pub(super) fn families(overload: &Overload) -> Vec<MetricFamily> {
    let mode = if overload.bounds().mode.enforces() { "enforce" } else { "observe" };
    let mut pressure = Family::gauge(
        "outrigger_overload_pressure",
        "How much of what it may use of a resource the process uses, from 0 to 1; falls slowly.",
    );
    for resource in Resource::ALL {
        pressure.add(&[("resource", resource.as_str())], overload.pressure(resource));
    }
    let mut stage = Family::gauge(
        "outrigger_overload_stage",
        "0: nothing is short; 1: connections close; 2: requests of priority Default are shed; 3: High too; 4: nothing is accepted.",
    );
    stage.add(&[], f64::from(overload.actions().stage()));
    let mut shed = Family::counter(
        "outrigger_overload_shed_total",
        "Requests shed because the process ran short (mode enforce), or that would have been (observe).",
    );
    for (priority, word) in [(Priority::Default, "default"), (Priority::High, "high")] {
        shed.add(&[("priority", word), ("mode", mode)], overload.shed(priority) as f64);
    }
    let mut connections = Family::gauge("outrigger_downstream_connections", "Callers' connections.");
    connections.add(&[], f64::from(overload.connections()));
    let mut beyond = Family::counter(
        "outrigger_downstream_connections_over_limit_total",
        "Callers' connections beyond --max-connections: made to wait for a place (mode enforce), or served (observe).",
    );
    beyond.add(&[("mode", mode)], overload.over_limit() as f64);
    let mut dismissed = Family::counter(
        "outrigger_downstream_connections_dismissed_total",
        "Callers' connections that were idle and were told to go, because the process ran short.",
    );
    dismissed.add(&[], overload.dismissals() as f64);
    [pressure, stage, shed, connections, beyond, dismissed].into_iter().filter_map(Family::finish).collect()
}
