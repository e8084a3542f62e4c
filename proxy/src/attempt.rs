//! One attempt's account: what it took of the destination and what came of it. It is settled once, whatever way the
//! attempt ends: with its response's last byte, with an error, or by being dropped when the caller goes away.
//!
//! Settling gives the connection back, frees the permit, tells the load and the outlier detection, and hands the
//! attempt's span on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use outrigger_config::cluster::Balancing;
use outrigger_config::listener::Direction;
use outrigger_config::policy::Priority;

use crate::body::{End, Ending};
use crate::clock;
use crate::cluster::limits::Permit;
use crate::cluster::{Change, Cluster, ConnectionPermit, Outcome, Report, Seat};
use crate::decision::Try;
use crate::endpoint::Endpoint;
use crate::endpoint::orca::Report as LoadReport;
use crate::exchange::{Aim, Cause};
use crate::pool::{H1, H2Stream, Pool};
use crate::reason::Reason;
use crate::telemetry::context::Context;
use crate::telemetry::{RetryCause, SpanKind, SpanRecord, Would};

/// A connection while an attempt is on it.
#[derive(Debug)]
pub enum Lease {
    /// All of an HTTP/1 connection.
    H1(H1),
    /// A stream of a shared HTTP/2 connection.
    H2(H2Stream),
    /// Nothing of a network, but the right to it.
    Scripted(Option<ConnectionPermit>),
}

/// An attempt that is under way, or whose response is.
#[derive(Debug)]
pub struct Attempt {
    aim: Aim,
    seat: Seat,
    /// The attempt's own span; the request's where it has none.
    context: Context,
    started: Instant,
    head_after: Option<Duration>,
    status: u16,
    grpc_status: Option<u8>,
    reason: Option<Reason>,
    lease: Option<Lease>,
    _permit: Option<Permit>,
    completed: bool,
    /// It waits because a limit of ours allows no connection.
    in_line: AtomicBool,
    /// Another attempt answered first.
    lost: bool,
    /// Its endpoint is known to be good already.
    reported: bool,
    /// Its response went to the caller: there will be no other attempt.
    last: bool,
    /// Its response tells the caller where its session is.
    pub greets: bool,
}

impl Attempt {
    /// An attempt in `seat` that begins at `now`; boxed, since it goes on with the response's body.
    pub fn begin(aim: Aim, seat: Seat, permit: Option<Permit>, now: Instant) -> Box<Self> {
        let outbound = aim.trail.connection.entrance.direction == Direction::Outbound;
        let context = match aim.trail.context.sampled && outbound {
            true => aim.trail.context.child(&mut fastrand::Rng::new()),
            false => aim.trail.context.clone(),
        };
        let one = beginning(&aim, &seat, now);
        aim.trail.note(|notes| {
            notes.attempts += 1;
            notes.tries.begin(one);
            notes.cut = None;
            let before = notes.endpoint.replace(seat.endpoint().address);
            notes.tried.extend(before);
        });
        Box::new(Attempt {
            aim,
            seat,
            context,
            started: now,
            head_after: None,
            status: 0,
            grpc_status: None,
            reason: None,
            lease: None,
            _permit: permit,
            completed: false,
            in_line: AtomicBool::new(false),
            lost: false,
            reported: false,
            last: false,
            greets: false,
        })
    }

    /// The trace context that the endpoint is told.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.seat.endpoint()
    }

    /// The connections that it may take.
    pub fn pool(&self) -> &Pool {
        self.endpoint().pools.of(self.aim().priority())
    }

    /// On whose behalf.
    pub fn aim(&self) -> &Aim {
        &self.aim
    }

    /// Whether it waits because a limit of ours allows no connection.
    pub fn waits_in_line(&self, waits: bool) {
        self.in_line.store(waits, Ordering::Relaxed);
    }

    /// The response head is here; the connection is its own until the body is over.
    pub fn answered(&mut self, status: u16, grpc_status: Option<u8>, lease: Lease) {
        let took = clock::now().saturating_duration_since(self.started);
        self.head_after = Some(took);
        self.status = status;
        self.grpc_status = grpc_status;
        self.lease = Some(lease);
        let number = self.aim.attempt;
        self.aim.trail.note(|notes| {
            if let Some(one) = notes.tries.of(number) {
                (one.took, one.status, one.grpc) = (Some(took), status, grpc_status);
            }
            // Of several under way the one that answers is the one that counts.
            notes.endpoint = Some(self.seat.endpoint().address);
        });
        // A good head decides a probe: a stream may go on for hours, and its caller may end it.
        if self.seat.is_probe() && self.outcome() == Some(Outcome::Success) {
            self.report(Outcome::Success, clock::now());
            self.seat.end_probe();
            self.reported = true;
        }
    }

    /// Takes down what the endpoint reports of its load, in the head or in the trailers, where that counts.
    pub fn hear(&self, fields: &HeaderMap) {
        let Balancing::ClientSideWeightedRoundRobin(rules) = self.aim.cluster.config.balancing else { return };
        // Whoever is asked beside requests says the same there, and at its own pace (gRFC A58).
        if rules.asks_every.is_some() {
            return;
        }
        let Some(report) = LoadReport::find(fields) else { return };
        self.aim.cluster.traffic.report(report.is_err());
        let penalty = f64::from(rules.penalty_thousandths) / 1000.0;
        if let Some(weight) = report.ok().and_then(|report| report.weight(penalty)) {
            self.endpoint().reported.report(weight, clock::now());
        }
    }

    /// It failed without a response.
    pub fn failed(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    /// What the destination is held to have done: nothing is said of an attempt that the caller gave up.
    fn outcome(&self) -> Option<Outcome> {
        // Errors by which a service says that it is in trouble: UNKNOWN, DEADLINE_EXCEEDED,
        // INTERNAL, UNAVAILABLE, DATA_LOSS. UNIMPLEMENTED speaks of the request.
        match (self.status, self.grpc_status) {
            (502..=504, _) | (_, Some(4 | 14)) => return Some(Outcome::Gateway),
            (500.., _) | (_, Some(2 | 13 | 15)) => return Some(Outcome::Failure),
            _ => {}
        }
        // It never had a connection: a limit of ours held it up.
        if self.lost || self.status == 0 && self.in_line.load(Ordering::Relaxed) {
            return None;
        }
        match self.reason.or_else(|| self.cut()) {
            // Neither a caller that left nor a limit of ours says anything of the endpoint.
            Some(
                Reason::DownstreamReset | Reason::BreakerPending | Reason::BreakerConnections | Reason::StreamTimeout,
            ) => None,
            Some(_) => Some(Outcome::NoAnswer),
            None => (self.status != 0).then_some(Outcome::Success),
        }
    }

    /// Why a room around it gave it up, if one did.
    fn cut(&self) -> Option<Reason> {
        if self.status == 0 { self.aim.trail.read(|notes| notes.cut) } else { None }
    }

    fn settle(&mut self) {
        let now = clock::now();
        self.lost = self.aim.trail.read(|notes| notes.lost);
        let outcome = self.outcome();
        if self.lost && self.head_after.is_none() {
            // It is not known how long it would have taken, but that it was longer than this.
            self.endpoint().load.observe(now, now.duration_since(self.started));
        }
        self.aim.cluster.traffic.attempt(outcome);
        if let Some(outcome) = outcome {
            self.aim.cluster.note_admission(outcome == Outcome::Success, now);
        }
        let reason = self.reason.or_else(|| self.cut());
        if self.lost || reason.is_some() {
            let (number, took) = (self.aim.attempt, now.saturating_duration_since(self.started));
            self.aim.trail.note(|notes| {
                if let Some(one) = notes.tries.of(number) {
                    (one.took, one.reason, one.lost) = (one.took.or(Some(took)), reason, self.lost);
                }
            });
        }
        // An endpoint that fails fast must not look quick.
        if let (Some(Outcome::Success) | None, Some(latency)) = (outcome, self.head_after) {
            self.endpoint().load.observe(now, latency);
        }
        if let Some(outcome) = outcome.filter(|outcome| !self.reported || *outcome != Outcome::Success) {
            self.report(outcome, now);
        }
        if let Some(Lease::H1(connection)) = self.lease.take()
            && self.completed
        {
            give_back(&self.aim, self.endpoint(), connection, now);
        }
        if self.context.sampled && self.aim.trail.connection.entrance.direction == Direction::Outbound {
            let telemetry = &self.aim.trail.connection.shared.telemetry;
            // The only attempt of a trace that began here needs no root above it.
            let trail = &self.aim.trail;
            let first = self.last && self.aim.attempt == 0 && trail.own_span;
            let alone = first && !trail.read(|notes| notes.retried || notes.held);
            trail.note(|notes| notes.alone |= alone);
            let parent = (!alone).then_some(self.aim.trail.context.span_id);
            telemetry.spans.submit(self.aim.trail.connection.worker, self.span(parent));
        }
    }

    fn report(&self, outcome: Outcome, now: Instant) {
        let report = Report { outcome, latency: self.head_after, probe: self.seat.is_probe() };
        let cluster = &self.aim.cluster;
        let changes = [cluster.report(self.endpoint(), report, now), cluster.rehearse(self.endpoint(), report, now)];
        for change in changes.into_iter().flatten() {
            if matches!(&change, Change::Ejected(ejected) if !ejected.mode.enforces()) {
                self.aim.trail.note(|notes| notes.would |= Would::EJECT);
            }
            change.tell(&cluster.label);
        }
    }

    fn span(&self, parent: Option<[u8; 8]>) -> SpanRecord {
        let trail = &self.aim.trail;
        let connection = &trail.connection;
        let duration = clock::now().saturating_duration_since(self.started);
        let reason = match self.lost {
            true => None,
            false => self.reason.or_else(|| self.cut()).or((self.status == 0).then_some(Reason::DownstreamReset)),
        };
        trail.read(|notes| SpanRecord {
            trace_id: self.context.trace_id,
            span_id: self.context.span_id,
            parent,
            state: None,
            kind: SpanKind::Client,
            start: clock::wall() - duration,
            duration,
            identity: connection.entrance.identity.clone(),
            direction: connection.entrance.direction,
            method: trail.method.clone(),
            path: trail.uri.path().into(),
            authority: trail.uri.authority().map(|authority| authority.as_str().into()),
            version: trail.version,
            status: self.status,
            grpc: trail.grpc,
            grpc_status: self.grpc_status,
            reason,
            lost: self.lost,
            route: Some(Arc::clone(&self.aim.route.config.name)),
            host: Some(Arc::clone(&self.aim.cluster.label)),
            peer: Some(self.endpoint().address),
            attempt: self.aim.attempt,
            retry_of: self.aim.retry_of.map(RetryCause::from),
            withheld: notes.withheld,
            cache: notes.cache,
            would: notes.would,
            snapshot: notes.snapshot,
        })
    }
}

/// What is known of an attempt as it begins.
fn beginning(aim: &Aim, seat: &Seat, now: Instant) -> Try {
    Try {
        number: aim.attempt,
        endpoint: seat.endpoint().address,
        cause: aim.retry_of.map(RetryCause::from),
        at: now.saturating_duration_since(aim.trail.started),
        left: aim.deadline.map(|deadline| deadline.into_std().saturating_duration_since(now)),
        active: seat.endpoint().load.active(),
        probe: seat.is_probe(),
        took: None,
        status: 0,
        grpc: None,
        reason: None,
        lost: false,
    }
}

impl From<Cause> for RetryCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Reason(reason) => RetryCause::Reason(reason),
            Cause::Status(status) => RetryCause::Status(status),
            Cause::Grpc(status) => RetryCause::Grpc(status),
            Cause::Hedge => RetryCause::Hedge,
        }
    }
}

impl Ending for Attempt {
    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = crate::exchange::grpc_status(trailers) {
            self.grpc_status = Some(status);
        }
        self.hear(trailers);
    }

    fn end(mut self: Box<Self>, how: End) {
        self.last = true;
        match how {
            End::Complete => self.completed = true,
            End::Failed(reason) => self.reason = Some(reason),
            End::Dropped => self.reason = Some(Reason::DownstreamReset),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Gives a connection back to its worker's slot, unless somebody on another worker waits for the right to make one.
fn give_back(aim: &Aim, endpoint: &Arc<Endpoint>, mut connection: H1, now: Instant) {
    let worker = aim.trail.connection.worker;
    if connection.is_closed() {
        return;
    }
    if connection.is_ready() {
        rest(&aim.cluster, endpoint, aim.priority(), worker, connection.rested(now));
        return;
    }
    // The rest of the request is still leaving: the answer came early. It has a little time.
    let (cluster, endpoint, priority) = (Arc::clone(&aim.cluster), Arc::clone(endpoint), aim.priority());
    tokio::spawn(async move {
        if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(5), connection.ready()).await {
            rest(&cluster, &endpoint, priority, worker, connection.rested(clock::now()));
        }
    });
}

fn rest(cluster: &Cluster, endpoint: &Endpoint, priority: Priority, worker: usize, connection: H1) {
    let pool = endpoint.pools.of(priority);
    if !cluster.wants_room(priority, endpoint) || pool.has_waiters(worker) {
        pool.give_h1(worker, connection);
    }
}
