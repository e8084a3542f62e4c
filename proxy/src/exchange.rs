//! What passes from room to room. Each room consumes the type that the one before it made, so that a layer cannot
//! stand in the wrong place: [`Request`] -> (route match) -> [`Routed`] -> (split) -> [`Targeted`] -> [`Response`].
//!
//! Beside the message rides its [`Trail`]: what was decided about it and why, noted by each room and read once, when
//! the response is over, for the span, the metrics and the access log.

mod notes;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri, Version};
use outrigger_config::listener::{Direction, Identity};
use outrigger_config::name::ListenerName;
use outrigger_config::policy::{Priority, Retry, Timeouts};
use parking_lot::Mutex;

use crate::body::{Body, End, Ending, Memory};
use crate::cache::Caching;
use crate::carried::Carried;
use crate::clock;
use crate::cluster::{Cluster, Limits, Permit};
use crate::decision::Roll;
use crate::drain::Drain;
use crate::fields::Fields;
use crate::gradient::Gradient;
use crate::grpc;
use crate::io::{Hidden, Side};
use crate::overload::Overload;
use crate::reason::Reason;
use crate::rls::{Asking, LimitService};
use crate::route::{Edits, Route, Target};
use crate::snapshot::Snapshots;
use crate::telemetry::context::Context;
use crate::telemetry::{Sampler, Telemetry};
use crate::wishes::Wishes;

pub use notes::Notes;

/// What every room of every worker shares.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force.
    pub snapshots: Snapshots,
    /// Where signals go.
    pub telemetry: Arc<Telemetry>,
    /// Responses that are kept.
    pub caching: Caching,
    /// How many workers there are.
    pub workers: usize,
    /// Who counts what is limited for all proxies together.
    pub limits: LimitService,
    /// The scope of the whole process.
    pub drain: Drain,
    /// The traces of requests that layers above try again.
    pub carried: Arc<Carried>,
    /// What kept bodies take.
    pub replay: Arc<Memory>,
    /// What the process runs short of.
    pub overload: Arc<Overload>,
}

/// The fixed facts of a listener.
#[derive(Debug)]
pub struct Entrance {
    /// The listener's name: the key to its table.
    pub name: ListenerName,
    /// Which way requests pass.
    pub direction: Direction,
    /// Who the proxy stands beside.
    pub identity: Option<Arc<Identity>>,
    /// The same, `NAMESPACE/NAME`, for endpoints that ask who calls.
    pub caller: Option<HeaderValue>,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Who is asked whether requests are within their limits, where another control plane says so.
    pub limits: Box<[Asking]>,
}

/// A caller's connection.
#[derive(Debug)]
pub struct Connection {
    /// The worker it belongs to.
    pub worker: usize,
    /// The caller's address.
    pub peer: SocketAddr,
    /// The listener it came in by.
    pub entrance: Arc<Entrance>,
    /// What hyper does not say of it; only HTTP/1 has one.
    pub side: Option<Arc<Side>>,
    /// The scope it drains with.
    pub drain: Drain,
    /// What all workers share.
    pub shared: Arc<Shared>,
}

impl Connection {
    /// The same for a request of the proxy's own that one of this connection's gave rise to: nothing of it reaches the
    /// caller.
    pub fn aside(&self) -> Self {
        Connection {
            worker: self.worker,
            peer: self.peer,
            entrance: Arc::clone(&self.entrance),
            side: None,
            drain: self.drain.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A request as it came in.
#[derive(Debug)]
pub struct Request {
    /// The message; boxed, since it passes a dozen rooms.
    pub http: Box<http::Request<Body>>,
    /// Where it came from, and what is decided about it.
    pub trail: Arc<Trail>,
    /// The host it is for, in the one form that routing and the upstream read: lower case, without a trailing dot.
    /// Empty until admission.
    pub authority: HeaderValue,
    /// What hyper does not show of its head.
    pub hidden: Hidden,
}

/// A request that a route has taken.
#[derive(Debug)]
pub struct Routed {
    /// The message; boxed, since it passes a dozen rooms.
    pub http: Box<http::Request<Body>>,
    /// Where it came from, and what is decided about it.
    pub trail: Arc<Trail>,
    /// The host it is for.
    pub authority: HeaderValue,
    /// The route.
    pub route: Arc<Route>,
    /// How many requests at once its listener lets in; taken by the room that asks it.
    pub gradient: Option<Arc<Gradient>>,
}

/// A request whose destination is chosen.
#[derive(Debug)]
pub struct Targeted {
    /// The message; boxed, since it passes a dozen rooms.
    pub http: Box<http::Request<Body>>,
    /// Where it goes, and on whose behalf.
    pub aim: Aim,
    /// What it may use of the destination, held until its response is over.
    pub permit: Option<Permit>,
    /// What is changed in it and its response; taken by the room that does it.
    pub edits: Option<Arc<Edits>>,
}

/// All of a targeted request but the message itself: what another attempt shares with the first.
#[derive(Clone, Debug)]
pub struct Aim {
    /// Where it came from, and what is decided about it.
    pub trail: Arc<Trail>,
    /// The host it is for.
    pub authority: HeaderValue,
    /// The route.
    pub route: Arc<Route>,
    /// The destination.
    pub cluster: Arc<Cluster>,
    /// Which attempt this is, from 0.
    pub attempt: u32,
    /// Why there was an attempt before this one and no answer of it.
    pub retry_of: Option<Cause>,
    /// Whether whoever tries again has a copy of the request, whatever becomes of this one.
    pub kept: bool,
    /// By when the request must be over.
    pub deadline: Option<tokio::time::Instant>,
}

impl Aim {
    /// Whose limits it counts against.
    pub fn priority(&self) -> Priority {
        self.route.config.priority
    }

    /// How much of the destination requests of its priority use and may use.
    pub fn limits(&self) -> &Arc<Limits> {
        self.cluster.limits(self.priority())
    }
}

/// What made an attempt worth repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It failed without an answer.
    Reason(Reason),
    /// Its answer had this HTTP status.
    Status(u16),
    /// Its answer had this gRPC status.
    Grpc(u8),
    /// It had not answered yet, and is still under way.
    Hedge,
}

/// A response.
pub type Response = http::Response<Body>;

/// What happened to a request. Rooms note what they decide; [`crate::policy::record`] reads it at the end.
#[derive(Debug)]
pub struct Trail {
    /// Where the request came from.
    pub connection: Arc<Connection>,
    /// When the request's head was here.
    pub started: Instant,
    /// The method, as it came.
    pub method: Method,
    /// The target, as it came.
    pub uri: Uri,
    /// The protocol version, as it came.
    pub version: Version,
    /// Whether it is a gRPC request.
    pub grpc: bool,
    /// Which of the fields that rooms ask for it came with.
    pub fields: Fields,
    /// The trace this hop belongs to, and its own span.
    pub context: Context,
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    /// Whether this hop is a span of its own; outbound the attempts are, and hang below the caller's.
    pub own_span: bool,
    /// Whether the next hop is told of the trace: always, unless nobody traces here and the caller did not.
    pub traced: bool,
    /// What its caller wished for and gets; mostly nothing.
    wishes: OnceLock<Box<Wishes>>,
    notes: Mutex<Notes>,
    /// Interim responses that an HTTP/2 caller has not got yet.
    early: Mutex<Vec<http::Response<()>>>,
}

/// Interim responses that may wait for a caller; more than that nobody needs.
const MAX_EARLY: usize = 16;

impl Request {
    /// A request that begins now.
    pub fn new(mut http: http::Request<Body>, connection: Arc<Connection>) -> Self {
        let hidden = connection.side.as_ref().map_or(Hidden::Nothing, |side| side.begin());
        if let Some(side) = connection.side.as_ref().filter(|_| !http.body().is_empty()) {
            side.body_begins();
            http.body_mut().on_request_end(Box::new(BodyWatch(Arc::clone(side))));
        }
        let trail = Arc::new(Trail::new(&http, connection));
        Request { http: Box::new(http), trail, authority: HeaderValue::from_static(""), hidden }
    }
}

/// Tells a connection that a request's body is over.
#[derive(Debug)]
struct BodyWatch(Arc<Side>);

impl Ending for BodyWatch {
    fn end(self: Box<Self>, how: End) {
        if how == End::Complete {
            self.0.body_ends();
        }
    }
}

impl Trail {
    /// A trail of a request that begins now.
    pub fn new(http: &http::Request<Body>, connection: Arc<Connection>) -> Self {
        let entrance = &connection.entrance;
        let fields = Fields::of(http.headers());
        let parent = if fields.any(Fields::TRACE) { Context::extract(http.headers()) } else { None };
        let inbound = entrance.direction == Direction::Inbound;
        let own_span = inbound || parent.is_none();
        let traced = parent.is_some() || entrance.sampler.begins();
        let (context, parent) = match parent {
            Some(parent) if !own_span => (parent.settled(entrance.sampler), None),
            parent => {
                let span = parent.as_ref().map(|parent| parent.span_id);
                (Context::decide(parent.as_ref(), entrance.sampler, &mut fastrand::Rng::new()), span)
            }
        };
        Trail {
            connection,
            started: clock::now(),
            method: http.method().clone(),
            uri: http.uri().clone(),
            version: http.version(),
            grpc: fields.any(Fields::CONTENT_TYPE) && grpc::is_grpc(http.headers()),
            fields,
            context,
            parent,
            own_span,
            traced,
            wishes: OnceLock::new(),
            notes: Mutex::default(),
            early: Mutex::default(),
        }
    }

    /// Grants what its caller wished for; only the first time counts.
    pub fn grant(&self, wishes: Wishes) {
        let _ = self.wishes.set(Box::new(wishes));
    }

    /// What is tried again: as the caller wished, or else as its route says.
    pub fn retry<'a>(&'a self, route: &'a Route) -> Option<&'a Retry> {
        self.wishes.get().map_or(route.config.retry.as_ref(), |wishes| wishes.retry.as_ref())
    }

    /// How long it may take: as the caller wished, or else as its route says.
    pub fn timeouts(&self, route: &Route) -> Timeouts {
        self.wishes.get().map_or(route.config.timeouts, |wishes| wishes.timeouts)
    }

    /// What its caller wished for and gets.
    pub fn wishes(&self) -> Option<&Wishes> {
        self.wishes.get().map(Box::as_ref)
    }

    /// Keeps an interim response until the caller's task takes it.
    pub fn hear(&self, early: http::Response<()>) {
        let mut waiting = self.early.lock();
        if waiting.len() < MAX_EARLY {
            waiting.push(early);
        }
    }

    /// Interim responses that the caller has not got yet.
    pub fn heard(&self) -> Vec<http::Response<()>> {
        std::mem::take(&mut *self.early.lock())
    }

    /// Notes something. The lock is never waited for: a request is on one thread.
    pub fn note(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.notes.lock());
    }

    /// Reads what was noted.
    pub fn read<T>(&self, read: impl FnOnce(&Notes) -> T) -> T {
        read(&self.notes.lock())
    }

    /// How long the request has taken.
    pub fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }
}

impl Routed {
    /// Counts a request that is over before a destination was chosen for the first that it might have had.
    pub fn count_for_first(&self) {
        let first = self.route.targets.as_ref().and_then(|targets| targets.iter().next());
        self.trail.note(|notes| {
            if let Some(target) = first {
                notes.edge = Some(Arc::clone(&target.edge));
                notes.host = target.cluster.as_ref().map(|cluster| Arc::clone(&cluster.label));
            } else if let Some(answer) = &self.route.answer {
                notes.edge = Some(Arc::clone(&answer.edge));
            }
        });
    }
}

impl Targeted {
    /// The request that `target` takes; of one that was split, by which roll.
    pub fn new(routed: Routed, cluster: Arc<Cluster>, target: &Target, roll: Option<Roll>) -> Self {
        let Routed { http, trail, authority, route, .. } = routed;
        trail.note(|notes| {
            notes.roll = roll;
            notes.edge = Some(Arc::clone(&target.edge));
            notes.host = Some(Arc::clone(&cluster.label));
        });
        let aim = Aim { trail, authority, route, cluster, attempt: 0, retry_of: None, kept: false, deadline: None };
        Targeted { http, aim, permit: None, edits: target.edits.clone() }
    }
}

impl Aim {
    /// What is tried again.
    pub fn retry(&self) -> Option<&Retry> {
        self.trail.retry(&self.route)
    }

    /// How long the request may take.
    pub fn timeouts(&self) -> Timeouts {
        self.trail.timeouts(&self.route)
    }

    /// The next attempt, after `cause`.
    #[must_use]
    pub fn again(&self, cause: Cause) -> Self {
        Aim { attempt: self.attempt + 1, retry_of: Some(cause), ..self.clone() }
    }
}

/// The gRPC status in a head (of a trailers-only answer) or in trailers.
pub fn grpc_status(fields: &http::HeaderMap) -> Option<u8> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}
