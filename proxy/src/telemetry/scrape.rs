//! The counters of telemetry as Prometheus families. Names and labels: `outrigger_*`, seconds, `_total`; a request's
//! `reason` is the word that `Proxy-Status` and the span have.

use outrigger_config::listener::Direction;
use prometheus::proto::MetricFamily;

use crate::telemetry::edge::{Edge, Reading};
use crate::telemetry::family::Family;
use crate::telemetry::logging;
use crate::telemetry::metrics::{EdgeKey, Metrics};
use crate::telemetry::would::{RetryCause, grpc_name};
use crate::telemetry::{Records, SpanSink, direction_word};

/// Everything that was counted per edge, and what belongs to telemetry itself.
pub fn families(metrics: &Metrics, spans: &SpanSink, decisions: &Records) -> Vec<MetricFamily> {
    let mut families = edges(metrics);
    families.extend(policies(metrics));
    families.extend(connections(metrics));
    families.extend(signals(metrics, spans));
    families.extend(records(decisions));
    families
}

fn records(decisions: &Records) -> Vec<MetricFamily> {
    let mut kept = Family::counter("outrigger_explain_records_total", "Requests whose decisions were recorded.");
    kept.add(&[], decisions.kept() as f64);
    let mut dropped = Family::counter(
        "outrigger_explain_dropped_records_total",
        "Requests whose decisions were not recorded, because there were too many in a second.",
    );
    dropped.add(&[], decisions.dropped() as f64);
    [kept, dropped].into_iter().filter_map(Family::finish).collect()
}

fn edges(metrics: &Metrics) -> Vec<MetricFamily> {
    let mut requests =
        Family::counter("outrigger_requests_total", "Requests that are over, by what the caller got and why.");
    let mut durations = Family::histogram(
        "outrigger_request_duration_seconds",
        "How long requests took, from their head to the last byte of the answer.",
    );
    let mut retries =
        Family::counter("outrigger_retries_total", "Further attempts at a request, by why they were made.");
    let mut would = Family::counter(
        "outrigger_observed_total",
        "Requests that a policy in Observe would have treated another way.",
    );
    let mut withheld = Family::counter(
        "outrigger_retries_withheld_total",
        "Attempts that might have helped and were not made, by why not.",
    );
    let (src_workload, src_namespace) =
        metrics.workload().map_or(("", ""), |workload| (workload.name(), workload.namespace()));
    let mut add = |key: &EdgeKey, edge: &Edge| {
        let (src_workload, src_namespace) = match key.direction {
            // Who calls is not known before there are identities.
            Direction::Inbound => ("", ""),
            Direction::Outbound => (src_workload, src_namespace),
        };
        let labels = [
            ("direction", direction_word(key.direction)),
            ("src_workload", src_workload),
            ("src_namespace", src_namespace),
            ("dst_service", &*key.dst_service),
            ("dst_namespace", &*key.dst_namespace),
            ("dst_version", &*key.dst_version),
            ("route", &*key.route),
        ];
        let mut all = Reading::default();
        for (outcome, reading) in edge.outcomes() {
            all.add(&reading);
            let code = outcome.code.to_string();
            let grpc = outcome.grpc.map_or("", grpc_name);
            let reason = outcome.reason.map_or("", |reason| reason.word());
            let outcome = [("code", code.as_str()), ("grpc_code", grpc), ("reason", reason)];
            requests.add(&[&labels[..], &outcome].concat(), reading.requests() as f64);
        }
        if all.requests() > 0 {
            durations.add_reading(&labels, &all);
        }
        for (cause, count) in edge.retries() {
            retries.add(&[&labels[..], &[("cause", &*cause_word(cause))]].concat(), count as f64);
        }
        for (why, count) in edge.withheld().filter(|(_, count)| *count > 0) {
            withheld.add(&[&labels[..], &[("cause", why.word())]].concat(), count as f64);
        }
        for (what, count) in edge.would().filter(|(_, count)| *count > 0) {
            would.add(&[&labels[..], &[("would", what.word())]].concat(), count as f64);
        }
    };
    let mut known = metrics.edges();
    known.sort_by(|(a, _), (b, _)| {
        (&a.dst_service, &a.route, &a.dst_version).cmp(&(&b.dst_service, &b.route, &b.dst_version))
    });
    known.iter().for_each(|(key, edge)| add(key, edge));
    for direction in [Direction::Inbound, Direction::Outbound] {
        let empty = || "".into();
        let key =
            EdgeKey { direction, dst_service: empty(), dst_namespace: empty(), dst_version: empty(), route: empty() };
        add(&key, metrics.unrouted_edge(direction));
    }
    [requests, durations, retries, withheld, would].into_iter().filter_map(Family::finish).collect()
}

fn cause_word(cause: RetryCause) -> String {
    cause.to_string()
}

fn policies(metrics: &Metrics) -> Vec<MetricFamily> {
    let mut limited = Family::counter(
        "outrigger_rate_limited_total",
        "Requests that a rate limit refused (mode enforce) or would have refused (observe).",
    );
    for ((policy, mode), count) in metrics.limited_by() {
        limited.add(&[("policy", &*policy), ("mode", mode)], count as f64);
    }
    limited.finish().into_iter().collect()
}

fn connections(metrics: &Metrics) -> Vec<MetricFamily> {
    let mut durations = Family::histogram(
        "outrigger_detect_seconds",
        "How long callers took from connecting until it was clear which protocol they speak.",
    );
    for (protocol, reading) in metrics.detection.durations().iter().filter(|(_, reading)| reading.requests() > 0) {
        durations.add_reading(&[("protocol", protocol)], reading);
    }
    let mut timeouts = Family::counter(
        "outrigger_detect_timeouts_total",
        "Connections that were closed because their callers said nothing in time.",
    );
    timeouts.add(&[], metrics.detection.timeouts() as f64);
    [durations, timeouts].into_iter().filter_map(Family::finish).collect()
}

fn signals(metrics: &Metrics, spans: &SpanSink) -> Vec<MetricFamily> {
    let single = |mut family: Family, value: u64| {
        family.add(&[], value as f64);
        family.finish()
    };
    [
        single(Family::counter("outrigger_otlp_sent_spans_total", "Spans that a collector has taken."), spans.sent()),
        single(
            Family::counter("outrigger_otlp_dropped_spans_total", "Spans dropped: no room, or no collector took them."),
            spans.dropped(),
        ),
        single(
            Family::counter(
                "outrigger_series_dropped_total",
                "Routes counted together as \"other\", because there were too many to tell apart.",
            ),
            metrics.crowded(),
        ),
        single(
            Family::counter(
                "outrigger_access_log_dropped_lines_total",
                "Access log lines dropped because stdout was not read fast enough.",
            ),
            logging::dropped_lines(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
