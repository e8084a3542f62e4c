//! `GET /metrics`: the control plane's own numbers in Prometheus' text format.
//!
//! Every label has a closed set of values, so the number of series does not depend on the mesh.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use outrigger_config::document::Kind;

use super::Api;
use crate::ads::status::ProxyStatus;
use crate::limits::replicas::Standing;
use crate::state::Filter;

/// The answer, with the content type of the format.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(&api))
}

/// The text as it grows.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help, [(String::new(), value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help, [(String::new(), value)]);
    }
}

fn label(name: &str, value: impl Display) -> String {
    format!("{{{name}=\"{value}\"}}")
}

fn render(api: &Api) -> String {
    let mut page = Page::default();
    let version = label("version", env!("CARGO_PKG_VERSION"));
    page.family("outrigger_build_info", "gauge", "Always 1; the version is a label.", [(version, 1)]);
    steering(api, &mut page);
    limits(api, &mut page);
    signals(api, &mut page);
    page.0
}

fn steering(api: &Api, page: &mut Page) {
    let generation = api.steering.generation();
    page.gauge("outrigger_generation", "Number of the newest accepted change of documents.", generation);
    let documents = Kind::ALL.map(|kind| {
        let of_kind = api.steering.documents(&Filter { kind: Some(kind), namespace: None });
        (label("kind", kind.as_str()), of_kind.len() as u64)
    });
    page.family("outrigger_documents", "gauge", "Documents that stand, by kind.", documents);
    let refused = api.steering.refused_files().0.len() as u64;
    page.gauge("outrigger_refused_file_problems", "Problems of files that are refused now.", refused);

    let proxies = api.steering.proxies();
    let mut by_state: BTreeMap<&str, u64> = ["synced", "behind", "refusing", "gone"].map(|state| (state, 0)).into();
    let mut refusing: BTreeMap<&str, u64> = BTreeMap::new();
    for proxy in &proxies {
        *by_state.entry(state_of(proxy)).or_default() += 1;
        for (kind, _) in proxy.types.iter().filter(|(_, status)| status.nack.is_some()) {
            *refusing.entry(kind).or_default() += 1;
        }
    }
    let by_state = by_state.into_iter().map(|(state, count)| (label("state", state), count));
    page.family("outrigger_proxies", "gauge", "Proxies, by how they stand to the newest change.", by_state);
    let refusing = refusing.into_iter().map(|(kind, count)| (label("type", kind), count));
    page.family("outrigger_xds_refusals", "gauge", "Proxies that refuse what they were sent, by type.", refusing);
}

fn limits(api: &Api, page: &mut Page) {
    let (rules, failed) = api.counters.numbers();
    page.gauge("outrigger_rate_limit_rules", "Rules of scope Global that are counted here.", rules as u64);
    let (limits, members) = api.leases.numbers();
    page.gauge("outrigger_rate_limit_leases", "Rules of scope Global that are divided here.", limits as u64);
    page.gauge("outrigger_rate_limit_lease_holders", "Proxies that such rules are divided among.", members as u64);
    if let Some(replicas) = &api.replicas {
        let Standing { alive, is_fresh, failed } = replicas.standing(Instant::now());
        let help = "Control planes that divide such rules through Redis, as far as was known last.";
        page.gauge("outrigger_rate_limit_lease_replicas", help, alive as u64);
        let help = "Whether Redis has said lately what this one may divide; else it goes on with what it had.";
        page.gauge("outrigger_rate_limit_lease_redis_up", help, u64::from(is_fresh));
        let help = "How often Redis did not say what this control plane may divide.";
        page.counter("outrigger_rate_limit_lease_failures_total", help, failed);
    }
    if let Some(failed) = failed {
        page.counter("outrigger_redis_failures_total", "Requests that Redis did not count, or not in time.", failed);
    }
}

fn state_of(proxy: &ProxyStatus) -> &'static str {
    if !proxy.connected {
        return "gone";
    }
    match proxy.types.values().any(|status| status.nack.is_some()) {
        true => "refusing",
        false if proxy.synced => "synced",
        false => "behind",
    }
}

fn signals(api: &Api, page: &mut Page) {
    let (edges, folded) = api.signals.graph(|graph| graph.edges());
    page.gauge("outrigger_graph_edges", "Edges of the graph with traffic lately.", edges as u64);
    page.counter("outrigger_graph_folded_total", "Reports counted as other, for want of room.", folded);

    let (traces, bytes, counters) = api.signals.traces(|traces| (traces.len(), traces.bytes(), traces.counters()));
    page.gauge("outrigger_traces", "Traces that are kept.", traces as u64);
    page.gauge("outrigger_traces_bytes", "Memory the kept traces take.", bytes as u64);
    page.counter("outrigger_traces_evicted_total", "Traces forgotten for newer ones.", counters.evicted_traces);
    let (decisions, bytes, received) = api.signals.decisions(|all| all.counts());
    page.gauge("outrigger_decisions", "Records of decisions that are kept.", decisions as u64);
    page.gauge("outrigger_decisions_bytes", "Memory the kept records take.", bytes as u64);
    page.counter("outrigger_decisions_received_total", "Records of decisions received.", received);
    let arrived = api.receiver.counters();
    let spans = [("kept", counters.kept), ("dropped", counters.dropped), ("rejected", arrived.rejected_spans)];
    let spans = spans.map(|(result, count)| (label("result", result), count));
    page.family("outrigger_otlp_received_spans_total", "counter", "Spans received, by what became of them.", spans);
    let points = [("kept", arrived.points), ("rejected", arrived.rejected_points)];
    let points = points.map(|(result, count)| (label("result", result), count));
    let help = "Data points received from proxies, by what became of them.";
    page.family("outrigger_otlp_received_points_total", "counter", help, points);
    page.counter("outrigger_otlp_malformed_total", "Messages received that were no OTLP.", arrived.malformed);
    if let Some(forwarded) = api.receiver.forwarded() {
        let results = [("sent", forwarded.sent), ("dropped", forwarded.dropped)];
        let results = results.map(|(result, count)| (label("result", result), count));
        let help = "Messages of traces to be sent on, by what became of them.";
        page.family("outrigger_otlp_forwarded_messages_total", "counter", help, results);
    }
}
