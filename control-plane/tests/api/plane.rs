//! A whole control plane on free loopback ports, and what asks it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use outrigger_config::resource::ResourceType;
use outrigger_control_plane::app::{self, Running};
use outrigger_control_plane::cli::text::Paint;
use outrigger_control_plane::cli::{self, Terminal};
use outrigger_control_plane::settings::Settings;
use serde_json::Value;
use tempfile::TempDir;

use super::peer::Sotw;

/// Two services, of which one has workloads and a route.
pub(crate) const SHOP: &str = "\
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: catalog, namespace: shop}
spec:
  ports: [{name: http, port: 80, appProtocol: http}]
  selector: {app: catalog}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {name: catalog-1, namespace: shop, labels: {app: catalog, version: v1}}
spec:
  address: 127.0.0.1
  ports: [{name: http, port: 9001, appPort: 9101}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: catalog}]
  rules:
  - backendRefs: [{name: catalog, port: 80}]
";

pub(crate) struct Plane {
    pub(crate) running: Running,
    pub(crate) directory: TempDir,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// An answer: its status, its media type, and its body as JSON where it is JSON.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) body: Bytes,
    pub(crate) json: Value,
}

/// What a run of the command line left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Plane::start_with(&[]).await
    }

    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store.redb");
        let mut arguments: Vec<OsString> = ["outrigger-control-plane", "--store"].map(OsString::from).into();
        arguments.push(store.into());
        arguments.extend(["--api", "127.0.0.1:0", "--xds", "127.0.0.1:0"].map(OsString::from));
        arguments.extend(flags.iter().map(OsString::from));
        let settings = Settings::read(arguments).expect("flags that exist");
        let running = app::start(&settings).await.expect("starts");
        Plane { running, directory, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.running.api
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.api()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = self.http.request(request).await.expect("an answer");
        let status = response.status();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().to_owned();
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, kind, body, json }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub(crate) async fn apply(&self, text: &str) -> Answer {
        self.ask(Method::POST, "/api/v1/apply", &[("content-type", "application/yaml")], text.to_owned()).await
    }

    /// Runs `outrigger` against this control plane.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Output {
        let server = format!("http://{}", self.api());
        let arguments: Vec<_> = arguments.iter().copied().chain(["--server", &server]).collect();
        run(&arguments, "").await
    }
}

/// Runs `outrigger` in a terminal of 100 columns without colour.
pub(crate) async fn run(arguments: &[&str], input: &'static str) -> Output {
    let arguments: Vec<OsString> = ["outrigger"].iter().chain(arguments).map(OsString::from).collect();
    let run = move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = input.as_bytes();
        let mut terminal =
            Terminal { input: &mut input, out: &mut out, err: &mut err, paint: Paint(false), width: 100 };
        let code = cli::execute(arguments, &mut terminal);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Output { code, out: text(out), err: text(err) }
    };
    // The command line brings a runtime of its own.
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

/// Connects a proxy that refuses its clusters, and stays for as long as it is kept.
pub(crate) async fn a_proxy_that_refuses(plane: &Plane) -> Sotw {
    let mut proxy = Sotw::connect(plane.running.xds, "shop/catalog-1").await;
    proxy.ask(ResourceType::Cluster, &[]).await;
    let clusters = proxy.answer().await;
    proxy.nack(&clusters, &[], "no such balancer").await;
    soon("the refusal is known", || async {
        plane.running.steering.proxies().iter().any(|proxy| proxy.types.values().any(|status| status.nack.is_some()))
    })
    .await;
    proxy
}

/// Waits until `is_so` is.
pub(crate) async fn soon<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within 10 seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
