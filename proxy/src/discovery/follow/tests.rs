//! Following a live, scripted ADS server over gRPC: what the pure session cannot show.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_config::name::ObjectName;
use outrigger_config::resource::{ClientKind, Resource, ResourceType};
use outrigger_config::xds::transport::{
    Any, DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as Wrapped, SERVICE, STREAM_PATH,
};
use outrigger_config::{document, mesh::Mesh, xds};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{Choice, Follower};
use crate::discovery::publish::Publisher;
use crate::discovery::session::Variant;
use crate::discovery::status::{Source, Status as Standing};
use crate::drain::Drain;
use crate::exchange::Shared;
use crate::listener::DataPlane;
use crate::rls::LimitService;
use crate::snapshot::Snapshots;
use crate::telemetry::Telemetry;

const DELTA_FIRST: Choice = Choice { first: Variant::Delta, fallback: true };

/// A stream that a proxy opened.
enum Stream {
    Delta(Streaming<DeltaDiscoveryRequest>, mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>),
    Sotw(Streaming<DiscoveryRequest>, mpsc::Sender<Result<DiscoveryResponse, Status>>),
}

impl Stream {
    /// The next request: type, versions it says it has, why it refuses.
    async fn request(&mut self) -> (ResourceType, Vec<String>, Option<String>) {
        let (url, versions, error) = match self {
            Stream::Delta(requests, _) => {
                let one = requests.next().await.expect("a request").expect("a good one");
                (one.type_url, one.initial_resource_versions.into_keys().collect(), one.error_detail)
            }
            Stream::Sotw(requests, _) => {
                let one = requests.next().await.expect("a request").expect("a good one");
                (one.type_url, Vec::from_iter(Some(one.version_info).filter(|one| !one.is_empty())), one.error_detail)
            }
        };
        (ResourceType::from_type_url(&url).expect("a type"), versions, error.map(|error| error.message))
    }

    async fn answer(&self, kind: ResourceType, resources: Vec<(String, Any)>) {
        let (type_url, nonce) = (kind.type_url().to_owned(), "n".to_owned());
        match self {
            Stream::Delta(_, answers) => {
                let wrapped = |(name, any): (String, Any)| Wrapped {
                    name,
                    version: xds::version(&any.value),
                    resource: Some(any),
                    ..Wrapped::default()
                };
                let resources = resources.into_iter().map(wrapped).collect();
                let answer = DeltaDiscoveryResponse { resources, type_url, nonce, ..Default::default() };
                answers.send(Ok(answer)).await.expect("the proxy listens");
            }
            Stream::Sotw(_, answers) => {
                let resources = resources.into_iter().map(|(_, any)| any).collect();
                let version_info = "v".to_owned();
                let answer = DiscoveryResponse { version_info, resources, type_url, nonce, ..Default::default() };
                answers.send(Ok(answer)).await.expect("the proxy listens");
            }
        }
    }

    /// Everything of a mesh, in the order of sending.
    async fn answer_all(&self, resources: &[Resource]) {
        for kind in ResourceType::ALL {
            let of_kind = resources.iter().filter(|one| one.resource_type() == kind).filter_map(|one| {
                let value = xds::encode(one, ClientKind::Outrigger)?;
                Some((one.name().to_string(), Any { type_url: kind.type_url().to_owned(), value }))
            });
            self.answer(kind, of_kind.collect()).await;
        }
    }

    async fn end(self, status: Option<Status>) {
        if let Some(status) = status {
            match self {
                Stream::Delta(_, answers) => answers.send(Err(status)).await.expect("the proxy listens"),
                Stream::Sotw(_, answers) => answers.send(Err(status)).await.expect("the proxy listens"),
            }
        }
    }
}

/// A server that hands its streams to the test.
#[derive(Clone)]
struct Ads {
    streams: mpsc::Sender<Stream>,
    delta: bool,
}

impl NamedService for Ads {
    const NAME: &'static str = SERVICE;
}

impl StreamingService<DiscoveryRequest> for Ads {
    type Response = DiscoveryResponse;
    type ResponseStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let streams = self.streams.clone();
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(16);
            streams.send(Stream::Sotw(request.into_inner(), sender)).await.expect("the test listens");
            Ok(Response::new(ReceiverStream::new(receiver)))
        })
    }
}

impl StreamingService<DeltaDiscoveryRequest> for Ads {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let streams = self.streams.clone();
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(16);
            streams.send(Stream::Delta(request.into_inner(), sender)).await.expect("the test listens");
            Ok(Response::new(ReceiverStream::new(receiver)))
        })
    }
}

impl Service<http::Request<Body>> for Ads {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let ads = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                STREAM_PATH => {
                    Grpc::new(ProstCodec::<DiscoveryResponse, DiscoveryRequest>::default())
                        .streaming(ads, request)
                        .await
                }
                DELTA_PATH if ads.delta => {
                    Grpc::new(ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default())
                        .streaming(ads, request)
                        .await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// A scripted server and a proxy that follows it.
struct Pair {
    address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    standing: Standing,
    shared: Arc<Shared>,
    resources: Vec<Resource>,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.drain.start();
    }
}

async fn serve(
    address: SocketAddr,
    delta: bool,
    stop: &CancellationToken,
) -> (SocketAddr, mpsc::Receiver<Stream>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (streams, receiver) = mpsc::channel(4);
    let stop = stop.child_token();
    let server = Server::builder().add_service(Ads { streams, delta });
    let task = tokio::spawn(async move {
        tokio::select! {
            served = server.serve_with_incoming(TcpIncoming::from(listener)) => served.expect("it serves"),
            () = stop.cancelled() => {}
        }
    });
    (address, receiver, task)
}

async fn pair(delta: bool, choice: Choice) -> Pair {
    let stop = CancellationToken::new();
    let (address, streams, serving) = serve(([127, 0, 0, 1], 0).into(), delta, &stop).await;
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
    let text = format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {{ name: catalog, namespace: shop }}
spec: {{ selector: {{ app: catalog }}, ports: [{{ name: http, port: 80 }}] }}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: catalog-1, namespace: shop, labels: {{ app: catalog }} }}
spec: {{ address: 127.0.0.1, ports: [{{ name: http, port: 9 }}] }}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: web, namespace: shop }}
spec: {{ address: 127.0.0.1, outbound: [{{ port: {port} }}] }}"
    );
    let node = ObjectName::try_new("shop", "web").expect("a name");
    let (mesh, _) = Mesh::try_new(document::parse(&text, "").expect("documents")).expect("a mesh");
    let resources = mesh.shared("shop").into_iter().chain(mesh.own(&node)).collect();
    let shared = Arc::new(Shared {
        snapshots: Snapshots::new(),
        telemetry: Arc::new(Telemetry::default()),
        caching: crate::cache::Caching::default(),
        workers: 1,
        limits: LimitService::default(),
        drain: Drain::new(),
        carried: Arc::default(),
        replay: Arc::default(),
        overload: Arc::default(),
    });
    let data_plane = Arc::new(DataPlane::start(Arc::clone(&shared)).expect("a worker"));
    let standing = Standing::new(Source::Xds(address));
    let publisher = Publisher::new(Arc::clone(&shared), data_plane, standing.clone());
    let metrics = Arc::clone(&shared.telemetry.metrics);
    let follower = Follower::new(address, choice, &node, publisher, standing.clone(), metrics);
    let cancelled = stop.child_token();
    tokio::spawn(async move {
        tokio::select! {
            () = follower.follow() => {}
            () = cancelled.cancelled() => {}
        }
    });
    Pair { address, streams, standing, shared, resources, stop, serving: Some(serving) }
}

impl Pair {
    async fn stream(&mut self) -> Stream {
        let stream = tokio::time::timeout(Duration::from_secs(10), self.streams.recv()).await;
        stream.expect("a stream in time").expect("the server runs")
    }

    async fn until(&self, what: &str, holds: impl Fn(&super::super::status::Standing) -> bool) {
        for _ in 0..1_000 {
            if holds(&self.standing.get()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in time: {what}: {:?}", self.standing.get());
    }
}

#[tokio::test]
async fn a_proxy_serves_once_it_was_told_everything() {
    let mut pair = pair(true, DELTA_FIRST).await;
    let mut stream = pair.stream().await;
    assert_eq!(stream.request().await.0, ResourceType::Cluster);
    assert_eq!(stream.request().await.0, ResourceType::Listener);
    assert!(!pair.standing.get().serving);
    stream.answer_all(&pair.resources).await;
    pair.until("it serves", |standing| standing.ready().is_ok()).await;
    assert_eq!(pair.standing.get().transport, Some("delta"));
    assert_eq!(pair.shared.snapshots.load().number, 1);
}

#[tokio::test]
async fn a_server_without_delta_is_asked_for_the_state_of_the_world() {
    let mut pair = pair(false, DELTA_FIRST).await;
    let stream = pair.stream().await;
    assert!(matches!(stream, Stream::Sotw(..)));
    stream.answer_all(&pair.resources).await;
    pair.until("it serves", |standing| standing.ready().is_ok() && standing.transport == Some("sotw")).await;
}

#[tokio::test]
async fn delta_alone_says_what_is_wrong_with_such_a_server() {
    let pair = pair(false, Choice { first: Variant::Delta, fallback: false }).await;
    pair.until("it says so", |standing| standing.ready().is_err_and(|why| why.contains("does not speak this variant")))
        .await;
}

/// Case 29: a broken stream leaves what serves, and the next one says what is there.
#[tokio::test]
async fn a_broken_stream_changes_nothing_and_the_next_one_goes_on() {
    for status in [None, Some(Status::unavailable("stopping"))] {
        let mut pair = pair(true, DELTA_FIRST).await;
        let stream = pair.stream().await;
        stream.answer_all(&pair.resources).await;
        pair.until("it serves", |standing| standing.ready().is_ok()).await;
        stream.end(status).await;
        pair.until("it is alone", |standing| !standing.connected).await;
        assert_eq!(pair.standing.get().ready(), Ok(()), "what serves is ready");
        let mut stream = pair.stream().await;
        let (kind, versions, _) = stream.request().await;
        assert_eq!((kind, versions), (ResourceType::Cluster, vec!["shop/catalog/http".to_owned()]));
        assert_eq!(pair.shared.snapshots.load().number, 1, "nothing was made anew");
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_server_with_its_reason() {
    let mut pair = pair(true, DELTA_FIRST).await;
    let mut stream = pair.stream().await;
    stream.answer_all(&pair.resources).await;
    pair.until("it serves", |standing| standing.ready().is_ok()).await;
    let noise = Any { type_url: ResourceType::Cluster.type_url().into(), value: vec![0xff; 9].into() };
    stream.answer(ResourceType::Cluster, vec![("shop/catalog/http".into(), noise)]).await;
    let refusal = loop {
        if let (ResourceType::Cluster, _, Some(why)) = stream.request().await {
            break why;
        }
    };
    assert!(refusal.contains("CDS shop/catalog/http"), "{refusal}");
    let standing = pair.standing.get();
    assert!(standing.types[&ResourceType::Cluster].refused.is_some() && standing.ready().is_ok());
    assert_eq!(pair.shared.telemetry.metrics.discovery.state().updates[&("CDS", "rejected")], 1);
}

#[tokio::test]
async fn a_server_that_comes_late_is_found_within_a_second() {
    let mut pair = pair(true, DELTA_FIRST).await;
    // The port is known now; the server goes away before it said anything, and stays away.
    drop(pair.stream().await);
    pair.serving.take().expect("a server").abort();
    pair.until("it says so", |standing| standing.trouble.as_ref().is_some_and(|why| why.contains("refused"))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, streams, serving) = serve(pair.address, true, &pair.stop).await;
    (pair.streams, pair.serving) = (streams, Some(serving));
    let appeared = std::time::Instant::now();
    pair.stream().await.answer_all(&pair.resources).await;
    pair.until("it serves", |standing| standing.ready().is_ok()).await;
    assert!(appeared.elapsed() < Duration::from_secs(1), "{:?}", appeared.elapsed());
}
