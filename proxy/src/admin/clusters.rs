//! `/clusters`: every destination and its endpoints as they are at this moment. As text it is for eyes and grep, one
//! fact a line, every line beginning with the destination; as JSON for programs.

use std::fmt::Write as _;
use std::time::Instant;

use outrigger_config::policy::Priority;
use serde_json::{Value, json};

use crate::admin::dump::seconds;
use crate::cluster::{Cause, Cluster, Limit};
use crate::endpoint::{Endpoint, Standing};
use crate::snapshot::Snapshot;

/// What an endpoint is to the balancer.
pub(super) fn state(endpoint: &Endpoint, now: Instant) -> &'static str {
    endpoint.state(now)
}

/// What health checks say of it.
fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown | Standing::New => "unchecked",
        Standing::Passing => "passing",
        Standing::Failing => "failing",
    }
}

/// The page as text.
pub fn text(snapshot: &Snapshot, now: Instant) -> String {
    let mut page = String::new();
    for cluster in snapshot.clusters() {
        // Writing to a string cannot fail.
        let _ = write_cluster(&mut page, cluster, now);
    }
    page
}

fn write_cluster(page: &mut String, cluster: &Cluster, now: Instant) -> std::fmt::Result {
    let name = cluster.config.name.as_str();
    writeln!(page, "{name} host {}", cluster.label)?;
    for (priority, limit) in cluster.priorities().flat_map(|one| Limit::ALL.map(|limit| (one, limit))) {
        let (limits, word) = (cluster.limits(priority), limit.as_str());
        let max = limits.max(limit).map_or_else(|| "unlimited".into(), |max| max.to_string());
        let (held, refused, exceeded) = (limits.held(limit), limits.refused(limit), limits.exceeded(limit));
        let of = if priority == Priority::High { " of priority high" } else { "" };
        writeln!(page, "{name} limit {word}{of} {held} of {max}, refused {refused}, would refuse {exceeded}")?;
    }
    writeln!(page, "{name} retries {} under way, refused {}", cluster.budget.active(), cluster.budget.refused())?;
    if cluster.is_panicking() {
        writeln!(page, "{name} panics: too few endpoints are in, so that all that are healthy take part")?;
    }
    for told in cluster.asks().filter_map(|ask| cluster.tell(ask)) {
        let asked = if told.asked.is_empty() { "(none)" } else { &told.asked };
        let because = if told.because.is_empty() { String::new() } else { format!(": {}", told.because) };
        writeln!(page, "{name} subset {asked} leads to {}{because}", told.led)?;
    }
    for endpoint in cluster.picker().endpoints() {
        let Endpoint { address, workload, version, .. } = &**endpoint;
        write!(page, "{name} endpoint {address} {} weight {}", state(endpoint, now), endpoint.weight())?;
        if endpoint.priority() > 0 {
            write!(page, " priority {}", endpoint.priority())?;
        }
        write!(page, " active {} failures {}", endpoint.load.active(), endpoint.outlier.failures())?;
        if let Some(latency) = endpoint.load.latency(now) {
            write!(page, " latency_ms {:.2}", latency.as_secs_f64() * 1e3)?;
        }
        if let Some(remaining) = endpoint.outlier.remaining(now) {
            write!(page, " ejected for another {:.1} s, time {}", remaining.as_secs_f64(), endpoint.outlier.times())?;
        }
        if let Some(failure) = endpoint.check.failure() {
            write!(page, " check failed: {failure};")?;
        }
        for (what, value) in [("workload", workload), ("version", version)] {
            if !value.is_empty() {
                write!(page, " {what} {value}")?;
            }
        }
        writeln!(page)?;
    }
    Ok(())
}

/// The page as JSON.
pub fn json(snapshot: &Snapshot, now: Instant) -> Value {
    let clusters: Vec<Value> = snapshot.clusters().map(|cluster| one(cluster, now)).collect();
    json!({ "snapshot": snapshot.number, "clusters": clusters })
}

fn one(cluster: &Cluster, now: Instant) -> Value {
    let limits = |priority: Priority| -> Value {
        let limits = cluster.limits(priority);
        let limit = |limit: Limit| {
            let value = json!({
                "held": limits.held(limit),
                "max": limits.max(limit),
                "refused": limits.refused(limit),
                "would_refuse": limits.exceeded(limit),
            });
            (limit.as_str().to_owned(), value)
        };
        Limit::ALL.map(limit).into_iter().collect::<serde_json::Map<_, _>>().into()
    };
    let endpoint = |endpoint: &std::sync::Arc<Endpoint>| {
        json!({
            "address": endpoint.address.to_string(),
            "workload": &*endpoint.workload,
            "version": &*endpoint.version,
            "state": state(endpoint, now),
            "weight": endpoint.weight(),
            "priority": endpoint.priority(),
            "active": endpoint.load.active(),
            "latency_ms": endpoint.load.latency(now).map(|latency| (latency.as_secs_f64() * 1e5).round() / 1e2),
            "consecutive_failures": endpoint.outlier.failures(),
            "check": endpoint.check.standing().map(standing),
            "check_failure": endpoint.check.failure(),
            "ejected_for_seconds": endpoint.outlier.remaining(now).map(seconds),
        })
    };
    json!({
        "name": cluster.config.name.as_str(),
        "host": &*cluster.label,
        "limits": limits(Priority::Default),
        "limits_high": cluster.priorities().any(|one| one == Priority::High).then(|| limits(Priority::High)),
        "retries": { "active": cluster.budget.active(), "refused": cluster.budget.refused() },
        "ejections": Cause::ALL.map(|cause| cluster.ejections(cause).0).iter().sum::<u64>(),
        "would_eject": Cause::ALL.map(|cause| cluster.ejections(cause).1).iter().sum::<u64>(),
        "ejections_withheld": cluster.ejection_overflows(),
        "subsets": cluster.asks().filter_map(|ask| cluster.tell(ask)).map(|told| json!({
            "asked": told.asked,
            "led": told.led,
            "because": told.because,
        })).collect::<Vec<_>>(),
        "panicking": cluster.is_panicking(),
        "panics": cluster.panics(),
        "endpoints": cluster.picker().endpoints().iter().map(endpoint).collect::<Vec<_>>(),
    })
}
