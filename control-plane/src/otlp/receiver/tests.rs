use std::time::Instant;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use super::{Malformed, Receiver, Rejected};
use crate::graph::{BOUNDS, GraphView};
use crate::signals::Signals;
use crate::traces::{Kind, TraceId};

fn receiver() -> (Receiver, Signals, Instant) {
    let now = Instant::now();
    let signals = Signals::new(1 << 20, now);
    (Receiver::new(signals.clone(), None), signals, now)
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn int(key: &str, value: i64) -> KeyValue {
    let value = AnyValue { value: Some(Value::IntValue(value)) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn resource(service: &str) -> Option<Resource> {
    let attributes = [
        text("service.name", service),
        text("service.namespace", "shop"),
        text("service.instance.id", "shop/web-1"),
        text("telemetry.distro.name", "outrigger"),
    ];
    Some(Resource { attributes: attributes.into(), ..Resource::default() })
}

fn spans(spans: Vec<Span>) -> Bytes {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource("web"), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET /".into(),
        kind: 3,
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 2_001_000,
        attributes: vec![int("http.response.status_code", 503)],
        status: Some(Status { code: 2, message: "late".into() }),
        ..Span::default()
    }
}

fn message(metrics: Vec<metrics::Metric>, resource: Option<Resource>) -> Bytes {
    let scope_metrics = vec![metrics::ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![metrics::ResourceMetrics { resource, scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into()
}

fn durations(name: &str, attributes: Vec<KeyValue>, temporality: i32) -> metrics::Metric {
    let mut bucket_counts = vec![0; BOUNDS.len() + 1];
    bucket_counts[4] = 10;
    let point = metrics::HistogramDataPoint {
        attributes,
        count: 10,
        bucket_counts,
        explicit_bounds: BOUNDS.to_vec(),
        ..Default::default()
    };
    let histogram = metrics::Histogram { data_points: vec![point], aggregation_temporality: temporality };
    metrics::Metric { name: name.into(), data: Some(metrics::metric::Data::Histogram(histogram)), ..Default::default() }
}

fn to_cart() -> Vec<KeyValue> {
    vec![
        text("outrigger.destination.service", "cart"),
        text("outrigger.destination.namespace", "shop"),
        text("outrigger.destination.version", "v1"),
        int("http.response.status_code", 503),
        text("error.type", "connection_refused"),
    ]
}

fn view(signals: &Signals, now: Instant) -> GraphView {
    signals.graph_view(now, std::time::UNIX_EPOCH)
}

#[test]
fn a_span_is_filed_with_who_sent_it() {
    let (receiver, signals, _) = receiver();
    assert_eq!(receiver.traces(&spans(vec![span()])), Ok(Rejected { count: 0 }));
    let trace = TraceId::from_bytes(&[1; 16]).and_then(|id| signals.traces(|traces| traces.get(id)));
    let trace = trace.expect("kept");
    assert_eq!((trace.error, trace.duration_ms), (true, 2.0));
    let span = &trace.spans[0];
    assert_eq!((&*span.service, &*span.instance, span.kind), ("web", "shop/web-1", Kind::Client));
    assert_eq!(span.http_status(), Some(503));
    assert_eq!(span.attributes.text("otel.status_description"), Some("late"));
}

#[test]
fn spans_without_identity_and_giants_are_left_out_and_the_rest_is_kept() {
    let (receiver, signals, _) = receiver();
    let giant = Span { name: "x".repeat(200_000), ..span() };
    let message = spans(vec![Span::default(), giant, span(), Span { trace_id: vec![0; 16], ..span() }]);
    assert_eq!(receiver.traces(&message), Ok(Rejected { count: 3 }));
    assert_eq!((receiver.counters().spans, receiver.counters().rejected_spans), (1, 3));
    assert_eq!(signals.traces(|traces| traces.len()), 1);
}

#[test]
fn what_is_no_otlp_is_refused_and_counted() {
    let (receiver, _, now) = receiver();
    let whole = spans(vec![span()]);
    assert_eq!(receiver.traces(&whole.slice(..whole.len() - 1)), Err(Malformed));
    assert_eq!(receiver.metrics(&Bytes::from_static(b"{\"resourceMetrics\":[]}"), now), Err(Malformed));
    assert_eq!(receiver.counters().malformed, 2);
}

#[test]
fn four_mebibytes_of_nothing_cost_nothing() {
    let (receiver, signals, _) = receiver();
    // Two bytes each: the field of a span, and its length of zero.
    let nothing = [0x12, 0].repeat(1 << 21);
    let mut scope = vec![0x12];
    prost::encode_length_delimiter(nothing.len(), &mut scope).expect("a vector grows");
    scope.extend(nothing);
    let mut message = vec![0x0a];
    prost::encode_length_delimiter(scope.len(), &mut message).expect("a vector grows");
    message.extend(scope);
    assert_eq!(receiver.traces(&message.into()), Ok(Rejected { count: 1 << 21 }));
    assert_eq!(signals.traces(|traces| traces.bytes()), 0);
}

#[test]
fn nesting_ends_in_an_error_and_not_in_an_overflow() {
    let (receiver, _, _) = receiver();
    let mut value = AnyValue { value: Some(Value::IntValue(1)) }.encode_to_vec();
    for _ in 0..20_000 {
        // A list in a list: field 1 of ArrayValue inside field 5 of AnyValue.
        for tag in [0x0a, 0x2a] {
            let mut outer = vec![tag];
            prost::encode_length_delimiter(value.len(), &mut outer).expect("a vector grows");
            outer.extend(&value);
            value = outer;
        }
        if value.len() > 100_000 {
            break;
        }
    }
    let mut message = span().encode_to_vec();
    let mut attribute = vec![0x0a, 1, b'k', 0x12];
    prost::encode_length_delimiter(value.len(), &mut attribute).expect("a vector grows");
    attribute.extend(value);
    message.push(0x4a);
    prost::encode_length_delimiter(attribute.len(), &mut message).expect("a vector grows");
    message.extend(attribute);
    let mut scope = vec![0x12];
    prost::encode_length_delimiter(message.len(), &mut scope).expect("a vector grows");
    scope.extend(message);
    let mut resource = vec![0x12];
    prost::encode_length_delimiter(scope.len(), &mut resource).expect("a vector grows");
    resource.extend(scope);
    let mut whole = vec![0x0a];
    prost::encode_length_delimiter(resource.len(), &mut whole).expect("a vector grows");
    whole.extend(resource);
    assert_eq!(receiver.traces(&whole.into()), Ok(Rejected { count: 1 }));
}

#[test]
fn what_a_callers_proxy_measured_is_an_edge() {
    let (receiver, signals, now) = receiver();
    let retried = metrics::NumberDataPoint {
        attributes: to_cart().into_iter().chain([text("outrigger.retry.reason", "connection_refused")]).collect(),
        value: Some(metrics::number_data_point::Value::AsInt(4)),
        ..Default::default()
    };
    let sum = metrics::Sum { data_points: vec![retried], aggregation_temporality: 1, is_monotonic: true };
    let retries = metrics::Metric {
        name: "outrigger.retries".into(),
        data: Some(metrics::metric::Data::Sum(sum)),
        ..Default::default()
    };
    let all = vec![durations("http.client.request.duration", to_cart(), 1), retries];
    assert_eq!(receiver.metrics(&message(all, resource("web")), now), Ok(Rejected { count: 0 }));
    let view = view(&signals, now);
    let edge = &view.edges[0];
    assert_eq!((&*edge.source, &*edge.destination, &*edge.namespace, &*edge.version), ("web", "cart", "shop", "v1"));
    let minute = &edge.windows.minute;
    assert_eq!((minute.requests, minute.success, minute.retries), (10, Some(0.0), 4));
    assert_eq!((edge.codes["503"], edge.reasons["connection_refused"]), (10, 10));
    assert_eq!(edge.retry_reasons["connection_refused"], 4);
}

#[test]
fn what_a_proxy_measured_of_its_own_service_is_a_service() {
    let (receiver, signals, now) = receiver();
    let own = durations("http.server.request.duration", vec![int("http.response.status_code", 200)], 1);
    assert_eq!(receiver.metrics(&message(vec![own], resource("web")), now), Ok(Rejected { count: 0 }));
    let view = view(&signals, now);
    assert_eq!((view.edges.len(), &*view.services[0].service), (0, "web"));
    assert_eq!(view.services[0].windows.ten_seconds.success, Some(1.0));
}

#[test]
fn what_would_have_been_done_is_filed_by_the_side_that_says_it() {
    let (receiver, signals, now) = receiver();
    let point = |would: &str, hop: &str| metrics::NumberDataPoint {
        attributes: to_cart().into_iter().chain([text("outrigger.would", would), text("outrigger.hop", hop)]).collect(),
        value: Some(metrics::number_data_point::Value::AsInt(4)),
        ..Default::default()
    };
    let data_points = vec![point("breaker", "outbound"), point("rate_limit", "inbound"), point("", "inbound")];
    let sum = metrics::Sum { data_points, aggregation_temporality: 1, is_monotonic: true };
    let observed = metrics::Metric {
        name: "outrigger.observed".into(),
        data: Some(metrics::metric::Data::Sum(sum)),
        ..Default::default()
    };
    assert_eq!(receiver.metrics(&message(vec![observed], resource("web")), now), Ok(Rejected { count: 1 }));
    let view = view(&signals, now);
    assert_eq!((view.edges[0].observed.len(), view.edges[0].observed["breaker"]), (1, 4));
    assert_eq!((&*view.services[0].service, view.services[0].observed["rate_limit"]), ("cart", 4));
}

#[test]
fn what_others_measure_is_passed_over() {
    let (receiver, signals, now) = receiver();
    let foreign = Some(Resource { attributes: vec![text("service.name", "app")], ..Resource::default() });
    let metric = durations("http.client.request.duration", to_cart(), 1);
    assert_eq!(receiver.metrics(&message(vec![metric], foreign), now), Ok(Rejected { count: 0 }));
    let unknown = durations("process.cpu.time", to_cart(), 1);
    assert_eq!(receiver.metrics(&message(vec![unknown], resource("web")), now), Ok(Rejected { count: 0 }));
    assert_eq!(view(&signals, now).edges, []);
}

#[test]
fn cumulative_and_shapeless_points_are_left_out() {
    let (receiver, signals, now) = receiver();
    let name = "http.client.request.duration";
    let mut shapeless = durations(name, to_cart(), 1);
    if let Some(metrics::metric::Data::Histogram(histogram)) = &mut shapeless.data {
        histogram.data_points[0].bucket_counts.pop();
    }
    let all = vec![durations(name, to_cart(), 2), durations(name, vec![], 1), shapeless];
    assert_eq!(receiver.metrics(&message(all, resource("web")), now), Ok(Rejected { count: 3 }));
    assert_eq!(view(&signals, now).edges, []);
}
