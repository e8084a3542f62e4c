use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use proptest::prelude::{any, prop_assert_eq, proptest};
use prost::Message;
use serde_json::json;

use super::super::wire;
use super::{Fault, MAX_MESSAGE, MAX_TEXT, metrics, traces};

/// As the specification's example has it, with fields that nobody knows on every storey.
const TRACE: &str = r#"
{ "news": [1], "resourceSpans": [ { "news": {}, "scopeSpans": [ { "scope": { "name": "my.library", "news": 1 },
  "spans": [ {
    "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "parentSpanId": "",
    "traceState": null, "flags": 257, "name": "I'm a server \u00fcber", "news": { "deep": [[{}]] },
    "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": 1544712661000000000, "kind": 2,
    "attributes": [
      { "key": "a", "value": { "stringValue": "text" } }, { "key": "b", "value": { "intValue": "-3" } },
      { "key": "c", "value": { "intValue": 4 } }, { "key": "d", "value": { "boolValue": true } },
      { "key": "e", "value": { "doubleValue": 0.5 } },
      { "key": "f", "value": { "arrayValue": { "values": [ { "stringValue": "x" } ] } } },
      { "key": "g", "value": { "bytesValue": "AQI=" } }, { "key": "h", "value": { "newsValue": 1 } } ],
    "droppedAttributesCount": 0, "status": { "code": 2, "message": "no" } } ], "schemaUrl": "https://a.example" } ],
  "resource": { "attributes": [ { "key": "service.name", "value": { "stringValue": "my.service" } } ] } } ] }"#;

#[test]
fn a_trace_reads_as_the_specification_says() {
    let message = traces(TRACE.as_bytes()).expect("OTLP");
    let request = ExportTraceServiceRequest::decode(message).expect("protobuf");
    let group = &request.resource_spans[0];
    assert_eq!(group.resource.as_ref().expect("a resource").attributes[0].key, "service.name");
    let scoped = &group.scope_spans[0];
    assert_eq!(
        (scoped.scope.as_ref().expect("a scope").name.as_str(), &*scoped.schema_url),
        ("my.library", "https://a.example")
    );
    let span = &scoped.spans[0];
    assert_eq!(span.trace_id, 0x5B8EFFF798038103D269B633813FC60C_u128.to_be_bytes());
    assert_eq!(span.span_id, 0xeee19b7ec3c1b174_u64.to_be_bytes());
    assert!(span.parent_span_id.is_empty());
    assert_eq!((span.kind, &*span.name), (2, "I'm a server über"));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1_000_000_000);
    let status = span.status.as_ref().expect("a status");
    assert_eq!((status.code, &*status.message), (2, "no"));
    let values: Vec<_> =
        span.attributes.iter().map(|one| one.value.as_ref().and_then(|value| value.value.clone())).collect();
    assert_eq!(
        values[..3],
        [Some(Value::StringValue("text".into())), Some(Value::IntValue(-3)), Some(Value::IntValue(4))]
    );
    assert_eq!(values[3..5], [Some(Value::BoolValue(true)), Some(Value::DoubleValue(0.5))]);
    assert!(matches!(&values[5], Some(Value::ArrayValue(list)) if list.values.len() == 1));
    assert_eq!(values[6..], [Some(Value::BytesValue(vec![1, 2])), None]);
}

#[test]
fn metrics_read_as_the_specification_says() {
    let text = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
        { "name": "http.client.request.duration", "unit": "s", "histogram": { "aggregationTemporality": 1, "dataPoints": [
            { "count": "10", "sum": 0.07, "bucketCounts": ["0", 10, "0"], "explicitBounds": [0.005, 1] }] } },
        { "name": "outrigger.retries", "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [
            { "asInt": "3" }, { "asDouble": 2.5 }, "no point"] } },
        { "name": "others", "gauge": { "dataPoints": [{ "asInt": 1 }] } },
    ] }] }] });
    let message = metrics(text.to_string().as_bytes()).expect("OTLP");
    let request = ExportMetricsServiceRequest::decode(message).expect("protobuf");
    let found = &request.resource_metrics[0].scope_metrics[0].metrics;
    let Some(metric::Data::Histogram(histogram)) = &found[0].data else { panic!("{found:?}") };
    assert_eq!((histogram.aggregation_temporality, &histogram.data_points[0].bucket_counts[..]), (1, &[0, 10, 0][..]));
    assert_eq!(histogram.data_points[0].explicit_bounds, [0.005, 1.0]);
    let Some(metric::Data::Sum(sum)) = &found[1].data else { panic!("{found:?}") };
    let values: Vec<_> = sum.data_points.iter().map(|point| point.value).collect();
    use number_data_point::Value::{AsDouble, AsInt};
    assert_eq!(values, [Some(AsInt(3)), Some(AsDouble(2.5)), None], "what is none is empty, and counted later");
    assert_eq!((&*found[2].name, &found[2].data), ("others", &None));
}

#[test]
fn what_is_no_otlp_is_malformed() {
    for text in [
        "",
        "[]",
        "null",
        "3",
        "{",
        "\u{feff}{}",
        "{} {}",
        r#"{"resourceSpans":{}}"#,
        r#"{"resourceSpans":[[]]}"#,
        r#"{"resourceSpans":[{"resource":5}]}"#,
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":5}]}]}"#,
        r#"{"resourceSpans":[{"schemaUrl":5}]}"#,
    ] {
        assert_eq!(traces(text.as_bytes()), Err(Fault::Malformed), "{text}");
    }
    assert_eq!(traces(b"{\"a\":\"\xff\"}"), Err(Fault::Malformed));
    for text in ["{}", r#" { "resourceSpans": [] }"#, r#"{"resourceSpans":null}"#, r#"{"others":[]}"#] {
        assert_eq!(traces(text.as_bytes()), Ok(Bytes::new()), "{text}");
    }
}

fn spans(message: &Bytes) -> Vec<usize> {
    let group = wire::one(message, 1).expect("well formed").expect("is there");
    let scoped = wire::one(&group, 2).expect("well formed").expect("is there");
    wire::all(&scoped, 2).map(|span| span.expect("well formed").len()).collect()
}

#[test]
fn a_span_that_makes_no_sense_becomes_an_empty_one() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(MAX_TEXT));
    let bad = format!(r#"{{"traceId":"no hex"}}, {{"kind":"SERVER"}}, null, {{"news":{deep}}}, {long}"#);
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"good"}}, {bad}]}}]}}]}}"#);
    assert_eq!(spans(&traces(text.as_bytes()).expect("OTLP")), [6, 0, 0, 0, 0, 0]);
}

#[test]
fn what_grows_beyond_a_message_is_too_large() {
    // A count of one letter and a comma takes eight bytes.
    let counts = vec!["1"; 10_000].join(",");
    let point = format!(r#"{{"bucketCounts":[{counts}]}}"#);
    let points = vec![point.as_str(); 100].join(",");
    let data = format!(r#"{{"dataPoints":[{points}]}}"#);
    let text = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{data}}}]}}]}}]}}"#);
    assert!(text.len() < MAX_MESSAGE);
    assert_eq!(metrics(text.as_bytes()), Err(Fault::TooLarge));
}

proptest! {
    #[test]
    fn any_text_ends_without_panic(text in "[\\[\\]{}\":,a-c0-9 ]{0,60}", inside in any::<bool>()) {
        let text = if inside { format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":{text}}}]}}]}}"#) } else { text };
        // Whatever comes out is protobuf.
        if let Ok(message) = traces(text.as_bytes()) {
            prop_assert_eq!(ExportTraceServiceRequest::decode(message).err(), None);
        }
    }
}
