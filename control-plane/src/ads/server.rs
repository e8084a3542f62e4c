//! The skin of ADS: tonic's streams, tokio's clock, and one task for each stream around its [`Session`].
//!
//! A task waits for whatever comes first: a request, a new snapshot, room in the response stream while something may
//! be due, a moment the session named, or the end. What is sent is decided only when there is room for it, so a client
//! that does not read costs one response of memory and gets the newest state when it reads again.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use outrigger_config::xds::transport::{
    DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, SERVICE,
    STREAM_PATH,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;
use tracing::Instrument;

use crate::ads::session::{Refusal, Session};
use crate::ads::status::{Proxies, Registration};
use crate::ads::wire::{Answer, Transport};
use crate::view::snapshot::Snapshot;

/// The largest request that is read. A client that comes back with tens of thousands of versions sends a few MiB.
const MAX_REQUEST: usize = 8 * 1024 * 1024;
/// How many streams are served at once.
const MAX_STREAMS: usize = 20_000;
/// How long a new stream may stay silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a stream that is closed waits for room to say why.
const FAREWELL: Duration = Duration::from_secs(1);

/// The aggregated discovery service, both methods. Cloning it shares it.
#[derive(Clone)]
pub struct Ads {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    proxies: Proxies,
    stop: CancellationToken,
}

impl Ads {
    /// Serves what `snapshots` holds, enters streams into `proxies`, and ends them all when `stop` is cancelled.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, proxies: Proxies, stop: CancellationToken) -> Self {
        Ads { snapshots, proxies, stop }
    }

    fn open<Q, A>(&self, requests: Streaming<Q>, transport: Transport, take: Take<Q>) -> Result<Answers<A>, Status>
    where
        Q: Send + 'static,
        A: From<Answer> + Send + 'static,
    {
        if self.proxies.connected() >= MAX_STREAMS {
            return Err(Status::resource_exhausted("too many streams; try another replica or later"));
        }
        // Room for one: the next is decided when this one has been taken.
        let (answers, receiver) = mpsc::channel(1);
        let snapshots = self.snapshots.clone();
        let session = Session::new(transport);
        let stream = Stream { session, snapshots, proxies: self.proxies.clone(), registration: None, transport };
        let span = tracing::info_span!("ads", node = tracing::field::Empty, transport = transport.as_str());
        // The task ends with its stream, whose other half tonic holds, or with `stop`.
        tokio::spawn(stream.run(requests, answers, take, self.stop.clone()).instrument(span));
        Ok(ReceiverStream::new(receiver))
    }
}

impl fmt::Debug for Ads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ads").finish_non_exhaustive()
    }
}

type Take<Q> = fn(&mut Session, &Q, Instant) -> Result<(), Refusal>;
type Answers<A> = ReceiverStream<Result<A, Status>>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One stream: its session and what feeds it.
struct Stream {
    session: Session,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    proxies: Proxies,
    registration: Option<Registration>,
    transport: Transport,
}

impl Stream {
    async fn run<Q, A: From<Answer>>(
        mut self,
        mut requests: Streaming<Q>,
        answers: mpsc::Sender<Result<A, Status>>,
        take: Take<Q>,
        stop: CancellationToken,
    ) {
        let opened = tokio::time::Instant::now();
        let mut may_be_due = false;
        let end = loop {
            let wake = match self.registration {
                None => Some(opened + SILENCE),
                Some(_) => self.session.wake_at(Instant::now()).map(tokio::time::Instant::from_std),
            };
            tokio::select! {
                request = requests.message() => {
                    let taken = match request {
                        Ok(Some(request)) => take(&mut self.session, &request, Instant::now()),
                        Ok(None) => break None,
                        Err(status) => {
                            tracing::debug!(%status, "the stream broke");
                            break None;
                        }
                    };
                    if let Err(refusal) = taken {
                        break Some(status(refusal));
                    }
                    self.identify();
                    may_be_due = true;
                }
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        break Some(Status::unavailable("the control plane is stopping"));
                    }
                    self.see();
                    may_be_due = true;
                }
                permit = answers.reserve(), if may_be_due => {
                    let Ok(permit) = permit else { break None };
                    match self.session.next(Instant::now()) {
                        Some(answer) => permit.send(Ok(answer.into())),
                        None => may_be_due = false,
                    }
                }
                () = sleep_until(wake) => {
                    if self.registration.is_none() {
                        break Some(Status::deadline_exceeded("no request came"));
                    }
                    may_be_due = true;
                }
                () = stop.cancelled() => break Some(Status::unavailable("the control plane is stopping")),
                () = answers.closed() => break None,
            }
            if let Some(registration) = &self.registration {
                registration.report(self.session.report());
            }
        };
        if let Some(status) = end {
            tracing::debug!(%status, "closing the stream");
            // A client that does not read will not read this either; the stream ends with the sender.
            let _ = tokio::time::timeout(FAREWELL, answers.send(Err(status))).await;
        }
    }

    /// On the first request: who it is, and what it may see.
    fn identify(&mut self) {
        let Some(client) = self.session.client().filter(|_| self.registration.is_none()) else { return };
        tracing::Span::current().record("node", client.id());
        tracing::debug!(client = client.kind().as_str(), namespace = client.namespace(), "a stream begins");
        let (kind, transport) = (client.kind().as_str(), self.transport.as_str());
        self.registration = Some(self.proxies.register(client.id(), kind, transport, Instant::now()));
        self.see();
    }

    /// Takes over the newest snapshot.
    fn see(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        let Some(client) = self.session.client() else { return };
        let view = snapshot.view(client.kind(), client.namespace(), client.workload());
        self.session.set_view(view, Instant::now());
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::TooMuch => Status::resource_exhausted(refusal.to_string()),
        Refusal::NoType | Refusal::NoNode | Refusal::NodeChanged => Status::invalid_argument(refusal.to_string()),
    }
}

/// `StreamAggregatedResources`.
struct StreamAggregated(Ads);

impl StreamingService<DiscoveryRequest> for StreamAggregated {
    type Response = DiscoveryResponse;
    type ResponseStream = Answers<DiscoveryResponse>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let opened = self.0.open(request.into_inner(), Transport::Sotw, Session::list);
        std::future::ready(opened.map(Response::new))
    }
}

/// `DeltaAggregatedResources`.
struct DeltaAggregated(Ads);

impl StreamingService<DeltaDiscoveryRequest> for DeltaAggregated {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = Answers<DeltaDiscoveryResponse>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let opened = self.0.open(request.into_inner(), Transport::Delta, Session::change);
        std::future::ready(opened.map(Response::new))
    }
}

impl NamedService for Ads {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Ads {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let ads = self.clone();
        match request.uri().path() {
            STREAM_PATH => Box::pin(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_REQUEST);
                Ok(grpc.streaming(StreamAggregated(ads), request).await)
            }),
            DELTA_PATH => Box::pin(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_REQUEST);
                Ok(grpc.streaming(DeltaAggregated(ads), request).await)
            }),
            _ => Box::pin(std::future::ready(Ok(Status::unimplemented("no such method").into_http()))),
        }
    }
}
