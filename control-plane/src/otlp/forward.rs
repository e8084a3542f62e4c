//! Sends traces on, as they came, to one other OTLP receiver; off unless configured.
//!
//! A bounded queue stands between the receiver and the sending task: when the other side is slow or gone, messages are
//! dropped and counted, and neither proxies nor memory feel it. A message that cannot be delivered is not tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Uri;
use hyper::header::CONTENT_TYPE;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::codec::Raw;

/// The most messages that wait.
const QUEUE: usize = 1024;

/// The most bytes that wait.
const QUEUE_BYTES: usize = 16 << 20;

/// How long one delivery may take.
const DELIVERY: Duration = Duration::from_secs(10);

/// Deliveries that fail are logged at most this often.
const COMPLAINT: Duration = Duration::from_secs(30);

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this address over gRPC.
    Grpc(Uri),
    /// To this address and path over HTTP.
    Http(Uri),
}

/// What became of the messages that were to be sent on, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages the other side took.
    pub sent: u64,
    /// Messages that were lost: the queue was full, or the other side did not take them.
    pub dropped: u64,
}

/// The near end of the queue. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Forwarder {
    queue: mpsc::Sender<Bytes>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    queued_bytes: AtomicUsize,
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Target {
    /// Reads a URL. `protocol` is `OTEL_EXPORTER_OTLP_PROTOCOL`; without it the port 4318 or a path ending in
    /// `/v1/traces` means HTTP, and everything else gRPC.
    pub fn parse(url: &str, protocol: Option<&str>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL ({error}); use http://HOST:4317"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(_)) => {}
            (Some("https"), _) => {
                return Err(format!(
                    "{url:?} asks for TLS, which this version cannot do; name a collector nearby with http://"
                ));
            }
            _ => return Err(format!("{url:?} must look like http://HOST:4317")),
        }
        let by_path = uri.path().ends_with("/v1/traces");
        let over_http = match protocol {
            Some("grpc") => false,
            Some("http/protobuf") => true,
            None | Some("") => by_path || uri.port_u16() == Some(4318),
            Some(other) => return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL={other} is not grpc or http/protobuf")),
        };
        if !over_http {
            return Ok(Target::Grpc(uri));
        }
        if by_path {
            return Ok(Target::Http(uri));
        }
        let full = format!("{}/v1/traces", url.trim_end_matches('/'));
        full.parse().map(Target::Http).map_err(|error| format!("{full:?} is no URL ({error})"))
    }
}

impl Forwarder {
    /// The near end, and the task that sends; it ends when the last near end is dropped and the queue is empty.
    ///
    /// Dropping the task loses what waits, uncounted.
    pub fn new(target: Target) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let state = Arc::new(State::default());
        (Forwarder { queue, state: state.clone() }, run(Transport::new(target), waiting, state))
    }

    /// What became of the messages so far.
    pub fn counters(&self) -> Counters {
        Counters { sent: self.state.sent.load(Ordering::Relaxed), dropped: self.state.dropped.load(Ordering::Relaxed) }
    }

    /// Queues a message, or drops it when there is no room.
    pub(super) fn send(&self, message: Bytes) {
        let length = message.len();
        // Relaxed: the sum alone matters, and the channel orders the rest.
        let queued = self.state.queued_bytes.fetch_add(length, Ordering::Relaxed);
        if queued + length > QUEUE_BYTES || self.queue.try_send(message).is_err() {
            self.state.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn run(transport: Transport, mut waiting: mpsc::Receiver<Bytes>, state: Arc<State>) {
    let mut complained: Option<tokio::time::Instant> = None;
    while let Some(message) = waiting.recv().await {
        let length = message.len();
        let delivered = timeout(DELIVERY, transport.deliver(message)).await;
        state.queued_bytes.fetch_sub(length, Ordering::Relaxed);
        let failure = match delivered {
            Ok(Ok(())) => {
                state.sent.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Ok(Err(failure)) => failure,
            Err(_) => format!("no answer within {} seconds", DELIVERY.as_secs()),
        };
        let dropped = state.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if complained.is_none_or(|at| at.elapsed() > COMPLAINT) {
            complained = Some(tokio::time::Instant::now());
            tracing::warn!(target = %transport, %failure, dropped, "traces cannot be forwarded");
        }
    }
}

/// How a message gets there. Connections are opened when first needed and again when they break.
#[derive(Debug)]
enum Transport {
    Grpc(Channel, Uri),
    Http(Box<Client<HttpConnector, Full<Bytes>>>, Uri),
}

impl Transport {
    fn new(target: Target) -> Self {
        match target {
            Target::Grpc(uri) => {
                let endpoint = Endpoint::from(uri.clone()).connect_timeout(DELIVERY);
                Transport::Grpc(endpoint.connect_lazy(), uri)
            }
            Target::Http(uri) => Transport::Http(Box::new(Client::builder(TokioExecutor::new()).build_http()), uri),
        }
    }

    async fn deliver(&self, message: Bytes) -> Result<(), String> {
        match self {
            Transport::Grpc(channel, _) => {
                const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                let mut client = tonic::client::Grpc::new(channel.clone());
                client.ready().await.map_err(|error| error.to_string())?;
                let path = PathAndQuery::from_static(PATH);
                let answer = client.unary(tonic::Request::new(message), path, Raw).await;
                answer.map(|_| ()).map_err(|status| format!("{}: {}", status.code(), status.message()))
            }
            Transport::Http(client, uri) => {
                let request = hyper::Request::post(uri.clone()).header(CONTENT_TYPE, "application/x-protobuf");
                let request = request.body(Full::new(message)).map_err(|error| error.to_string())?;
                let response = client.request(request).await.map_err(|error| error.to_string())?;
                let status = response.status();
                // Read to its end, or the connection could not be used again.
                let mut body = response.into_body();
                while let Some(frame) = body.frame().await {
                    frame.map_err(|error| error.to_string())?;
                }
                if status.is_success() { Ok(()) } else { Err(format!("answered with {status}")) }
            }
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Transport::Grpc(_, uri) | Transport::Http(_, uri) => write!(f, "{uri}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{Counters, Forwarder, QUEUE_BYTES, Target};

    #[test]
    fn the_url_says_how_traces_travel() {
        let grpc = |url: &str| Ok(Target::Grpc(url.parse().expect("valid")));
        let http = |url: &str| Ok(Target::Http(url.parse().expect("valid")));
        for (url, protocol, expected) in [
            ("http://otel:4317", None, grpc("http://otel:4317")),
            ("http://otel:4317/", Some(""), grpc("http://otel:4317/")),
            ("http://otel:4318", None, http("http://otel:4318/v1/traces")),
            ("http://otel:9999/v1/traces", None, http("http://otel:9999/v1/traces")),
            ("http://otel:9999/otlp/", Some("http/protobuf"), http("http://otel:9999/otlp/v1/traces")),
            ("http://otel:4318", Some("grpc"), grpc("http://otel:4318")),
        ] {
            assert_eq!(Target::parse(url, protocol), expected, "{url} {protocol:?}");
        }
        for (url, protocol) in
            [("otel:4317", None), ("https://otel", None), ("", None), ("http://otel", Some("http/json")), ("/v1", None)]
        {
            assert!(Target::parse(url, protocol).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted() {
        let (forwarder, task) = Forwarder::new(Target::parse("http://127.0.0.1:1", None).expect("valid"));
        let quarter = Bytes::from(vec![0; QUEUE_BYTES / 4]);
        for _ in 0..6 {
            forwarder.send(quarter.clone());
        }
        assert_eq!(forwarder.counters(), Counters { sent: 0, dropped: 2 });
        drop(task);
        forwarder.send(Bytes::new());
        assert_eq!(forwarder.counters().dropped, 3);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_dropped_and_counted() {
        for url in ["http://127.0.0.1:1", "http://127.0.0.1:1/v1/traces"] {
            let (forwarder, task) = Forwarder::new(Target::parse(url, None).expect("valid"));
            let counters = forwarder.clone();
            forwarder.send(Bytes::from_static(b"x"));
            let state = counters.state.clone();
            drop((forwarder, counters));
            tokio::time::timeout(Duration::from_secs(20), task).await.expect("ends with its last near end");
            assert_eq!(state.dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
            assert_eq!(state.queued_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
        }
    }
}
