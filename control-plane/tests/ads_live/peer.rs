//! A control plane in this process, and clients of its two transports that do only what they are told.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{
    DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node, STREAM_PATH,
    Status as Detail,
};
use outrigger_control_plane::app::{self, Running};
use outrigger_control_plane::settings::Settings;
use outrigger_control_plane::state::{Applied, Steering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// How long a test waits for what must come, on a machine that may be busy with everything else.
pub(crate) const PATIENTLY: Duration = Duration::from_secs(10);

/// Documents of one service with one workload behind it, and a sidecar that calls it.
pub(crate) const SHOP: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {ports: [{name: http, port: 80, appProtocol: http}], selector: {app: catalog}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {name: catalog-1, namespace: shop, labels: {app: catalog}}
spec: {address: 127.0.0.1, ports: [{name: http, port: 18080}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {address: 127.0.0.1, ports: [], outbound: [{port: 18001}]}
";

/// Another service on the same workload.
pub(crate) fn service(name: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{name: http, port: 80}}], selector: {{app: catalog}}}}\n"
    )
}

pub(crate) async fn start(store: &Path, documents: Option<&Path>) -> Running {
    let mut line = vec!["outrigger-control-plane".to_owned(), "--xds=127.0.0.1:0".into(), "--api=127.0.0.1:0".into()];
    line.push(format!("--store={}", store.display()));
    line.extend(documents.map(|path| format!("--documents={}", path.display())));
    let settings = Settings::read(line.into_iter().map(Into::into)).expect("settings");
    app::start(&settings).await.expect("a control plane")
}

pub(crate) async fn apply(steering: &Steering, text: &str) -> Applied {
    let (steering, text) = (steering.clone(), text.to_owned());
    tokio::task::spawn_blocking(move || steering.apply(&text, false)).await.expect("no panic").expect("applied")
}

/// Applies the shop and waits until whoever connects now will see it.
pub(crate) async fn open_shop(steering: &Steering) {
    let generation = apply(steering, SHOP).await.generation;
    let snapshots = steering.snapshots();
    soon("the shop is published", PATIENTLY, || snapshots.borrow().generation() == generation).await;
}

/// Waits until something holds, for as long as it may.
pub(crate) async fn soon(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < within, "{what} within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.to_owned(), user_agent_name: "outrigger-proxy".to_owned(), ..Node::default() })
}

async fn open<Q, A>(xds: SocketAddr, path: &'static str) -> Result<(mpsc::Sender<Q>, Streaming<A>), Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let channel: Channel =
        Endpoint::from_shared(format!("http://{xds}")).expect("a URL").connect().await.expect("open");
    let mut client = Grpc::new(channel);
    client.ready().await.expect("ready");
    let (sender, receiver) = mpsc::channel(16);
    let codec = ProstCodec::<Q, A>::default();
    let request = Request::new(ReceiverStream::new(receiver));
    let answers = client.streaming(request, PathAndQuery::from_static(path), codec).await?;
    Ok((sender, answers.into_inner()))
}

/// A client of state of the world.
pub(crate) struct Sotw {
    pub(crate) requests: mpsc::Sender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
    node: Option<Node>,
}

impl Sotw {
    pub(crate) async fn connect(xds: SocketAddr, id: &str) -> Self {
        let (requests, answers) = open(xds, STREAM_PATH).await.expect("a stream");
        Sotw { requests, answers, node: node(id) }
    }

    pub(crate) async fn ask(&mut self, kind: ResourceType, names: &[&str]) {
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        let (node, type_url) = (self.node.take(), kind.type_url().to_owned());
        let request = DiscoveryRequest { node, type_url, resource_names, ..DiscoveryRequest::default() };
        self.requests.send(request).await.expect("sent");
    }

    pub(crate) async fn answer(&mut self) -> DiscoveryResponse {
        let answer = tokio::time::timeout(PATIENTLY, self.answers.message()).await.expect("in time");
        answer.expect("a message").expect("no end")
    }

    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.answers.message()).await.is_err()
    }

    /// How the stream ends.
    pub(crate) async fn end(&mut self) -> Status {
        let end = tokio::time::timeout(Duration::from_secs(5), self.answers.message()).await.expect("in time");
        end.expect_err("an end with a status")
    }

    pub(crate) async fn ack(&mut self, answer: &DiscoveryResponse, names: &[&str]) {
        self.reply(answer, names, None).await;
    }

    pub(crate) async fn nack(&mut self, answer: &DiscoveryResponse, names: &[&str], message: &str) {
        self.reply(answer, names, Some(Detail { code: 3, message: message.to_owned(), details: Vec::new() })).await;
    }

    async fn reply(&mut self, answer: &DiscoveryResponse, names: &[&str], error_detail: Option<Detail>) {
        let request = DiscoveryRequest {
            version_info: answer.version_info.clone(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            type_url: answer.type_url.clone(),
            response_nonce: answer.nonce.clone(),
            error_detail,
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).await.expect("sent");
    }
}

/// An incremental client.
pub(crate) struct Delta {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
    node: Option<Node>,
}

impl Delta {
    pub(crate) async fn connect(xds: SocketAddr, id: &str) -> Self {
        let (requests, answers) = open(xds, DELTA_PATH).await.expect("a stream");
        Delta { requests, answers, node: node(id) }
    }

    pub(crate) async fn ask(&mut self, kind: ResourceType, names: &[&str]) {
        let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        let (node, type_url) = (self.node.take(), kind.type_url().to_owned());
        let request = DeltaDiscoveryRequest { node, type_url, resource_names_subscribe, ..Default::default() };
        self.requests.send(request).await.expect("sent");
    }

    pub(crate) async fn answer(&mut self) -> DeltaDiscoveryResponse {
        let answer = tokio::time::timeout(PATIENTLY, self.answers.message()).await.expect("in time");
        answer.expect("a message").expect("no end")
    }

    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.answers.message()).await.is_err()
    }

    pub(crate) async fn ack(&mut self, answer: &DeltaDiscoveryResponse) {
        let (type_url, response_nonce) = (answer.type_url.clone(), answer.nonce.clone());
        let request = DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() };
        self.requests.send(request).await.expect("sent");
    }
}

/// The names in an incremental answer, in order.
pub(crate) fn names(answer: &DeltaDiscoveryResponse) -> Vec<&str> {
    let mut names: Vec<&str> = answer.resources.iter().map(|resource| resource.name.as_str()).collect();
    names.sort_unstable();
    names
}
