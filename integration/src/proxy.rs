//! One `outrigger-proxy` process: static or steered, with its admin port.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::binaries;
use crate::client::{self, Client, Reply};
use crate::documents::{Documents, NAMESPACE};
use crate::ports;
use crate::process::{Ended, Process};
use crate::wait;

/// What a proxy is started with.
#[derive(Debug)]
pub struct Start {
    name: String,
    admin: SocketAddr,
    command: Command,
    /// Kept for as long as the proxy runs: its document file is in there.
    folder: Option<tempfile::TempDir>,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    admin: SocketAddr,
    process: Process,
    _folder: Option<tempfile::TempDir>,
}

impl Start {
    /// The proxy of `workload`, with these documents and no control plane.
    pub fn standalone(documents: &Documents, workload: &str) -> Start {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("mesh.yaml");
        std::fs::write(&file, documents.text()).expect("a file can be written");
        let mut start = Start::of(workload, 2).arg("--config").arg(&file);
        start.folder = Some(folder);
        start
    }

    /// The proxy of `workload`, steered by the control plane at `xds`.
    pub fn steered(xds: SocketAddr, workload: &str) -> Start {
        Start::of(workload, 2).arg("--xds").arg(xds.to_string())
    }

    /// As [`Start::steered`], with one worker alone: nothing then depends on which of them a connection comes to.
    pub fn steered_alone(xds: SocketAddr, workload: &str) -> Start {
        Start::of(workload, 1).arg("--xds").arg(xds.to_string())
    }

    fn of(workload: &str, workers: usize) -> Start {
        let admin = ports::free();
        let mut command = Command::new(binaries::proxy());
        let (node, workers) = (format!("{NAMESPACE}/{workload}"), workers.to_string());
        command.args(["--node-id", &node, "--workers", &workers, "--log", "info"]);
        command.args(["--admin", &admin.to_string()]);
        // What the caller of the tests has set must not leak in.
        for variable in std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("OTEL_")) {
            command.env_remove(variable);
        }
        Start { name: workload.to_owned(), admin, command, folder: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Start {
        self.command.arg(argument);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Start {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits for nothing.
    pub fn start(mut self) -> Proxy {
        let process = Process::start(&self.name, &mut self.command);
        Proxy { admin: self.admin, process, _folder: self.folder }
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Proxy {
        let mut proxy = self.start();
        proxy.until_ready().await;
        proxy
    }
}

impl Proxy {
    /// Waits until `/ready` says so.
    pub async fn until_ready(&mut self) {
        wait::until("the proxy to be ready", async || {
            assert!(self.process.runs(), "the proxy ended while it was starting");
            self.is_ready().await.then_some(())
        })
        .await;
    }

    /// Whether `/ready` says so; an admin port that is not there yet says no.
    pub async fn is_ready(&self) -> bool {
        tokio::net::TcpStream::connect(self.admin).await.is_ok() && self.admin("/ready").await.status == 200
    }

    /// Asks the admin port.
    pub async fn admin(&self, path: &str) -> Reply {
        client::fetch(self.admin, path).await
    }

    /// Posts to the admin port.
    pub async fn admin_post(&self, path: &str) -> Reply {
        Client::http1(self.admin).await.send(client::post(&self.admin.to_string(), path, "")).await
    }

    /// Where the admin port is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// What the admin port answers to `path`, as JSON.
    pub async fn admin_json(&self, path: &str) -> Value {
        self.admin(path).await.json()
    }

    /// The sum of the series of `metric` whose labels contain every one of `labels` (`reason="rate_limited"`).
    pub async fn metric(&self, metric: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").await.text();
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| value(line, metric, labels)).sum()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it ends.
    pub async fn ended(self) -> Ended {
        self.process.ended().await
    }
}

/// The value of a line of Prometheus' text format, if it is of `metric` and has all `labels`.
fn value(line: &str, metric: &str, labels: &[&str]) -> Option<f64> {
    let (series, value) = line.rsplit_once(' ')?;
    let name = series.split('{').next()?;
    (name == metric && labels.iter().all(|label| series.contains(label))).then(|| value.parse().ok())?
}

/// Runs the proxy with these arguments to its end: for what it refuses to start with.
pub async fn refused<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Process::run(Path::new(&binaries::proxy()), arguments).await
}
