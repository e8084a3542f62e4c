//! OTLP over both transports, and sent on over both.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use outrigger_config::record::{Attempt, Destination, Endpoint, Record, Taken};
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use super::plane::{Plane, soon};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const TRACE: &str = "/api/v1/traces/01010101010101010101010101010101";

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn resource() -> Option<Resource> {
    let attributes = [
        text("service.name", "storefront"),
        text("service.namespace", "shop"),
        text("telemetry.distro.name", "outrigger"),
    ];
    Some(Resource { attributes: attributes.into(), ..Resource::default() })
}

/// A request that was refused once and answered then.
pub(crate) fn a_trace() -> ExportTraceServiceRequest {
    let attempt = |number: u8, attributes: Vec<KeyValue>, code| Span {
        trace_id: vec![1; 16],
        span_id: vec![number; 8],
        parent_span_id: vec![9; 8],
        name: "GET /products".into(),
        kind: 3,
        start_time_unix_nano: 1_000_000_000 + u64::from(number) * 10_000_000,
        end_time_unix_nano: 1_008_000_000 + u64::from(number) * 10_000_000,
        attributes: attributes.into_iter().chain([text("server.address", "catalog")]).collect(),
        status: Some(Status { code, ..Status::default() }),
        ..Span::default()
    };
    let answered = attribute("http.response.status_code", Value::IntValue(200));
    let root = Span {
        parent_span_id: vec![],
        span_id: vec![9; 8],
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_040_000_000,
        attributes: vec![answered.clone()],
        ..attempt(9, vec![], 0)
    };
    let repeated = vec![
        attribute("http.request.resend_count", Value::IntValue(1)),
        text("outrigger.retry.reason", "connection_refused"),
        answered,
    ];
    let spans = vec![attempt(1, vec![text("error.type", "connection_refused")], 2), attempt(2, repeated, 0), root];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// Ten requests from storefront to catalog, of which none failed, within 5 to 10 ms.
pub(crate) fn an_edge() -> ExportMetricsServiceRequest {
    let point = metrics::HistogramDataPoint {
        attributes: vec![
            text("outrigger.destination.service", "catalog"),
            text("outrigger.destination.namespace", "shop"),
            text("outrigger.destination.version", "v1"),
            attribute("http.response.status_code", Value::IntValue(200)),
        ],
        count: 10,
        bucket_counts: vec![0, 10, 0],
        explicit_bounds: vec![0.005, 0.01],
        ..Default::default()
    };
    let histogram = metrics::Histogram { data_points: vec![point], aggregation_temporality: 1 };
    let metric = metrics::Metric {
        name: "http.client.request.duration".into(),
        unit: "s".into(),
        data: Some(metrics::metric::Data::Histogram(histogram)),
        ..Default::default()
    };
    let scope_metrics = vec![metrics::ScopeMetrics { metrics: vec![metric], ..Default::default() }];
    let resource_metrics = vec![metrics::ResourceMetrics { resource: resource(), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// Sends a trace over HTTP.
pub(crate) async fn send_trace(plane: &Plane, trace: &ExportTraceServiceRequest) {
    let answer = plane.ask(Method::POST, "/v1/traces", &[PROTOBUF], trace.encode_to_vec()).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
}

/// Sends metrics over gRPC.
pub(crate) async fn send_metrics(plane: &Plane, metrics: &ExportMetricsServiceRequest) {
    let mut client = MetricsServiceClient::connect(format!("http://{}", plane.running.xds)).await.expect("connects");
    let answer = client.export(metrics.clone()).await.expect("taken in").into_inner();
    assert_eq!(answer.partial_success, None);
}

/// Sends the record of a decision over gRPC, and one that is none.
pub(crate) async fn send_decision(plane: &Plane, trace: &str) {
    let record = Record {
        trace: trace.to_owned(),
        service: "storefront".to_owned(),
        route: Some(Taken::default()),
        attempts: vec![Attempt::default()],
        destination: Some(Destination { endpoints: vec![Endpoint::default()], ..Destination::default() }),
        ..Record::default()
    };
    let log = |text: String| logs::LogRecord {
        event_name: "outrigger.decision".into(),
        body: Some(AnyValue { value: Some(Value::StringValue(text)) }),
        ..Default::default()
    };
    let text = serde_json::to_string(&record).expect("JSON");
    let scope_logs = vec![logs::ScopeLogs { log_records: vec![log(text), log("{}".into())], ..Default::default() }];
    let resource_logs = vec![logs::ResourceLogs { resource: resource(), scope_logs, ..Default::default() }];
    let mut client = LogsServiceClient::connect(format!("http://{}", plane.running.xds)).await.expect("connects");
    let answer = client.export(ExportLogsServiceRequest { resource_logs }).await.expect("taken in").into_inner();
    assert_eq!(answer.partial_success.expect("one was none").rejected_log_records, 1);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a vector grows");
    encoder.finish().expect("a vector grows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_over_grpc_are_a_trace_to_look_at() {
    let plane = Plane::start().await;
    let client = TraceServiceClient::connect(format!("http://{}", plane.running.xds)).await.expect("connects");
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    client.export(a_trace()).await.expect("taken in");
    let trace = plane.get(TRACE).await.json;
    assert_eq!((&trace["duration_ms"], &trace["error"]), (&40.0.into(), &true.into()));
    assert_eq!(trace["spans"][0]["name"], "GET /");
    assert_eq!(trace["spans"][2]["attributes"]["http.request.resend_count"], 1);
    let found = plane.get("/api/v1/traces?service=storefront&status=200&minDuration=40ms&retried=true").await.json;
    assert_eq!((&found["traces"][0]["name"], &found["traces"][0]["retries"]), (&"GET /".into(), &1.into()));
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_proxies_are_edges() {
    let plane = Plane::start().await;
    send_metrics(&plane, &an_edge()).await;
    let http = plane.ask(Method::POST, "/v1/metrics", &[PROTOBUF], an_edge().encode_to_vec()).await;
    assert_eq!(http.status, StatusCode::OK);
    let graph = plane.get("/api/v1/graph").await.json;
    let edge = &graph["edges"][0];
    assert_eq!((&edge["source"], &edge["destination"]), (&"storefront".into(), &"catalog".into()));
    assert_eq!((&edge["windows"]["10s"]["requests"], &edge["windows"]["60s"]["success"]), (&20.into(), &1.0.into()));
    assert_eq!((&edge["windows"]["10s"]["p50_ms"], &edge["codes"]["200"]), (&7.5.into(), &20.into()));
    assert_eq!(graph["services"][0]["seen_by"], "callers");
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_takes_gzip_and_says_what_it_left_out() {
    let plane = Plane::start().await;
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let mut trace = a_trace();
    trace.resource_spans[0].scope_spans[0].spans[0].trace_id.clear();
    let answer = plane.ask(Method::POST, "/v1/traces", &headers, gzip(&trace.encode_to_vec())).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = ExportTraceServiceResponse::decode(answer.body).expect("OTLP");
    assert_eq!(answer.partial_success.map(|partial| partial.rejected_spans), Some(1));
    assert_eq!(plane.get(TRACE).await.json["spans"].as_array().map(Vec::len), Some(2));
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_taken_and_answered_in_json() {
    let plane = Plane::start().await;
    let mut trace = serde_json::to_value(a_trace()).expect("JSON");
    trace["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = "nobody's".into();
    let headers = [JSON, ("content-encoding", "gzip")];
    let answer = plane.ask(Method::POST, "/v1/traces", &headers, gzip(trace.to_string().as_bytes())).await;
    assert_eq!((answer.status, &answer.json["partialSuccess"]["rejectedSpans"]), (StatusCode::OK, &"1".into()));
    assert_eq!(plane.get(TRACE).await.json["spans"].as_array().map(Vec::len), Some(2));
    let metrics = serde_json::to_string(&an_edge()).expect("JSON");
    let answer = plane.ask(Method::POST, "/v1/metrics", &[JSON], metrics).await;
    assert_eq!((answer.status, answer.json), (StatusCode::OK, serde_json::json!({})));
    let edge = &plane.get("/api/v1/graph").await.json["edges"][0];
    assert_eq!((&edge["destination"], &edge["windows"]["60s"]["requests"]), (&"catalog".into(), &10.into()));
    let refused = plane.ask(Method::POST, "/v1/traces", &[JSON], "[]").await;
    assert_eq!((refused.status.as_u16(), &refused.json["message"]), (400, &"the body is not an OTLP message".into()));
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_messages_are_refused_over_both() {
    let plane = Plane::start().await;
    let bomb = gzip(&vec![0; 64 << 20]);
    for (headers, body, status) in [
        (vec![PROTOBUF], b"\xff\xff".to_vec(), 400),
        (vec![PROTOBUF], vec![0; (4 << 20) + 1], 413),
        (vec![PROTOBUF, ("content-encoding", "gzip")], bomb, 413),
        (vec![PROTOBUF, ("content-encoding", "gzip")], b"no gzip".to_vec(), 400),
        (vec![PROTOBUF, ("content-encoding", "br")], vec![], 415),
        (vec![("content-type", "text/plain")], b"{}".to_vec(), 415),
        (vec![JSON], b"{\"resourceSpans\": 5}".to_vec(), 400),
        (vec![JSON], vec![b' '; (4 << 20) + 1], 413),
    ] {
        let answer = plane.ask(Method::POST, "/v1/traces", &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}");
    }
    let mut large = a_trace();
    large.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(5 << 20);
    let client = TraceServiceClient::connect(format!("http://{}", plane.running.xds)).await.expect("connects");
    let refused = client.clone().export(large.clone()).await.expect_err("too large");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let refused = client.send_compressed(CompressionEncoding::Gzip).export(large).await.expect_err("too large");
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused}");
    let metrics = plane.get("/metrics").await.body;
    assert!(String::from_utf8_lossy(&metrics).contains("outrigger_otlp_malformed_total 2\n"));
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_sent_on_as_they_came_over_either_transport() {
    let collector = Plane::start().await;
    let (grpc, http) = (collector.running.xds, collector.running.api);
    for target in [format!("http://{grpc}"), format!("http://{http}/v1/traces")] {
        let plane = Plane::start_with(&["--otlp-forward", &target]).await;
        let mut trace = a_trace();
        if target.ends_with("traces") {
            trace.resource_spans[0].scope_spans[0].spans.iter_mut().for_each(|span| span.trace_id = vec![2; 16]);
        }
        send_trace(&plane, &trace).await;
        let expected = "outrigger_otlp_forwarded_messages_total{result=\"sent\"} 1\n";
        soon("the trace is sent on", || async {
            let metrics = plane.get("/metrics").await.body;
            String::from_utf8_lossy(&metrics).contains(expected)
        })
        .await;
        plane.running.stop().await;
    }
    assert_eq!(collector.get("/api/v1/traces").await.json["traces"].as_array().map(Vec::len), Some(2));
    let arrived = collector.get(TRACE).await.json;
    assert_eq!(arrived["spans"].as_array().map(Vec::len), Some(3));
    collector.running.stop().await;
}
