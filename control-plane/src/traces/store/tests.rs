use std::time::Duration;

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::{MAX_SPANS, Traces};
use crate::traces::{Attribute, Kind, MAX_ATTRIBUTES, MAX_TEXT, Query, Span, SpanId, Status, StatusFilter, TraceId};

const MIB: usize = 1 << 20;

fn trace_id(number: u64) -> TraceId {
    TraceId::parse(&format!("{:032x}", number + 1)).expect("not zero")
}

fn span(number: u64) -> Span {
    Span {
        span_id: SpanId::parse(&format!("{:016x}", number + 1)).expect("not zero"),
        parent_span_id: None,
        name: "GET /".into(),
        kind: Kind::Server,
        service: "web".into(),
        instance: "shop/web-1".into(),
        start_unix_ns: 1_000_000 * number,
        duration_ms: 1.0,
        status: Status::Unset,
        attributes: [("http.response.status_code".to_owned(), Attribute::Int(200))].into_iter().collect(),
    }
}

fn found(traces: &Traces, query: Query) -> Vec<u64> {
    let all = traces.search(&Query { limit: 100, ..query });
    all.iter().map(|trace| u64::from_str_radix(&trace.trace_id.to_string(), 16).expect("hex") - 1).collect()
}

#[test]
fn spans_of_a_trace_come_together_in_any_order() {
    let mut traces = Traces::new(MIB);
    let mut child = span(2);
    child.parent_span_id = Some(span(0).span_id);
    child.service = "cart".into();
    child.status = Status::Error;
    traces.record(trace_id(0), child);
    traces.record(trace_id(0), span(0));
    let trace = traces.get(trace_id(0)).expect("kept");
    assert_eq!(trace.services, ["web", "cart"]);
    assert_eq!((trace.start_unix_ns, trace.duration_ms, trace.error), (0, 3.0, true));
    assert_eq!(trace.spans[0].span_id, span(0).span_id);
    assert_eq!(traces.get(trace_id(1)), None);
    let summary = &traces.search(&Query { limit: 1, ..Query::default() })[0];
    assert_eq!((summary.error, summary.failed), (true, false), "the caller did not see it");
    assert_eq!(found(&traces, Query { status: StatusFilter::parse("failed"), ..Query::default() }), [0; 0]);
}

#[test]
fn a_search_answers_newest_first_and_every_condition_must_hold() {
    let mut traces = Traces::new(MIB);
    for number in 0..4 {
        let mut one = span(number);
        one.duration_ms = 10.0 * number as f64;
        if number == 2 {
            one.service = "cart".into();
            one.status = Status::Error;
            one.attributes = [
                ("http.response.status_code".to_owned(), Attribute::Int(503)),
                ("http.request.resend_count".to_owned(), Attribute::Int(1)),
            ]
            .into_iter()
            .collect();
        }
        traces.record(trace_id(number), one);
    }
    let status = |status| Query { status: StatusFilter::parse(status), ..Query::default() };
    let service = |service: &str| Query { service: Some(service.into()), ..Query::default() };
    assert_eq!(found(&traces, Query::default()), [3, 2, 1, 0]);
    assert_eq!(found(&traces, service("cart")), [2]);
    assert_eq!(found(&traces, service("car")), [0; 0]);
    assert_eq!(found(&traces, status("error")), [2]);
    assert_eq!(found(&traces, status("failed")), [2]);
    assert_eq!(found(&traces, status("ok")), [3, 1, 0]);
    assert_eq!(found(&traces, status("503")), [2]);
    assert_eq!(found(&traces, Query { retried: true, ..Query::default() }), [2]);
    let slow = Query { min_duration: Some(Duration::from_millis(20)), ..Query::default() };
    assert_eq!(found(&traces, slow.clone()), [3, 2]);
    assert_eq!(found(&traces, Query { service: Some("web".into()), ..slow }), [3]);
    assert_eq!(traces.search(&Query { limit: 2, ..Query::default() }).len(), 2);
}

#[test]
fn a_trace_fails_when_its_last_attempt_does() {
    let attempt = |number: u64, status| {
        let mut attempt = span(number);
        attempt.parent_span_id = Some(span(100).span_id);
        attempt.status = status;
        let count = Attribute::Int(i64::try_from(number).expect("small"));
        attempt.attributes = [("http.request.resend_count".to_owned(), count)].into_iter().collect();
        attempt
    };
    for (last, fails) in [(Status::Unset, false), (Status::Error, true)] {
        let mut traces = Traces::new(MIB);
        traces.record(trace_id(0), attempt(0, Status::Error));
        traces.record(trace_id(0), attempt(1, last));
        let trace = traces.get(trace_id(0)).expect("kept");
        assert_eq!((trace.failed, trace.error), (fails, true), "{last:?}");
        let status = StatusFilter::parse("failed");
        assert_eq!(found(&traces, Query { status, ..Query::default() }).len(), usize::from(fails));
    }
}

#[test]
fn the_oldest_trace_goes_whole() {
    let mut traces = Traces::new(64 * 1024);
    for number in 0..1000 {
        traces.record(trace_id(number), span(0));
        traces.record(trace_id(number), span(1));
        assert!(traces.bytes() <= 64 * 1024);
    }
    assert!(traces.len() > 30, "{}", traces.len());
    let kept: Vec<u64> = found(&traces, Query::default());
    assert_eq!(kept[0], 999);
    assert!(kept.windows(2).all(|pair| pair[0] == pair[1] + 1));
    assert!(traces.search(&Query { limit: 1000, ..Query::default() }).iter().all(|trace| trace.span_count == 2));
}

#[test]
fn one_trace_takes_its_share_and_no_more() {
    let mut traces = Traces::new(8 * MIB);
    traces.record(trace_id(0), span(0));
    for number in 0..10_000 {
        traces.record(trace_id(1), span(number));
    }
    assert_eq!(traces.get(trace_id(1)).map(|trace| (trace.spans.len(), trace.dropped_spans)), Some((512, 9488)));
    assert_eq!(traces.counters().dropped, 10_000 - MAX_SPANS as u64);
    for number in 0..512 {
        let mut fat = span(number);
        let value = |key| (format!("{key}"), Attribute::Text("x".repeat(10_000)));
        fat.attributes = (0..1000).map(value).collect();
        traces.record(trace_id(2), fat);
    }
    assert!(traces.bytes() < 3 * MIB, "{}", traces.bytes());
    let fat = traces.get(trace_id(2)).expect("kept");
    assert_eq!(fat.spans[0].attributes.iter().count(), MAX_ATTRIBUTES);
    assert_eq!(fat.spans[0].attributes.text("0").map(str::len), Some(MAX_TEXT));
    assert!(fat.dropped_spans > 0);
    assert!(traces.get(trace_id(0)).is_some(), "a fat trace does not push a small one out");
}

#[test]
fn a_span_sent_twice_is_kept_once() {
    let mut traces = Traces::new(MIB);
    traces.record(trace_id(0), span(0));
    traces.record(trace_id(0), span(0));
    assert_eq!(traces.get(trace_id(0)).map(|trace| (trace.spans.len(), trace.dropped_spans)), Some((1, 0)));
}

#[test]
fn secrets_that_an_application_recorded_are_covered() {
    let mut traces = Traces::new(MIB);
    let mut one = span(0);
    let keys = ["http.request.header.authorization", "http.response.header.set_cookie", "Cookie", "http.route"];
    one.attributes = keys.map(|key| (key.to_owned(), Attribute::Text("secret".into()))).into_iter().collect();
    traces.record(trace_id(0), one);
    let kept = traces.get(trace_id(0)).expect("kept");
    let values = keys.map(|key| kept.spans[0].attributes.text(key).expect("kept"));
    assert_eq!(values, ["[redacted]", "[redacted]", "[redacted]", "secret"]);
}

#[test]
fn a_trace_reads_back_from_its_own_json() {
    let mut traces = Traces::new(MIB);
    let mut one = span(0);
    one.attributes = [
        ("b".to_owned(), Attribute::Bool(true)),
        ("i".to_owned(), Attribute::Int(-1)),
        ("f".to_owned(), Attribute::Float(0.5)),
        ("t".to_owned(), Attribute::Text("1".into())),
    ]
    .into_iter()
    .collect();
    traces.record(trace_id(0), one);
    let trace = traces.get(trace_id(0)).expect("kept");
    let json = serde_json::to_string(&trace).expect("no map keys but strings");
    assert_eq!(serde_json::from_str::<crate::traces::Trace>(&json).expect("own output"), trace);
}

proptest! {
    #[test]
    fn bytes_are_the_sum_of_what_is_kept_and_never_too_many(
        spans in proptest::collection::vec((0_u64..20, 0_u64..20, 0_usize..3000), 0..200),
    ) {
        let mut traces = Traces::new(32 * 1024);
        for (trace, number, text) in spans {
            let mut one = span(number);
            one.name = "x".repeat(text);
            traces.record(trace_id(trace), one);
            prop_assert!(traces.bytes() <= 32 * 1024);
            prop_assert_eq!(traces.bytes(), traces.by_id.values().map(|entry| entry.bytes).sum::<usize>());
            prop_assert_eq!(traces.order.len(), traces.by_id.len());
        }
    }
}
