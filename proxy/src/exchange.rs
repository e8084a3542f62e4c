//! What passes from room to room. Each room consumes the type that the one before it made, so that a layer cannot
//! stand in the wrong place: [`Request`] -> (route match) -> [`Routed`] -> (split) -> [`Targeted`] -> [`Response`].
//!
//! Beside the message rides its [`Trail`]: what was decided about it and why, noted by each room and read once, when
//! the response is over, for the span, the metrics and the access log.

mod notes;
mod trail;

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use outrigger_config::listener::{Direction, Identity};
use outrigger_config::name::ListenerName;
use outrigger_config::policy::{Priority, Retry, Timeouts};

use crate::body::{Body, End, Ending, Memory};
use crate::cache::Caching;
use crate::carried::Carried;
use crate::cluster::{Ask, Cluster, Limits, Permit};
use crate::decision::Roll;
use crate::drain::Drain;
use crate::gradient::Gradients;
use crate::io::{Hidden, Side};
use crate::overload::{Overload, Place};
use crate::reason::Reason;
use crate::rls::{Asking, LimitService};
use crate::route::{Edits, Route, Target};
use crate::snapshot::Snapshots;
use crate::telemetry::{Sampler, Telemetry};

pub use notes::Notes;
pub use trail::Trail;

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
    /// Its place among all connections, for as long as anything of it is under way: a tunnel too.
    pub place: Option<Place>,
}

impl Connection {
    /// Whether the caller is the workload beside the proxy: by an outbound listener, from this machine. An IPv4 address
    /// that came in by an IPv6 socket is what it is.
    pub fn is_beside(&self) -> bool {
        self.entrance.direction == Direction::Outbound && self.peer.ip().to_canonical().is_loopback()
    }

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
            place: None,
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
    pub gradients: Option<Arc<Gradients>>,
    /// Who is asked whether it is within its limits, where another control plane says so.
    pub asking: Option<Arc<[Asking]>>,
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
    /// Which of its endpoints.
    pub ask: Ask,
    /// Which attempt this is, from 0.
    pub attempt: u32,
    /// Why there was an attempt before this one and no answer of it.
    pub retry_of: Option<Cause>,
    /// Whether whoever tries again has a copy of the request, whatever becomes of this one.
    pub kept: bool,
    /// By when the request must be over.
    pub deadline: Option<tokio::time::Instant>,
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
        let ask = target.ask;
        let aim =
            Aim { trail, authority, route, cluster, ask, attempt: 0, retry_of: None, kept: false, deadline: None };
        Targeted { http, aim, permit: None, edits: target.edits.clone() }
    }
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
