use proptest::prelude::{prop_assert, proptest};

use super::render;
use crate::traces::{Attribute, Kind, Span, SpanId, Status, Trace, TraceId};

fn id(number: u64) -> SpanId {
    SpanId::parse(&format!("{number:016x}")).expect("not zero")
}

fn trace(spans: Vec<Span>) -> Trace {
    Trace::new(TraceId::parse("0af7651916cd43dd8448eb211c80319c").expect("valid"), spans, 0)
}

/// A span that begins and takes so many tenths of a millisecond.
fn span(number: u64, parent: u64, kind: Kind, service: &str, name: &str, (start, took): (u64, u64)) -> Span {
    Span {
        span_id: id(number),
        parent_span_id: (parent > 0).then(|| id(parent)),
        name: name.into(),
        kind,
        service: service.into(),
        instance: String::new(),
        start_unix_ns: 1_000_000_000 + start * 100_000,
        duration_ms: took as f64 / 10.0,
        status: Status::Unset,
        attributes: [].into_iter().collect(),
    }
}

fn with(mut span: Span, status: Status, attributes: &[(&str, Attribute)]) -> Span {
    span.status = status;
    span.attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    span
}

fn text(text: &str) -> Attribute {
    Attribute::Text(text.into())
}

fn retried() -> Trace {
    let (code, to) = ("http.response.status_code", "server.address");
    trace(vec![
        with(span(1, 0, Kind::Server, "storefront", "GET /", (0, 342)), Status::Unset, &[(code, Attribute::Int(200))]),
        with(
            span(2, 1, Kind::Client, "storefront", "GET /products/{id}", (10, 21)),
            Status::Error,
            &[
                (to, text("catalog")),
                ("error.type", text("connection_refused")),
                ("network.peer.address", text("127.0.0.1")),
                ("network.peer.port", Attribute::Int(9003)),
            ],
        ),
        with(
            span(3, 1, Kind::Client, "storefront", "GET /products/{id}", (60, 260)),
            Status::Unset,
            &[
                (to, text("catalog")),
                (code, Attribute::Int(200)),
                ("http.request.resend_count", Attribute::Int(1)),
                ("outrigger.retry.reason", text("connection_refused")),
            ],
        ),
        with(
            span(4, 3, Kind::Server, "catalog", "GET /products/{id}", (65, 250)),
            Status::Unset,
            &[(code, Attribute::Int(200))],
        ),
        with(
            span(5, 4, Kind::Client, "catalog", "shop.Pricing/Quote", (100, 150)),
            Status::Unset,
            &[(to, text("pricing")), (code, Attribute::Int(200))],
        ),
        with(
            span(6, 1, Kind::Client, "storefront", "GET /cart", (325, 15)),
            Status::Error,
            &[(to, text("cart")), (code, Attribute::Int(503)), ("error.type", text("503"))],
        ),
    ])
}

#[test]
fn attempts_stand_one_under_the_other_with_their_reasons() {
    insta::assert_snapshot!(render(&retried(), 110, false));
}

#[test]
fn paths_and_what_was_only_observed_are_shown() {
    let plain = with(
        span(1, 0, Kind::Server, "web", "GET", (0, 9)),
        Status::Unset,
        &[
            ("http.request.method", text("GET")),
            ("url.path", text("/status/7")),
            ("outrigger.would", text("rate_limit, eject")),
        ],
    );
    let drawn = render(&trace(vec![plain]), 80, false);
    assert!(drawn.starts_with("web GET /status/7  succeeded\n"), "{drawn}");
    assert!(drawn.ends_with("\n  only observed, would have acted: rate_limit, eject\n"), "{drawn}");
}

#[test]
fn colours_say_the_same_again() {
    let mut short = retried();
    short.spans.truncate(3);
    insta::assert_snapshot!(render(&short, 100, true).replace('\x1b', "~"));
}

#[test]
fn a_failed_trace_says_why() {
    let failed = with(
        span(1, 0, Kind::Internal, "checkout", "outrigger.outbound bank", (0, 9)),
        Status::Error,
        &[("error.type", text("retry_budget_exhausted")), ("otel.status_description", text("evil \x1b[2J"))],
    );
    let mut failed = trace(vec![failed]);
    failed.dropped_spans = 3;
    insta::assert_snapshot!(render(&failed, 80, false));
}

#[test]
fn spans_that_are_each_others_parents_are_drawn_once() {
    let odd = trace(vec![
        span(1, 2, Kind::Internal, "a", "one", (0, 1)),
        span(2, 1, Kind::Internal, "a", "two", (0, 1)),
        span(3, 3, Kind::Internal, "a", "three", (0, 1)),
        span(4, 99, Kind::Internal, "a", "four", (0, 1)),
    ]);
    let drawn = render(&odd, 80, false);
    for name in ["one", "two", "three", "four"] {
        assert_eq!(drawn.matches(&format!("a  {name}")).count(), 1, "{name}\n{drawn}");
    }
}

#[test]
fn a_trace_without_spans_is_a_heading() {
    assert!(render(&trace(vec![]), 80, false).contains("0 spans"));
}

proptest! {
    #[test]
    fn any_trace_fits_the_width(
        spans in proptest::collection::vec((1_u64..40, 0_u64..40, 0_u64..1000, 0_u64..1000, "\\PC{0,40}", 0_i64..3), 0..60),
        width in 60_usize..200,
    ) {
        let spans = spans.into_iter().map(|(number, parent, start, took, name, resend)| {
            let one = span(number, parent, Kind::Client, "s", &name, (start, took));
            with(one, Status::Error, &[
                ("error.type", text(&name)),
                ("http.request.resend_count", Attribute::Int(resend)),
            ])
        });
        let drawn = render(&trace(spans.collect()), width, false);
        for line in drawn.lines() {
            prop_assert!(line.chars().count() <= width, "{} > {width}: {line}", line.chars().count());
        }
    }
}
