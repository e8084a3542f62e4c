//! What telemetry costs a request, and what a span costs the control runtime: `cargo bench -p outrigger-proxy --bench
//! telemetry`. Numbers to look at, never a gate. All on one thread without contention, everything in cache.
#![allow(missing_docs)]

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use outrigger_config::listener::{Direction, Identity};
use outrigger_config::name::ObjectName;
use outrigger_config::value::Percent;
use outrigger_proxy::telemetry::context::Context;
use outrigger_proxy::telemetry::convert::{convert, resource, scope};
use outrigger_proxy::telemetry::sink::BATCH;
use outrigger_proxy::telemetry::{Edge, Sampler, SpanKind, SpanRecord, SpanSink, Would};
use prost::Message;

/// As the binary has it: a span is mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: u32 = 1_000_000;

fn main() -> std::io::Result<()> {
    let edge = Edge::default();
    measure("edge: record", ROUNDS, || {
        edge.record(black_box(200), None, None, Would::default(), Duration::from_micros(900));
    })?;
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("catalog"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    measure("context: extract, none there", ROUNDS, || Context::extract(black_box(&headers)))?;
    let mut rng = fastrand::Rng::with_seed(1);
    measure("context: decide and inject", ROUNDS, || {
        Context::decide(None, Sampler::following(Percent::HUNDRED), &mut rng).inject(&mut headers, true);
    })?;
    measure("context: extract", ROUNDS, || Context::extract(black_box(&headers)))?;
    let identity = Arc::new(Identity {
        workload: ObjectName::try_new("shop", "storefront-1").expect("a name"),
        service: "storefront".into(),
        version: "v1".into(),
        locality: Default::default(),
    });
    let (route, host): (Arc<str>, Arc<str>) = ("HTTPRoute shop/catalog/rule-0".into(), "catalog.shop".into());
    let record = || SpanRecord {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent: Some([3; 8]),
        state: None,
        kind: SpanKind::Client,
        start: SystemTime::UNIX_EPOCH,
        duration: Duration::from_millis(1),
        identity: Some(Arc::clone(&identity)),
        direction: Direction::Outbound,
        method: Method::GET,
        path: "/products/7".into(),
        authority: None,
        version: Version::HTTP_11,
        status: 200,
        grpc: false,
        grpc_status: None,
        reason: None,
        route: Some(Arc::clone(&route)),
        host: Some(Arc::clone(&host)),
        peer: Some(([127, 0, 0, 1], 9001).into()),
        attempt: 0,
        retry_of: None,
        lost: false,
        withheld: None,
        cache: None,
        would: Would::default(),
        snapshot: 7,
    };
    let sink = SpanSink::new(1, usize::MAX);
    let mut spare = Vec::new();
    measure("span: make a record, submit, take", ROUNDS, || {
        sink.submit(0, record());
        if sink.sent() == 0 && fastrand::u32(..BATCH as u32) == 0 {
            let mut taken = sink.take(0, std::mem::take(&mut spare));
            taken.spans.clear();
            spare = taken.spans;
        }
    })?;
    let scope = scope();
    let records: Vec<SpanRecord> = (0..BATCH).map(|_| record()).collect();
    let attributes = ResourceAttributesWithSchema::from(&resource(Some(&identity)));
    let (mut converting, mut transforming, mut encoding) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let rounds = 400;
    let mut bytes = 0;
    for _ in 0..rounds {
        let start = Instant::now();
        let spans: Vec<_> = records.iter().map(|record| convert(record, &scope)).collect();
        converting += start.elapsed();
        let start = Instant::now();
        // As the stock exporter does it, clone included.
        let request =
            ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(spans.clone(), &attributes) };
        drop(spans);
        transforming += start.elapsed();
        let start = Instant::now();
        bytes = black_box(request.encode_to_vec()).len();
        drop(request);
        encoding += start.elapsed();
    }
    let of_one = rounds * u32::try_from(BATCH).unwrap_or(u32::MAX);
    let mut out = std::io::stdout();
    for (what, time) in [("span: convert", converting), ("span: to protobuf", transforming), ("span: encode", encoding)]
    {
        writeln!(out, "{what:40} {:8.1} ns", time.as_secs_f64() * 1e9 / f64::from(of_one))?;
    }
    writeln!(out, "{:40} {:8} bytes, {} in memory", "span: size", bytes / BATCH, size_of::<SpanRecord>())
}

fn measure<T>(what: &str, rounds: u32, mut run: impl FnMut() -> T) -> std::io::Result<()> {
    (0..rounds / 10).for_each(|_| drop(black_box(run())));
    let start = Instant::now();
    (0..rounds).for_each(|_| drop(black_box(run())));
    let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds);
    writeln!(std::io::stdout(), "{what:40} {each:8.1} ns")
}
