//! Plays a scenario: every request goes through the stack at its time.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use outrigger_config::listener::Direction;
use outrigger_config::record::Record;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::Service;

use super::scenario::{Ask, MAX_BODY, Scenario};
use super::script::Scripts;
use super::wire::Scripted;
use crate::body::Body;
use crate::cache::Caching;
use crate::clock;
use crate::drain::Drain;
use crate::exchange::{Connection, Entrance, Request, Shared};
use crate::explain;
use crate::listener::entrance;
use crate::policy::upstream::Upstream;
use crate::rls::LimitService;
use crate::snapshot::{Context, ResourceSet, Snapshots, compile};
use crate::stack::{self, HttpService};
use crate::telemetry::Telemetry;

/// How often a proxy looks after its endpoints.
const SWEEP: Duration = Duration::from_secs(1);

/// How many bytes of responses it keeps, as a proxy does unless told otherwise.
const CACHE: u64 = 64 << 20;

/// What a scenario is played on.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// What a proxy would have accepted.
    pub resources: &'a ResourceSet,
    /// Which way requests pass.
    pub direction: Direction,
    /// Where all chance comes from.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// How each request was decided, in the order in which they were asked.
    pub records: Vec<Record>,
    /// How long it took, in the scenario's time.
    pub lasted: Duration,
}

/// Plays it, in no time to speak of. The time of the scenario begins with each play anew.
pub fn play(stage: Stage<'_>, scenario: &Scenario) -> Result<Played, String> {
    // Each file was looked at; together they may be too much.
    scenario.bounds()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    fastrand::seed(stage.seed);
    runtime.block_on(run(stage, scenario))
}

async fn run(stage: Stage<'_>, scenario: &Scenario) -> Result<Played, String> {
    let telemetry = Arc::new(Telemetry::default());
    let (metrics, now) = (Arc::clone(&telemetry.metrics), clock::now());
    let snapshot = compile(stage.resources, None, &Context { workers: 1, metrics, seed: stage.seed, now });
    let listener = snapshot.listeners.iter().find(|listener| listener.direction == stage.direction);
    let Some(entrance) = listener.map(|listener| Arc::new(entrance(listener, None))) else {
        let way = crate::telemetry::direction_word(stage.direction);
        return Err(format!("the workload has no {way} listener, so no request can come to its proxy that way"));
    };
    let shared = Arc::new(Shared {
        caching: Caching::new(CACHE),
        snapshots: Snapshots::new(),
        telemetry,
        workers: 1,
        limits: LimitService::default(),
        drain: Drain::new(),
        overload: Arc::default(),
        carried: Arc::default(),
        replay: Arc::default(),
    });
    shared.snapshots.store(Arc::new(snapshot));
    let rng = fastrand::Rng::with_seed(stage.seed.wrapping_add(1));
    let upstream = Upstream(Scripted::new(Scripts::new(&scenario.upstreams), rng, now));
    let stack = match stage.direction {
        Direction::Outbound => stack::outbound_to(upstream),
        Direction::Inbound => stack::inbound_to(upstream),
    };
    let began = Instant::now();
    let sweeping = tokio::spawn(sweep(Arc::clone(&shared)));
    let mut asks = ordered(scenario);
    let (mut playing, mut done) = (JoinSet::new(), Vec::with_capacity(asks.len()));
    for (index, (at, ask)) in asks.drain(..).enumerate() {
        tokio::time::sleep_until(began + at).await;
        let request = request(ask, index, &entrance, &shared)?;
        let answer = answer(stack.clone(), request, began);
        playing.spawn(async move { (index, answer.await) });
        while let Some(played) = playing.try_join_next() {
            done.push(played.map_err(|error| error.to_string())?);
        }
    }
    while let Some(played) = playing.join_next().await {
        done.push(played.map_err(|error| error.to_string())?);
    }
    sweeping.abort();
    done.sort_by_key(|(index, _)| *index);
    Ok(Played { records: done.into_iter().map(|(_, record)| record).collect(), lasted: began.elapsed() })
}

/// Every single request with its time, earliest first.
fn ordered(scenario: &Scenario) -> Vec<(Duration, &Ask)> {
    let all = scenario.requests.iter().flat_map(|ask| {
        let times = u32::try_from(ask.times).unwrap_or(u32::MAX);
        (0..times).map(move |index| (ask.at.0 + ask.every.0.saturating_mul(index), ask))
    });
    let mut all: Vec<_> = all.collect();
    // Stable: what is asked at the same time is asked in the order of the file.
    all.sort_by_key(|(at, _)| *at);
    all
}

fn request(ask: &Ask, index: usize, entrance: &Arc<Entrance>, shared: &Arc<Shared>) -> Result<Request, String> {
    // Somebody on this machine, each over a connection of its own.
    let usual = || SocketAddr::from(([127, 0, 0, 1], 1024 + (index % 60_000) as u16));
    let peer = ask.source.unwrap_or_else(usual);
    // One body for all: as many as are under way at once must not take its size each.
    static NOTHING: [u8; MAX_BODY] = [0; MAX_BODY];
    let mut http = ask.request()?.map(|()| Body::full(&NOTHING[..ask.body.min(MAX_BODY)]));
    if peer.ip().to_canonical().is_loopback() && entrance.direction == Direction::Outbound {
        // So that all of the candidates and near misses are noted.
        http.headers_mut().insert(explain::FIELD, http::HeaderValue::from_static("1"));
    }
    let connection = Connection {
        worker: 0,
        peer,
        entrance: Arc::clone(entrance),
        side: None,
        drain: shared.drain.clone(),
        shared: Arc::clone(shared),
        place: None,
    };
    Ok(Request::new(http, Arc::new(connection)))
}

/// Asks, reads the answer to its end, and says how it was decided.
fn answer(mut stack: HttpService, request: Request, began: Instant) -> impl Future<Output = Record> {
    let trail = Arc::clone(&request.trail);
    async move {
        let Ok::<_, Infallible>(response) = stack.call(request).await;
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        drop(body);
        let mut record = explain::record(&trail);
        record.kept.retain(|why| why != "asked");
        // In the scenario's time: two plays on two days are the same.
        let at = trail.started.saturating_duration_since(began.into_std());
        record.at_unix_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        record
    }
}

/// What the proxy's house-keeping does to endpoints.
async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        for cluster in shared.snapshots.load_full().clusters() {
            cluster.sweep(clock::now());
        }
    }
}
