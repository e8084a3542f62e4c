//! A receiver of OTLP traces, over gRPC and HTTP on one port: keeps every span it is sent, for exact assertions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::behaviour::{Body, fed, full};
use crate::grpc::{self, Frames};
use crate::ports;
use crate::wait;

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    task: JoinHandle<()>,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of its resource.
    pub service: String,
    /// The other attributes of its resource.
    pub resource: BTreeMap<String, String>,
    /// Its name.
    pub name: String,
    /// `SERVER`, `CLIENT`, `INTERNAL`.
    pub kind: String,
    /// The ids, in hexadecimal; `parent` is empty for a root.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's id; empty for a root.
    pub parent: String,
    /// Its attributes, each as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub error: bool,
}

impl Span {
    /// An attribute's value, or an empty text.
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Receiver {
        let (listener, address) = ports::listen().await;
        let spans = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(listener, spans.clone()));
        Receiver { address, spans, task }
    }

    /// What to set `OTEL_EXPORTER_OTLP_ENDPOINT` to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().clone()
    }

    /// Waits for at least `count` spans of one trace and gives them.
    pub async fn trace(&self, trace: &str, count: usize) -> Vec<Span> {
        wait::until(&format!("{count} spans of trace {trace}"), || async {
            let mut spans = self.spans();
            spans.retain(|span| span.trace == trace);
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<Span>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let spans = spans.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let spans = spans.clone();
                async move { Ok::<_, Infallible>(receive(request, &spans).await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn receive(request: Request<Incoming>, spans: &Mutex<Vec<Span>>) -> Response<Body> {
    let over_grpc =
        request.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let traces = request.uri().path().ends_with("/v1/traces") || request.uri().path().contains("TraceService");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if traces {
        let message = if over_grpc { unframe(&body) } else { body };
        let export = ExportTraceServiceRequest::decode(message).expect("a request of OTLP");
        spans.lock().extend(flatten(export));
    }
    if !over_grpc {
        return Response::builder().header("content-type", "application/x-protobuf").body(full("")).expect("plain");
    }
    let (feed, body) = fed();
    tokio::spawn(async move {
        let _ = feed.send(Ok(Frame::data(grpc::frame(b"")))).await;
        let status =
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        let _ = feed.send(Ok(Frame::trailers(status))).await;
    });
    Response::builder().header("content-type", grpc::CONTENT_TYPE).body(body).expect("plain")
}

fn unframe(body: &Bytes) -> Bytes {
    let mut frames = Frames::default();
    frames.push(body);
    frames.pop().expect("a whole message")
}

fn flatten(export: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in export.resource_spans {
        let resource = attributes(group.resource.map(|resource| resource.attributes).unwrap_or_default());
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: resource.get("service.name").cloned().unwrap_or_default(),
                resource: resource.clone(),
                kind: SpanKind::try_from(span.kind).unwrap_or_default().as_str_name().replace("SPAN_KIND_", ""),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                attributes: attributes(span.attributes),
                error: span.status.is_some_and(|status| status.code == StatusCode::Error as i32),
                name: span.name,
            });
        }
    }
    spans
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
