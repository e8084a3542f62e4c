//! A control plane of another make: speaks SotW ADS, sends whatever it is told to, right or wrong, and remembers what its
//! client said to that.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_config::document;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use outrigger_config::resource::{ClientKind, ResourceType};
use outrigger_config::xds;
use outrigger_config::xds::transport::{Any, DiscoveryRequest, DiscoveryResponse};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::behaviour::{Body, Feed, fed};
use crate::documents::{Documents, NAMESPACE};
use crate::grpc;
use crate::grpc::Frames;
use crate::ports;
use crate::wait;

/// The resources of each type that are served, each with its name.
pub type Sets = BTreeMap<ResourceType, Vec<(String, Bytes)>>;

/// A running server.
#[derive(Debug)]
pub struct Ads {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What a client said to a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Of which type.
    pub kind: ResourceType,
    /// The version that was sent, as the nonce says.
    pub sent: String,
    /// The version it runs now.
    pub runs: String,
    /// Why it refused the response, if it did.
    pub error: Option<String>,
}

#[derive(Debug)]
struct State {
    sets: watch::Sender<(u64, Sets)>,
    verdicts: Mutex<Vec<Verdict>>,
}

/// What our own control plane would send a workload for these documents.
pub fn resources(documents: &Documents, workload: &str) -> Sets {
    let parsed = document::parse(documents.text(), "test").expect("the documents are well-formed");
    let (mesh, _) = Mesh::try_new(parsed).expect("the documents make a mesh");
    let workload = ObjectName::try_new(NAMESPACE, workload).expect("a name");
    let mut sets = Sets::new();
    for resource in mesh.shared(NAMESPACE).into_iter().chain(mesh.own(&workload)) {
        if let Some(bytes) = xds::encode(&resource, ClientKind::Outrigger) {
            sets.entry(resource.resource_type()).or_default().push((resource.name().to_string(), bytes));
        }
    }
    sets
}

impl Ads {
    /// Serves these resources, as version 1.
    pub async fn start(sets: Sets) -> Ads {
        let (listener, address) = ports::listen().await;
        let state = Arc::new(State { sets: watch::Sender::new((1, sets)), verdicts: Mutex::default() });
        let task = tokio::spawn(serve(listener, state.clone()));
        Ads { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what is served; the new version's number.
    pub fn change(&self, change: impl FnOnce(&mut Sets)) -> u64 {
        self.state.sets.send_modify(|(version, sets)| {
            *version += 1;
            change(sets);
        });
        self.state.sets.borrow().0
    }

    /// Waits for what the client says to `version` of a type.
    pub async fn verdict(&self, kind: ResourceType, version: u64) -> Verdict {
        let sent = version.to_string();
        wait::until(&format!("a verdict on {} {version}", kind.short()), async || {
            self.state.verdicts.lock().iter().find(|verdict| verdict.kind == kind && verdict.sent == sent).cloned()
        })
        .await
    }
}

impl Drop for Ads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&state, request))));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let response = Response::builder().header("content-type", grpc::CONTENT_TYPE);
    if request.uri().path() != xds::transport::STREAM_PATH {
        // UNIMPLEMENTED: the client falls back to SotW.
        return response.header("grpc-status", "12").body(crate::behaviour::empty()).expect("a plain response");
    }
    let (feed, body) = fed();
    tokio::spawn(converse(state.clone(), request.into_body(), feed));
    response.body(body).expect("a plain response")
}

/// One stream: what was asked for, and which version of it was sent.
async fn converse(state: Arc<State>, mut requests: Incoming, feed: Feed) {
    let mut sets = state.sets.subscribe();
    let mut frames = Frames::default();
    let mut asked: BTreeMap<ResourceType, (Vec<String>, u64)> = BTreeMap::new();
    loop {
        tokio::select! {
            frame = requests.frame() => {
                let Some(Ok(frame)) = frame else { return };
                frames.push(frame.data_ref().map_or(&[][..], |data| data));
            }
            changed = sets.changed() => if changed.is_err() { return },
        }
        while let Some(message) = frames.pop() {
            let request = DiscoveryRequest::decode(message).expect("a request of ADS");
            let Some(kind) = ResourceType::from_type_url(&request.type_url) else { continue };
            if !request.response_nonce.is_empty() {
                let error = request.error_detail.map(|status| status.message);
                let (sent, runs) = (request.response_nonce, request.version_info);
                state.verdicts.lock().push(Verdict { kind, sent, runs, error });
            }
            let subscription = asked.entry(kind).or_default();
            if subscription.0 != request.resource_names {
                *subscription = (request.resource_names, 0);
            }
        }
        let (version, current) = sets.borrow_and_update().clone();
        for (kind, (names, sent)) in &mut asked {
            if *sent == version {
                continue;
            }
            *sent = version;
            let response = respond(*kind, version, current.get(kind).map_or(&[], Vec::as_slice), names);
            if feed.send(Ok(Frame::data(grpc::frame(&response.encode_to_vec())))).await.is_err() {
                return;
            }
        }
    }
}

fn respond(kind: ResourceType, version: u64, set: &[(String, Bytes)], names: &[String]) -> DiscoveryResponse {
    let wanted = |name: &String| names.is_empty() || names.contains(name);
    let resources = set.iter().filter(|(name, _)| wanted(name));
    DiscoveryResponse {
        version_info: version.to_string(),
        nonce: version.to_string(),
        type_url: kind.type_url().to_owned(),
        resources: resources
            .map(|(_, value)| Any { type_url: kind.type_url().to_owned(), value: value.clone() })
            .collect(),
        ..DiscoveryResponse::default()
    }
}
