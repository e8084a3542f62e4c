//! The proxy as a process: settings in, exit code out.
//!
//! Everything that can be refused is refused before anything is served: flags, the log filter, the admin port, in
//! static mode the documents and every listener. Then the workers serve, and this thread's runtime carries what is not
//! a request: discovery, export, the admin port, the clock. SIGTERM and SIGINT drain; a second one does not wait.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use outrigger_config::error::Problems;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::body::Memory;
use crate::cache::Caching;
use crate::discovery::follow::Follower;
use crate::discovery::publish::Publisher;
use crate::discovery::status::{Source, Status};
use crate::drain::Drain;
use crate::exchange::Shared;
use crate::health;
use crate::listener::DataPlane;
use crate::overload::{self, Overload};
use crate::quota::Quotas;
use crate::reports;
use crate::rls::{self, LimitService};
use crate::snapshot::Snapshots;
use crate::telemetry::exporter::{Exporter, Target};
use crate::telemetry::reporter::Reporter;
use crate::telemetry::{Records, Sampler, SpanSink, Telemetry, logging, records, sink};

pub mod settings;
mod housekeeping;
pub(crate) mod standalone;

pub use settings::{NoSettings, Settings};

/// How long the last spans may take to be sent.
const FLUSH: Duration = Duration::from_secs(2);

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag's value cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// The documents are wrong; each problem is a line.
    #[error("{0}")]
    Documents(Problems),
    /// The admin port is not to be had.
    #[error("the admin port cannot listen on {address}: {source}; choose another with --admin")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refused something.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs a proxy until it is told to stop. 0: it stopped as told; 2: it could not start, and stderr says why and what to
/// do.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let settings = match Settings::read(arguments) {
        Ok(settings) => settings,
        Err(NoSettings::Asked(text)) => {
            say(&mut io::stdout(), text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(NoSettings::Wrong(text)) => return refuse(&text),
    };
    let served = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::from);
    match served.and_then(|control| control.block_on(serve(settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error.to_string()),
    }
}

async fn serve(settings: Settings) -> Result<(), Error> {
    let started = Instant::now();
    let variable = |name: &str| std::env::var(name).ok();
    let sampler = Sampler::read(variable).map_err(Error::Usage)?;
    let filter = logging::parse(&settings.log).map_err(|why| Error::Usage(format!("--log {why}")))?;
    let filter = logging::init(filter, settings.log_format);
    let resources = match &settings.source {
        Source::File(path) => Some(standalone::read(path, settings.node.as_ref())?),
        Source::Xds(_) => None,
    };
    let listen = |source| Error::Admin { address: settings.admin, source };
    let admin = TcpListener::bind(settings.admin).await.map_err(listen)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let control_plane = match settings.source {
        Source::Xds(address) => Some(address),
        Source::File(_) => None,
    };
    let target = Target::choose(variable, control_plane);
    let spans = target.as_ref().map_or_else(SpanSink::default, |_| SpanSink::new(settings.workers, sink::MAX_BYTES));
    let records = Records::new(settings.workers, records::MAX_BYTES, settings.explain_slow, token(&settings)?);
    let shared = Arc::new(Shared {
        snapshots: Snapshots::new(),
        telemetry: Arc::new(Telemetry { metrics: Arc::default(), spans: spans.clone(), records, sampler }),
        caching: Caching::new(settings.cache_memory),
        workers: settings.workers,
        limits: limit_service(control_plane)?,
        drain: Drain::new(),
        carried: Arc::default(),
        replay: Arc::new(Memory::new(settings.replay_memory)),
        overload: Arc::new(Overload::new(settings.bounds)),
    });
    let data_plane = DataPlane::start(Arc::clone(&shared))?.with_drain_timeout(settings.drain_timeout);
    let data_plane = Arc::new(data_plane);
    let status = Status::new(settings.source.clone());
    let publisher = Publisher::new(Arc::clone(&shared), Arc::clone(&data_plane), status.clone());
    if let Some((node, resources)) = resources {
        shared.telemetry.metrics.set_workload(node);
        let closed = publisher.publish(&Arc::new(resources), started);
        if !closed.is_empty() {
            return Err(Error::Documents(Problems(closed)));
        }
    }
    let admin = Admin { shared: Arc::clone(&shared), status: status.clone(), filter, started }.serve(admin);
    tokio::spawn(admin);
    let stop = CancellationToken::new();
    let exporter = target.map(|target| tokio::spawn(Exporter::new(spans, target, variable).run(stop.clone())));
    let mut quotas = None;
    if let (Some(address), Some(node)) = (control_plane, &settings.node) {
        let metrics = Arc::clone(&shared.telemetry.metrics);
        metrics.set_workload(node.clone());
        let records = shared.telemetry.records.clone();
        tokio::spawn(Reporter::new(Arc::clone(&metrics), records, SystemTime::now()).run(address));
        let channel = rls::channel(address).map_err(|error| Error::Usage(format!("--xds {address}: {error}")))?;
        let kept = Quotas::new(shared.snapshots.clone(), channel, &node.to_string());
        quotas = Some(tokio::spawn(kept.run(stop.clone())));
        let follower = Follower::new(address, settings.xds_mode.choice(), node, publisher, status.clone(), metrics);
        tokio::spawn(follower.follow());
    }
    let kept = Arc::clone(&shared);
    tokio::spawn(overload::watch(Arc::clone(&shared.overload), move || kept.caching.store.empty()));
    tokio::spawn(housekeeping::keep(Arc::clone(&shared)));
    tokio::spawn(health::watch(Arc::clone(&shared)));
    tokio::spawn(reports::watch(Arc::clone(&shared)));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        source = %settings.source,
        admin = %settings.admin,
        workers = settings.workers,
        "Proxy started"
    );
    if let Some(sampler) = sampler {
        tracing::info!(%sampler, "The environment says which traces are kept, and not the MeshPolicy");
    }
    stopped(&mut terminate, &mut interrupt).await;
    status.note(|standing| standing.draining = true);
    tracing::info!(
        timeout_s = settings.drain_timeout.as_secs_f64(),
        connections = data_plane.connections(),
        "Draining"
    );
    tokio::select! {
        finished = data_plane.drain(settings.drain_timeout) => match finished {
            true => tracing::info!("Everything finished"),
            false => tracing::warn!("The time to drain is over; what was left is cut"),
        },
        () = stopped(&mut terminate, &mut interrupt) => tracing::warn!("Told to stop twice; not waiting"),
    }
    stop.cancel();
    if let Some(quotas) = quotas
        && tokio::time::timeout(FLUSH, quotas).await.is_err()
    {
        tracing::warn!("The shares of rate limits were not given back in time");
    }
    if let Some(exporter) = exporter
        && tokio::time::timeout(FLUSH, exporter).await.is_err()
    {
        tracing::warn!("The last spans were not taken in time");
    }
    Ok(())
}

/// What whoever asks for a record must say, where a file says so.
fn token(settings: &Settings) -> Result<Option<Box<[u8]>>, Error> {
    let Some(file) = &settings.explain_token else { return Ok(None) };
    let read = std::fs::read_to_string(file);
    let text = read.map_err(|source| Error::Unreadable { file: file.display().to_string(), source })?;
    let token = text.trim();
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let file = file.display();
        return Err(Error::Usage(format!("--explain-token {file} must hold at least 16 printable characters")));
    }
    Ok(Some(token.as_bytes().into()))
}

/// Who counts global limits: the control plane.
fn limit_service(control_plane: Option<SocketAddr>) -> Result<LimitService, Error> {
    let Some(address) = control_plane else { return Ok(LimitService::default()) };
    LimitService::at(address).map_err(|error| Error::Usage(format!("--xds {address}: {error}")))
}

async fn stopped(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn refuse(line: &str) -> ExitCode {
    say(&mut io::stderr(), &format!("outrigger-proxy: {line}"));
    ExitCode::from(2)
}

/// Writes a line where there may be nobody to read it.
fn say(to: &mut dyn Write, line: &str) {
    let _ = writeln!(to, "{line}");
}
