//! The graph as the API answers with it and the command line reads it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ring::{Ring, Sum, Words};
use super::{EdgeKey, ServiceKey};

/// `GET /api/v1/graph`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphView {
    /// When the view was taken, in milliseconds since 1970.
    pub generated_unix_ms: u64,
    /// Every edge with traffic in the last minute, sorted by names.
    pub edges: Vec<Edge>,
    /// Every service with traffic in the last minute, sorted by names.
    pub services: Vec<Service>,
}

/// One caller and one version of what it calls, as the caller's proxy sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The calling service.
    pub source: String,
    /// The namespace of the caller; empty when its proxy did not say.
    pub source_namespace: String,
    /// The called service.
    pub destination: String,
    /// The namespace of the called service.
    pub namespace: String,
    /// The version that answered; empty when it has none.
    pub version: String,
    /// Rate, success and latency.
    pub windows: Windows,
    /// Requests of the last minute by the reason a proxy gave, in words.
    pub reasons: BTreeMap<String, u64>,
    /// Requests of the last minute by HTTP status.
    pub codes: BTreeMap<String, u64>,
    /// Further attempts of the last minute by what made them necessary.
    pub retry_reasons: BTreeMap<String, u64>,
    /// Requests of the last minute that a policy in Observe would have treated another way, by what it would have done.
    #[serde(default)]
    pub observed: BTreeMap<String, u64>,
}

/// One version of one service, whoever calls it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// The service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The version; empty when it has none.
    pub version: String,
    /// Whose numbers these are.
    pub seen_by: Seen,
    /// Rate, success and latency. Retries are those its callers made, where they know the version.
    pub windows: Windows,
    /// Requests of the last minute by the reason a proxy gave, in words.
    pub reasons: BTreeMap<String, u64>,
    /// Requests of the last minute by HTTP status.
    pub codes: BTreeMap<String, u64>,
    /// Requests of the last minute that a policy in Observe would have treated another way, by what it would have done:
    /// beside the service, and beside its callers where they know the version.
    #[serde(default)]
    pub observed: BTreeMap<String, u64>,
}

/// Where the numbers of a service come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// From the proxies beside it, which see every request that arrives.
    Server,
    /// From the proxies of its callers, as no proxy stands beside it.
    Callers,
}

/// The two windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// The last 10 seconds.
    #[serde(rename = "10s")]
    pub ten_seconds: Window,
    /// The last 60 seconds.
    #[serde(rename = "60s")]
    pub minute: Window,
}

/// The numbers of one window, with the second that still runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Requests.
    pub requests: u64,
    /// Requests a second, over the time the edge is known when that is shorter than the window.
    pub rate: f64,
    /// The share of requests that succeeded, 0 to 1; none without requests.
    pub success: Option<f64>,
    /// The median latency, in milliseconds; none without requests.
    pub p50_ms: Option<f64>,
    /// The latency that 95 % of the requests stayed below, in milliseconds.
    pub p95_ms: Option<f64>,
    /// The latency that 99 % of the requests stayed below, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Further attempts the caller's proxy made.
    pub retries: u64,
}

impl Window {
    fn new(sum: &Sum) -> Self {
        let requests = sum.latency.count();
        let millis = |quantile| sum.latency.quantile(quantile).map(|seconds| round(seconds * 1000.0));
        Window {
            requests,
            rate: round(requests as f64 / sum.seconds),
            success: (requests > 0).then(|| 1.0 - sum.failures.min(requests) as f64 / requests as f64),
            p50_ms: millis(0.5),
            p95_ms: millis(0.95),
            p99_ms: millis(0.99),
            retries: sum.retries,
        }
    }
}

/// To a thousandth: finer than any bucket, and short in print.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The sums of both windows.
#[derive(Debug, Default)]
struct Sums {
    ten_seconds: Sum,
    minute: Sum,
}

impl Sums {
    fn add(&mut self, ring: &Ring, words: &Words, at: Duration) {
        ring.add_to(&mut self.ten_seconds, 10, words, at);
        ring.add_to(&mut self.minute, 60, words, at);
    }

    fn windows(&self) -> Windows {
        Windows { ten_seconds: Window::new(&self.ten_seconds), minute: Window::new(&self.minute) }
    }
}

pub(super) fn view(
    edges: &HashMap<EdgeKey, Ring>,
    services: &HashMap<ServiceKey, Ring>,
    words: &Words,
    at: Duration,
) -> (Vec<Edge>, Vec<Service>) {
    let mut by_callers: BTreeMap<&ServiceKey, Sums> = BTreeMap::new();
    let mut edge_views = Vec::with_capacity(edges.len());
    let mut sorted: Vec<_> = edges.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    for (key, ring) in sorted {
        by_callers.entry(&key.destination).or_default().add(ring, words, at);
        let mut sums = Sums::default();
        sums.add(ring, words, at);
        edge_views.push(Edge {
            source: key.source.clone(),
            source_namespace: key.source_namespace.clone(),
            destination: key.destination.service.clone(),
            namespace: key.destination.namespace.clone(),
            version: key.destination.version.clone(),
            windows: sums.windows(),
            reasons: sums.minute.reasons,
            codes: sums.minute.codes,
            retry_reasons: sums.minute.retry_reasons,
            observed: sums.minute.observed,
        });
    }

    let mut merged: BTreeMap<&ServiceKey, (Seen, Sums)> = BTreeMap::new();
    for (key, ring) in services {
        let mut own = Sums::default();
        own.add(ring, words, at);
        merged.insert(key, (Seen::Server, own));
    }
    for (key, callers) in by_callers {
        let same = |other: &ServiceKey| {
            (&other.service, &other.namespace) == (&key.service, &key.namespace)
                && (other.version == key.version || key.version.is_empty())
        };
        let mut seen = merged.iter_mut().filter(|(other, (by, _))| *by == Seen::Server && same(other));
        match (seen.next(), seen.next()) {
            (None, _) => drop(merged.insert(key, (Seen::Callers, callers))),
            // Only a caller knows of its retries, and of what it rehearses: they are carried over to what the service
            // itself saw.
            (Some((_, (_, own))), None) => {
                for (what, count) in callers.minute.observed {
                    let sum = own.minute.observed.entry(what).or_default();
                    *sum = sum.saturating_add(count);
                }
                own.ten_seconds.retries += callers.ten_seconds.retries;
                own.minute.retries += callers.minute.retries;
            }
            // Callers that do not know versions apart cannot say which of them they tried again.
            (Some(_), Some(_)) => {}
        }
    }
    let service_views = merged.into_iter().map(|(key, (seen_by, sums))| Service {
        service: key.service.clone(),
        namespace: key.namespace.clone(),
        version: key.version.clone(),
        seen_by,
        windows: sums.windows(),
        reasons: sums.minute.reasons,
        codes: sums.minute.codes,
        observed: sums.minute.observed,
    });
    (edge_views, service_views.collect())
}
