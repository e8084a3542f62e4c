//! The exporter against scripted collectors over both transports, and one that is not there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_otlp::Protocol;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::{Exporter, Target};
use crate::telemetry::sink::{BATCH, SpanSink};
use crate::telemetry::span::tests::attempt;

/// A collector that keeps what it is sent.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn grpc(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    async fn http(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let collector = collector.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let collector = collector.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                        let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                        collector.0.lock().push(ExportTraceServiceRequest::decode(body).expect("a request"));
                        Ok::<_, Infallible>(http::Response::new(Full::new(bytes::Bytes::new())))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
            }
        });
        address
    }

    /// Spans by the service that they are of.
    fn spans(&self) -> BTreeMap<String, usize> {
        let mut spans = BTreeMap::new();
        for resource in self.0.lock().iter().flat_map(|request| &request.resource_spans) {
            let attributes = &resource.resource.as_ref().expect("a resource").attributes;
            let service = attributes.iter().find(|attribute| attribute.key == "service.name").expect("a name");
            let count: usize = resource.scope_spans.iter().map(|scope| scope.spans.len()).sum();
            *spans.entry(format!("{:?}", service.value)).or_default() += count;
        }
        spans
    }
}

async fn export(target: Target, sink: &SpanSink) {
    let stop = CancellationToken::new();
    let task = tokio::spawn(Exporter::new(sink.clone(), target, |_| None).run(stop.clone()));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("in time").expect("no panic");
}

fn other() -> crate::telemetry::SpanRecord {
    let mut record = attempt();
    let mut identity = record.identity.as_deref().cloned().expect("an identity");
    identity.service = "cart".into();
    record.identity = Some(Arc::new(identity));
    record
}

#[tokio::test]
async fn spans_reach_a_collector_over_both_transports_each_under_its_workload() {
    for protocol in [Protocol::Grpc, Protocol::HttpBinary] {
        let collector = Collector::default();
        let endpoint = match protocol {
            Protocol::Grpc => format!("http://{}", collector.grpc().await),
            _ => format!("http://{}/v1/traces", collector.http().await),
        };
        let sink = SpanSink::new(2, usize::MAX);
        (0..BATCH + 10).for_each(|_| sink.submit(0, attempt()));
        (0..5).for_each(|_| sink.submit(1, other()));
        sink.submit(1, attempt());
        export(Target { protocol, endpoint: Some(endpoint) }, &sink).await;
        let spans = collector.spans();
        let count = |service: &str| spans.iter().find(|(name, _)| name.contains(service)).map(|(_, count)| *count);
        assert_eq!((count("storefront"), count("cart")), (Some(BATCH + 11), Some(5)), "{protocol:?}: {spans:?}");
        assert_eq!((sink.sent(), sink.dropped()), (BATCH as u64 + 16, 0));
        let largest = collector.0.lock().iter().map(ExportTraceServiceRequest::encoded_len).max();
        assert!(largest.is_some_and(|bytes| bytes < 1024 * 1024), "{largest:?}");
    }
}

#[tokio::test]
async fn without_a_collector_spans_are_dropped_counted_and_their_memory_is_free() {
    let address = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let sink = SpanSink::new(1, 3 * BATCH * attempt().weight());
    (0..2 * BATCH).for_each(|_| sink.submit(0, attempt()));
    export(Target { protocol: Protocol::HttpBinary, endpoint: Some(format!("http://{address}/v1/traces")) }, &sink)
        .await;
    assert_eq!((sink.sent(), sink.dropped()), (0, 2 * BATCH as u64));
    (0..3 * BATCH).for_each(|_| sink.submit(0, attempt()));
    assert_eq!(sink.dropped(), 2 * BATCH as u64, "there is room again");
}

#[test]
fn the_variables_say_where_spans_go() {
    let control_plane = Some(([127, 0, 0, 1], 15012).into());
    let grpc = |endpoint: Option<&str>| Some(Target { protocol: Protocol::Grpc, endpoint: endpoint.map(Into::into) });
    let http = Some(Target { protocol: Protocol::HttpBinary, endpoint: None });
    for (variables, with, expected) in [
        (&[][..], None, None),
        (&[], control_plane, grpc(Some("http://127.0.0.1:15012"))),
        (&[("OTEL_SDK_DISABLED", "true")], control_plane, None),
        (&[("OTEL_TRACES_EXPORTER", "none")], control_plane, None),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None, None),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")], control_plane, grpc(None)),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")], control_plane, http.clone()),
        (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1/v1/traces")], None, http.clone()),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], None, grpc(None)),
        (
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ],
            None,
            http,
        ),
    ] {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(Target::choose(get, with), expected, "{variables:?}");
    }
}
