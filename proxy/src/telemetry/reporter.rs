//! Tells the control plane every second how many requests took how long and how they ended: what its graph is made of.
//!
//! OTLP metrics with delta temporality, one data point for each outcome of each edge that changed. A push that fails is
//! not lost: the next one has its counts, too. Records of decisions go the same way, as OTLP logs, whether or not their
//! trace is kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use outrigger_config::listener::{Direction, Identity};
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::{Channel, Endpoint};

use crate::telemetry::direction_word;
use crate::telemetry::edge::{BOUNDS, Outcome, Reading};
use crate::telemetry::metrics::{EdgeKey, Metrics};
use crate::telemetry::records::{Cursor, Kept, Records};
use crate::telemetry::would::{RetryCause, Would, grpc_name};

/// How often counts are pushed.
const PERIOD: Duration = Duration::from_secs(1);

/// How many records one push has; with the largest that is a megabyte.
const RECORDS: usize = 64;

/// What one push says, and what to remember once it is taken.
#[derive(Debug, Default)]
pub struct Report {
    /// The metrics; none if nothing changed.
    pub metrics: Vec<Metric>,
    seen: Seen,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    outcomes: HashMap<(EdgeKey, Outcome), Reading>,
    retries: HashMap<(EdgeKey, String), u64>,
    observed: HashMap<(EdgeKey, &'static str), u64>,
}

/// Pushes counts.
#[derive(Debug)]
pub struct Reporter {
    metrics: Arc<Metrics>,
    seen: Seen,
    since: SystemTime,
    records: Records,
    read: Cursor,
}

impl Reporter {
    /// A reporter that has pushed nothing yet.
    pub fn new(metrics: Arc<Metrics>, records: Records, now: SystemTime) -> Self {
        Reporter { metrics, seen: Seen::default(), since: now, records, read: Cursor::default() }
    }

    /// Pushes to the control plane at `address`, every second, for ever.
    pub async fn run(mut self, address: SocketAddr) {
        // The address is a number and a port, and always a URL.
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else { return };
        let channel = endpoint.connect_timeout(PERIOD).timeout(2 * PERIOD).tcp_nodelay(true).connect_lazy();
        let mut client = MetricsServiceClient::new(channel.clone());
        let mut logs = LogsServiceClient::new(channel);
        let mut clock = interval(PERIOD);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.push(&mut client).await;
            self.push_records(&mut logs).await;
        }
    }

    /// Pushes records that the control plane has not got. Of those that it did not take, the ring keeps the newest.
    async fn push_records(&mut self, client: &mut LogsServiceClient<Channel>) {
        let (records, next) = self.records.since(&self.read, RECORDS);
        let Some(identity) = self.metrics.identity().filter(|_| !records.is_empty()) else { return };
        let log_records = records.iter().map(|kept| log(kept)).collect();
        let logs = ScopeLogs { scope: Some(scope()), log_records, schema_url: String::new() };
        let logs =
            ResourceLogs { resource: Some(resource(&identity)), scope_logs: vec![logs], schema_url: String::new() };
        match client.export(ExportLogsServiceRequest { resource_logs: vec![logs] }).await {
            Ok(_) => self.read = next,
            // A control plane that takes no records takes none of the next second either.
            Err(error) if error.code() == tonic::Code::Unimplemented => self.read = next,
            Err(error) => tracing::debug!(%error, "Records were not taken; the next push has them, too"),
        }
    }

    async fn push(&mut self, client: &mut MetricsServiceClient<Channel>) {
        let now = SystemTime::now();
        let report = self.report(now);
        if report.metrics.is_empty() {
            return;
        }
        let Some(identity) = self.metrics.identity() else { return };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![of(&identity, report.metrics.clone())] };
        match client.export(request).await {
            Ok(_) => self.pushed(report, now),
            Err(error) => tracing::debug!(%error, "Counts were not taken; the next push has them, too"),
        }
    }

    /// What changed since the last push that was taken.
    pub fn report(&self, now: SystemTime) -> Report {
        let (start, end) = (nanos(self.since), nanos(now));
        let mut seen = Seen::default();
        let (mut client, mut server, mut retries, mut observed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, edge) in self.metrics.edges() {
            let points = match key.direction {
                Direction::Inbound => &mut server,
                Direction::Outbound => &mut client,
            };
            for (outcome, reading) in edge.outcomes() {
                let id = (key.clone(), outcome);
                let new = reading.since(&self.seen.outcomes.get(&id).copied().unwrap_or_default());
                if new.requests() > 0 {
                    points.push(duration_point(&key, outcome, &new, start, end));
                }
                seen.outcomes.insert(id, reading);
            }
            for (cause, count) in edge.retries() {
                let id = (key.clone(), cause.to_string());
                let new = count.saturating_sub(self.seen.retries.get(&id).copied().unwrap_or_default());
                if new > 0 {
                    retries.push(retry_point(&key, cause, new, start, end));
                }
                seen.retries.insert(id, count);
            }
            for (what, count) in edge.would().filter(|(_, count)| *count > 0) {
                let id = (key.clone(), what.word());
                let new = count.saturating_sub(self.seen.observed.get(&id).copied().unwrap_or_default());
                if new > 0 {
                    observed.push(observed_point(&key, what, new, start, end));
                }
                seen.observed.insert(id, count);
            }
        }
        let durations = [("http.client.request.duration", client), ("http.server.request.duration", server)];
        let durations = durations.into_iter().filter(|(_, points)| !points.is_empty());
        let mut metrics: Vec<Metric> = durations.map(|(name, points)| histogram(name, points)).collect();
        if !retries.is_empty() {
            metrics.push(sum("outrigger.retries", "{attempt}", retries));
        }
        if !observed.is_empty() {
            metrics.push(sum("outrigger.observed", "{request}", observed));
        }
        Report { metrics, seen }
    }

    /// Remembers that a report was taken.
    pub fn pushed(&mut self, report: Report, now: SystemTime) {
        self.seen = report.seen;
        self.since = now;
    }
}

fn of(identity: &Identity, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(resource(identity)),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() }],
        schema_url: String::new(),
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "outrigger-proxy".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn log(kept: &Kept) -> LogRecord {
    let body = Value::StringValue(kept.json.as_ref().to_owned());
    LogRecord {
        time_unix_nano: kept.at_unix_ms.saturating_mul(1_000_000),
        event_name: "outrigger.decision".to_owned(),
        body: Some(AnyValue { value: Some(body) }),
        trace_id: kept.trace_id.to_vec(),
        ..LogRecord::default()
    }
}

fn resource(identity: &Identity) -> Resource {
    let mut attributes = vec![
        text("service.name", &identity.service),
        text("service.namespace", identity.workload.namespace()),
        text("service.instance.id", &identity.workload.to_string()),
        text("telemetry.distro.name", "outrigger"),
    ];
    if !identity.version.is_empty() {
        attributes.push(text("service.version", &identity.version));
    }
    Resource { attributes, ..Resource::default() }
}

fn histogram(name: &str, data_points: Vec<HistogramDataPoint>) -> Metric {
    let data = Histogram { data_points, aggregation_temporality: AggregationTemporality::Delta as i32 };
    Metric {
        name: name.to_owned(),
        unit: "s".to_owned(),
        data: Some(metric::Data::Histogram(data)),
        ..Metric::default()
    }
}

fn sum(name: &str, unit: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = Sum { data_points, aggregation_temporality: AggregationTemporality::Delta as i32, is_monotonic: true };
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(metric::Data::Sum(data)), ..Metric::default() }
}

fn duration_point(key: &EdgeKey, outcome: Outcome, new: &Reading, start: u64, end: u64) -> HistogramDataPoint {
    let mut attributes = destination(key);
    if outcome.code != 0 {
        attributes.push(attribute("http.response.status_code", Value::IntValue(i64::from(outcome.code))));
    }
    if let Some(status) = outcome.grpc {
        attributes.push(text("rpc.response.status_code", grpc_name(status)));
    }
    if let Some(reason) = outcome.reason {
        attributes.push(text("error.type", reason.word()));
    }
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: end,
        count: new.requests(),
        sum: Some(new.seconds()),
        bucket_counts: new.buckets.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn retry_point(key: &EdgeKey, cause: RetryCause, new: u64, start: u64, end: u64) -> NumberDataPoint {
    let mut attributes = destination(key);
    attributes.push(text("outrigger.retry.reason", &cause.to_string()));
    number_point(attributes, new, start, end)
}

/// What policies in Observe would have done, and on which side: the same service may rehearse on both.
fn observed_point(key: &EdgeKey, what: Would, new: u64, start: u64, end: u64) -> NumberDataPoint {
    let mut attributes = destination(key);
    attributes.push(text("outrigger.would", what.word()));
    attributes.push(text("outrigger.hop", direction_word(key.direction)));
    number_point(attributes, new, start, end)
}

fn number_point(attributes: Vec<KeyValue>, new: u64, start: u64, end: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: end,
        value: Some(number_data_point::Value::AsInt(i64::try_from(new).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    }
}

fn destination(key: &EdgeKey) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("outrigger.destination.service", &key.dst_service),
        text("outrigger.destination.namespace", &key.dst_namespace),
        text("outrigger.route", &key.route),
    ];
    if !key.dst_version.is_empty() {
        attributes.push(text("outrigger.destination.version", &key.dst_version));
    }
    attributes
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
    use outrigger_config::listener::Direction;

    use super::Reporter;
    use crate::reason::Reason;
    use crate::telemetry::metrics::{EdgeKey, Metrics};
    use crate::telemetry::records::Records;
    use crate::telemetry::would::{RetryCause, Would};

    fn key(direction: Direction) -> EdgeKey {
        EdgeKey {
            direction,
            dst_service: "catalog".into(),
            dst_namespace: "shop".into(),
            dst_version: "v1".into(),
            route: "default".into(),
        }
    }

    /// Name, number and attributes of every data point.
    fn shown(metrics: &[Metric]) -> Vec<String> {
        let mut all = Vec::new();
        for one in metrics {
            let points: Vec<(u64, &Vec<_>)> = match one.data.as_ref().expect("data") {
                metric::Data::Histogram(histogram) => {
                    histogram.data_points.iter().map(|point| (point.count, &point.attributes)).collect()
                }
                metric::Data::Sum(sum) => sum
                    .data_points
                    .iter()
                    .map(|point| match point.value {
                        Some(number_data_point::Value::AsInt(count)) => (count.unsigned_abs(), &point.attributes),
                        _ => panic!("not a whole number"),
                    })
                    .collect(),
                other => panic!("{other:?}"),
            };
            for (count, attributes) in points {
                let codes: Vec<_> = attributes
                    .iter()
                    .filter(|one| {
                        let shown = ["http.response.status_code", "error.type"].contains(&&*one.key);
                        shown || ["outrigger.retry.reason", "outrigger.would", "outrigger.hop"].contains(&&*one.key)
                    })
                    .map(|one| format!("{:?}", one.value.as_ref().expect("a value").value.as_ref().expect("a value")))
                    .collect();
                all.push(format!("{} {count} {}", one.name, codes.join(" ")));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn a_report_has_what_came_since_the_last_one_that_was_taken() {
        let metrics = Arc::new(Metrics::default());
        let (out, inward) = (metrics.edge(&key(Direction::Outbound)), metrics.edge(&key(Direction::Inbound)));
        let mut reporter = Reporter::new(Arc::clone(&metrics), Records::default(), UNIX_EPOCH);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(reporter.report(at(1)).metrics.is_empty(), "nothing happened");
        let ok = |count: u32| {
            (0..count).for_each(|_| out.record(200, None, None, Would::default(), Duration::from_millis(1)));
        };
        ok(3);
        out.record(503, None, Some(Reason::BreakerRequests), Would::default(), Duration::ZERO);
        inward.record(200, None, None, Would::RATE_LIMIT, Duration::ZERO);
        out.retry(RetryCause::Status(503));
        let first = reporter.report(at(1));
        let expected = [
            "http.client.request.duration 1 IntValue(503) StringValue(\"breaker_requests\")",
            "http.client.request.duration 3 IntValue(200)",
            "http.server.request.duration 1 IntValue(200)",
            "outrigger.observed 1 StringValue(\"rate_limit\") StringValue(\"inbound\")",
            "outrigger.retries 1 StringValue(\"code_503\")",
        ];
        assert_eq!(shown(&first.metrics), expected);
        // That push failed: the next one has its counts, too.
        ok(2);
        let second = reporter.report(at(2));
        assert_eq!(shown(&second.metrics)[1], "http.client.request.duration 5 IntValue(200)");
        reporter.pushed(second, at(2));
        assert!(reporter.report(at(3)).metrics.is_empty());
        ok(1);
        assert_eq!(shown(&reporter.report(at(3)).metrics), ["http.client.request.duration 1 IntValue(200)"]);
    }
}
