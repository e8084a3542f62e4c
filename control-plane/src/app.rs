//! The control plane as a process: settings in, exit code out.
//!
//! Start-up does everything that can be refused before it serves anything: the log, the store, the documents, the
//! addresses. Then one runtime serves xDS and OTLP on one port and the API on another until SIGTERM or SIGINT, ends
//! every stream, and gives what is under way five seconds to finish.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing_subscriber::EnvFilter;

use crate::ads::server::Ads;
use crate::api::serve::serve;
use crate::api::{self, Api, Hosts};
use crate::error::Error;
use crate::follow::follow;
use crate::limits::quota::QuotaService;
use crate::limits::server::RateLimitService;
use crate::limits::{Counters, Leases, Link, Replicas, Shared};
use crate::otlp::forward::{Forwarder, Target};
use crate::otlp::grpc::{LogsService, MetricsService, TraceService};
use crate::otlp::{self, Receiver};
use crate::settings::{LogFormat, NoSettings, Settings};
use crate::signals::Signals;
use crate::source::directory::Directory;
use crate::state::{Filter, Steering};
use crate::store::Store;

/// How long a stop may take.
const GRACE: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Runs a control plane until it is told to stop. 0: it stopped as told; 2: it could not start, and one line on
/// stderr says why.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let settings = match Settings::read(arguments) {
        Ok(settings) => settings,
        Err(NoSettings::Asked(text)) => {
            say(&mut std::io::stdout(), text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(NoSettings::Wrong(text)) => return refuse(&text),
    };
    match steer(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error.to_string()),
    }
}

/// A control plane that serves.
#[derive(Debug)]
pub struct Running {
    /// The address of xDS and OTLP over gRPC.
    pub xds: SocketAddr,
    /// The address of the API and OTLP over HTTP.
    pub api: SocketAddr,
    /// What it steers.
    pub steering: Steering,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// Ends every stream and waits for what is under way, five seconds at most.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("what was under way did not finish in time");
        }
    }
}

/// Starts a control plane on the runtime this is called on.
pub async fn start(settings: &Settings) -> Result<Running, Error> {
    let mut directory = settings.documents.as_deref().map(Directory::new);
    let files = match &mut directory {
        Some(directory) => Some(
            directory
                .read(SystemTime::now())
                .map_err(|source| Error::Documents { path: directory.path().to_path_buf(), source })?,
        ),
        None => None,
    };
    let store = Store::open(&settings.store)?;
    let steering = Steering::start(store, settings.documents.as_deref().zip(files.as_ref()))?;
    let mut tasks = JoinSet::new();
    let forwarder = match &settings.otlp_forward {
        Some(url) => {
            let protocol = std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL").ok();
            let target = Target::parse(url, protocol.as_deref())
                .map_err(|reason| Error::Usage(format!("--otlp-forward: {reason}")))?;
            let (forwarder, task) = Forwarder::new(target);
            tasks.spawn(task);
            Some(forwarder)
        }
        None => None,
    };
    let stop = CancellationToken::new();
    let signals = Signals::new(settings.trace_memory, Instant::now());
    let receiver = Receiver::new(signals.clone(), forwarder);

    let xds = listen(settings.xds, "--xds").await?;
    let api = listen(settings.api, "--api").await?;
    let (xds_address, api_address) = (xds.local_addr()?, api.local_addr()?);
    let ads = Ads::new(steering.snapshots(), steering.registry().clone(), stop.clone());
    // Before anybody can ask.
    let redis = redis(settings)?;
    let counters = Counters::new(steering.snapshots().borrow().mesh(), redis.clone().map(Shared::new));
    tasks.spawn(counters.clone().follow(steering.snapshots(), stop.clone()));
    let now = Instant::now();
    let leases = if redis.is_some() { Leases::common(fastrand::u64(1..), now) } else { Leases::new(now) };
    tasks.spawn(leases.clone().run(steering.snapshots(), stop.clone()));
    let replicas = redis.map(|redis| Replicas::new(leases.clone(), redis, now));
    if let Some(replicas) = &replicas {
        tasks.spawn(replicas.clone().run(stop.clone()));
    }
    let routes = Routes::new(ads)
        .add_service(RateLimitService::new(counters.clone()))
        .add_service(QuotaService::new(leases.clone(), stop.clone()));
    tasks.spawn(serve_grpc(xds, otlp_routes(routes, &receiver), stop.clone()));
    let hosts = Hosts::new(api_address, settings.api_host.iter().cloned());
    let state = Api { steering: steering.clone(), signals, receiver: receiver.clone(), counters, leases, replicas };
    tasks.spawn(serve(api, api::router(state, hosts), stop.clone()));
    if let Some(address) = settings.otlp_grpc {
        let listener = listen(address, "--otlp-grpc").await?;
        tasks.spawn(serve_grpc(listener, otlp_routes(Routes::default(), &receiver), stop.clone()));
    }
    if let Some(address) = settings.otlp_http {
        let listener = listen(address, "--otlp-http").await?;
        tasks.spawn(serve(listener, otlp::http::router(receiver), stop.clone()));
    }
    if let Some(directory) = directory {
        tasks.spawn(follow(directory, steering.clone(), stop.clone()));
    }
    Ok(Running { xds: xds_address, api: api_address, steering, stop, tasks })
}

fn redis(settings: &Settings) -> Result<Option<Link>, Error> {
    let Some(url) = &settings.redis else { return Ok(None) };
    // Not the URL itself: it may hold a password.
    let wrong = |reason| Error::Usage(format!("--redis {reason}; try redis://127.0.0.1:6379"));
    Link::new(url, settings.redis_timeout).map(Some).map_err(wrong)
}

fn steer(settings: &Settings) -> Result<(), Error> {
    log(settings)?;
    let runtime = runtime(settings)?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let running = start(settings).await?;
        tracing::info!(
            xds = %running.xds, api = %running.api, generation = running.steering.generation(), "serving"
        );
        if running.steering.documents(&Filter::default()).is_empty() {
            let store = settings.store.display();
            tracing::warn!(%store, "no document stands yet: proxies that connect are told to serve nothing");
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        running.stop().await;
        Ok(())
    });
    // What is still blocked has had its grace.
    runtime.shutdown_background();
    outcome
}

fn runtime(settings: &Settings) -> Result<Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(usize::from(settings.workers)).thread_name("serve").enable_all();
    Ok(builder.build()?)
}

fn log(settings: &Settings) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| Error::Usage(format!("--log {:?} is no filter ({error}); try info", settings.log)))?;
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    // A process that has a log already, as a test has, keeps it.
    let _ = match settings.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, flag, source })
}

fn otlp_routes(routes: Routes, receiver: &Receiver) -> Routes {
    routes
        .add_service(TraceService::new(receiver.clone()))
        .add_service(MetricsService::new(receiver.clone()))
        .add_service(LogsService::new(receiver.clone()))
}

async fn serve_grpc(listener: TcpListener, routes: Routes, stop: CancellationToken) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server =
        Server::builder().http2_keepalive_interval(Some(KEEPALIVE.0)).http2_keepalive_timeout(Some(KEEPALIVE.1));
    let served = server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(error = &error as &dyn std::error::Error, "serving gRPC ended");
    }
}

fn refuse(line: &str) -> ExitCode {
    say(&mut std::io::stderr(), &format!("outrigger-control-plane: {line}"));
    ExitCode::from(2)
}

/// Writes a line where there may be nobody to read it.
fn say(to: &mut dyn std::io::Write, line: &str) {
    let _ = writeln!(to, "{line}");
}
