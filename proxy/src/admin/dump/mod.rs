//! `/config_dump`: the configuration in force as JSON, and how discovery stands with each type.
//!
//! It shows the validated model, not xDS: what this proxy does, in the words of the documents.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outrigger_config::listener::{Listener, TableSource};
use outrigger_config::name::ResourceName;
use outrigger_config::policy::Mode;
use outrigger_config::policy::adaptive::{AdaptiveConcurrency, Baseline};
use outrigger_config::value::format_duration;
use serde_json::{Map, Value, json};

use crate::discovery::status::Standing;
use crate::telemetry::direction_word;

mod route;
mod cluster;

use cluster::{assignment, cluster};
use route::table;

/// The page; only resources whose name contains `wanted`.
pub fn dump(standing: &Standing, snapshot: u64, wanted: &str, now: Instant) -> Value {
    let resources = &standing.resources;
    let types: Map<String, Value> = standing
        .types
        .iter()
        .map(|(kind, one)| {
            let value = json!({
                "version": one.version,
                "resources": one.resources,
                "age_seconds": one.updated.map(|at| now.saturating_duration_since(at).as_secs_f64()),
                "refused": one.refused.as_ref().map(|(why, at)| json!({
                    "message": why, "age_seconds": now.saturating_duration_since(*at).as_secs_f64(),
                })),
            });
            (kind.short().to_owned(), value)
        })
        .collect();
    json!({
        "source": standing.source.to_string(),
        "transport": standing.transport,
        "connected": standing.connected,
        "trouble": standing.trouble,
        "types": types,
        "waiting": standing.waiting,
        "closed": standing.closed,
        "snapshot": snapshot,
        "listeners": shown(&resources.listeners, wanted, listener),
        "tables": shown(&resources.tables, wanted, table),
        "clusters": shown(&resources.clusters, wanted, cluster),
        "assignments": shown(&resources.assignments, wanted, assignment),
    })
}

fn shown<T>(resources: &BTreeMap<ResourceName, T>, wanted: &str, show: fn(&T) -> Value) -> Vec<Value> {
    resources.iter().filter(|(name, _)| name.as_str().contains(wanted)).map(|(_, one)| show(one)).collect()
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name.as_str(),
        "address": listener.address.to_string(),
        "direction": direction_word(listener.direction),
        "table": match &listener.table {
            TableSource::Rds(name) => json!(name.as_str()),
            TableSource::Inline(inline) => table(inline),
        },
        "workload": listener.identity.as_ref().map(|identity| identity.workload.to_string()),
        "service": listener.identity.as_ref().map(|identity| &*identity.service),
        "samplePercent": listener.telemetry.sample.ratio() * 100.0,
        "accessLog": listener.telemetry.access_log,
        "adaptiveConcurrency": listener.adaptive.as_ref().map(adaptive),
        "rehearsed": listener.rehearsed_adaptive.as_ref().map(|one| json!({ "adaptiveConcurrency": adaptive(one) })),
    })
}

fn adaptive(policy: &AdaptiveConcurrency) -> Value {
    let min_rtt = match policy.baseline {
        Baseline::Fixed(fixed) => json!({ "fixed": format_duration(fixed) }),
        Baseline::Measured(measured) => json!({
            "interval": format_duration(measured.interval),
            "jitterPercent": measured.jitter.ratio() * 100.0,
            "requests": measured.requests,
            "concurrency": measured.concurrency,
        }),
    };
    json!({
        "origin": policy.origin.to_string(),
        "mode": mode(policy.mode),
        "minConcurrency": policy.min_limit,
        "maxConcurrency": policy.max_limit,
        "percentile": policy.percentile.ratio() * 100.0,
        "updateInterval": format_duration(policy.update_interval),
        "bufferPercent": policy.buffer.ratio() * 100.0,
        "minRtt": min_rtt,
        "status": policy.status,
    })
}

fn mode(mode: Mode) -> &'static str {
    if mode.enforces() { "Enforce" } else { "Observe" }
}

/// Without the fields that are not set.
fn some(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// For the tests and the page of clusters: seconds with milliseconds.
pub(in crate::admin) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
