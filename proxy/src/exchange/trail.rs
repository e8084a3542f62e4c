//! What happened to a request, and what its caller wished for: read by every room, written only through notes.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{Method, Uri, Version};
use outrigger_config::listener::Direction;
use outrigger_config::policy::{Retry, Timeouts};
use parking_lot::Mutex;

use super::{Connection, Notes};
use crate::body::Body;
use crate::clock;
use crate::fields::Fields;
use crate::grpc;
use crate::route::Route;
use crate::telemetry::context::Context;
use crate::wishes::Wishes;

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
