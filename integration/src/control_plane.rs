//! One `outrigger-control-plane` process, with its folder of documents, its store and its API. It can be killed and
//! started again where it was.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::binaries;
use crate::client::{self, Client, Reply};
use crate::documents::NAMESPACE;
use crate::ports;
use crate::process::Process;
use crate::wait;

/// A control plane, running or killed.
#[derive(Debug)]
pub struct ControlPlane {
    folder: tempfile::TempDir,
    xds: SocketAddr,
    api: SocketAddr,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl ControlPlane {
    /// One that does not run yet; [`ControlPlane::up`] starts it.
    pub fn down() -> ControlPlane {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::create_dir(folder.path().join("documents")).expect("a folder can be made");
        let (xds, api) = (ports::free(), ports::free());
        ControlPlane { folder, xds, api, arguments: Vec::new(), process: None }
    }

    /// One that runs, without any document.
    pub async fn start() -> ControlPlane {
        let mut control_plane = ControlPlane::down();
        control_plane.up().await;
        control_plane
    }

    /// Adds arguments for the next start.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
    }

    /// Starts it and waits until it is ready.
    pub async fn up(&mut self) {
        let mut command = Command::new(binaries::control_plane());
        command.arg("--documents").arg(self.documents()).arg("--store").arg(self.folder.path().join("outrigger.redb"));
        command.args(["--xds", &self.xds.to_string(), "--api", &self.api.to_string(), "--log", "info"]);
        command.args(&self.arguments);
        self.process = Some(Process::start("control plane", &mut command));
        wait::until("the control plane to be ready", async || {
            assert!(self.process.as_mut().is_some_and(Process::runs), "the control plane ended while it was starting");
            let there = tokio::net::TcpStream::connect(self.api).await.is_ok();
            (there && self.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// Sends it a signal: `STOP` makes it hang, `CONT` go on.
    pub fn signal(&self, signal: &str) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where it serves xDS and takes OTLP over gRPC.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Where its API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// The folder it watches.
    pub fn documents(&self) -> std::path::PathBuf {
        self.folder.path().join("documents")
    }

    /// Asks the API.
    pub async fn get(&self, path: &str) -> Reply {
        client::fetch(self.api, path).await
    }

    /// Applies documents; the answer, whatever it is.
    pub async fn try_apply(&self, documents: &str) -> Reply {
        self.post("/api/v1/apply", documents).await
    }

    /// Applies documents, which must be taken.
    pub async fn apply(&self, documents: &str) -> Value {
        let reply = self.try_apply(documents).await;
        assert_eq!(reply.status, 200, "the documents are refused: {}", reply.text());
        reply.json()
    }

    /// Posts `body` to the API.
    pub async fn post(&self, path: &str, body: &str) -> Reply {
        let ask = client::post(&self.api.to_string(), path, body.to_owned()).with("content-type", "application/yaml");
        Client::http1(self.api).await.send(ask).await
    }

    /// Deletes a document.
    pub async fn delete(&self, kind: &str, name: &str) -> Reply {
        let path = format!("/api/v1/documents/{kind}/{NAMESPACE}/{name}");
        let ask = client::ask(http::Method::DELETE, &self.api.to_string(), &path, crate::behaviour::empty());
        // The API wants to know that no foreign web page asks.
        let ask = ask.with("outrigger-client", "tests");
        Client::http1(self.api).await.send(ask).await
    }

    /// What it says of a proxy, if that has ever connected.
    pub async fn proxy(&self, workload: &str) -> Option<Value> {
        let answer = self.get("/api/v1/proxies").await.json();
        let node = format!("{NAMESPACE}/{workload}");
        answer["proxies"].as_array()?.iter().find(|proxy| proxy["node"] == node.as_str()).cloned()
    }

    /// Waits until a proxy has taken everything that was last applied.
    pub async fn synced(&self, workload: &str) {
        wait::until(&format!("{workload} to take what was applied"), async || {
            self.proxy(workload).await.filter(|proxy| proxy["synced"] == true && proxy["connected"] == true)
        })
        .await;
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.as_ref().map(Process::lines).unwrap_or_default()
    }
}
