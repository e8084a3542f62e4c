//! Sends a copy of a share of the requests somewhere else, and forgets it (Gateway API `RequestMirror`, xDS
//! `request_mirror_policies`).
//!
//! The caller never feels it: a copy is sent on its own, once the request's body has passed to where it was meant to
//! go, with a bound of its own on copies under way, and whatever becomes of it is only counted. A body is kept for it up
//! to [`MAX_BODY`]; a request with a longer one, or one that nobody reads to its end, is not copied, and neither is an
//! upgrade. Raises nothing.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use super::{Next, Waiting};
use crate::body::{Body, End, Ending, ReplaySource};
use crate::error::Error;
use crate::exchange::{Response, Routed, Targeted, Trail, grpc_status};
use crate::head;
use crate::route::mirror::{Mirror as Target, Place};

/// The longest body that is kept for a copy, bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Puts [`Mirror`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct MirrorLayer;

/// Sends copies.
#[derive(Clone, Debug)]
pub struct Mirror<S> {
    inner: S,
}

impl<S> Layer<S> for MirrorLayer {
    type Service = Mirror<S>;

    fn layer(&self, inner: S) -> Mirror<S> {
        Mirror { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Mirror<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Waiting {
        if !targeted.aim.route.mirrors.is_empty() {
            copy(&self.inner, &mut targeted);
        }
        self.inner.call(targeted)
    }
}

/// Lets copies begin now, or with the end of the request's body.
fn copy<S: Next<Targeted>>(inner: &S, targeted: &mut Targeted) {
    let http = &mut targeted.http;
    if http.headers().contains_key(header::UPGRADE) || http.body().size_hint().lower() > MAX_BODY as u64 {
        return;
    }
    let rng = &mut fastrand::Rng::new();
    let chosen = targeted.aim.route.mirrors.iter().filter(|mirror| mirror.is_chosen(rng));
    let mirrors: Vec<Arc<Target>> = chosen.map(Arc::clone).collect();
    if mirrors.is_empty() {
        return;
    }
    let mut head = head::copy(http);
    // The body is at hand when the copy goes out.
    head.headers_mut().remove(header::EXPECT);
    let (trail, authority) = (Arc::clone(&targeted.aim.trail), targeted.aim.authority.clone());
    let mut copies = Copies { inner: inner.clone(), head, trail, authority, mirrors, source: None };
    if http.body().is_empty() {
        copies.send(&Bytes::new());
        return;
    }
    let memory = Arc::clone(&copies.trail.connection.shared.replay);
    let source = ReplaySource::new(std::mem::take(http.body_mut()), MAX_BODY, memory);
    *http.body_mut() = source.attempt();
    copies.source = Some(source);
    http.body_mut().on_request_end(Box::new(copies));
}

/// The copies of one request.
struct Copies<S> {
    inner: S,
    head: http::Request<()>,
    trail: Arc<Trail>,
    authority: HeaderValue,
    mirrors: Vec<Arc<Target>>,
    source: Option<ReplaySource>,
}

impl<S: Next<Targeted>> Ending for Copies<S> {
    fn end(mut self: Box<Self>, how: End) {
        let Some(source) = self.source.take().filter(|source| how == End::Complete && source.is_replayable()) else {
            return;
        };
        // In a task, because whoever reads the body is not done with it before this returns.
        tokio::spawn(async move {
            if let Ok(body) = source.attempt().collect().await {
                self.send(&body.to_bytes());
            }
        });
    }
}

impl<S: Next<Targeted>> Copies<S> {
    /// Each in a task of its own, which ends with its answer or its timeout. A place is taken only now: a slow upload
    /// is no copy under way.
    fn send(&mut self, body: &Bytes) {
        for mirror in self.mirrors.drain(..) {
            let Some(place) = mirror.enter() else { continue };
            let http = self.head.clone().map(|()| Body::full(body.clone()));
            if let Some(targeted) = address(http, &self.trail, &self.authority, &mirror) {
                tokio::spawn(run(self.inner.clone(), targeted, mirror, place));
            }
        }
    }
}

/// A copy on its way, with a trail of its own: what becomes of it is nothing of the request's.
fn address(mut http: http::Request<Body>, trail: &Trail, authority: &HeaderValue, mirror: &Target) -> Option<Targeted> {
    let cluster = mirror.target()?.cluster.as_ref().map(Arc::clone)?;
    if trail.traced {
        trail.context.inject(http.headers_mut(), true);
    }
    // Nothing that the copy's endpoint says may reach the caller: not even an interim response.
    let trail = Arc::new(Trail::new(&http, Arc::new(trail.connection.aside())));
    let (authority, route) = (authority.clone(), Arc::clone(&mirror.route));
    let routed = Routed { http: Box::new(http), trail, authority, route, gradients: None, asking: None };
    Some(Targeted::new(routed, cluster, mirror.target()?, None))
}

async fn run<S: Next<Targeted>>(mut inner: S, targeted: Targeted, mirror: Arc<Target>, place: Place) {
    let trail = Arc::clone(&targeted.aim.trail);
    let (status, grpc, reason) = match inner.call(targeted).await {
        Ok(response) => {
            let (status, grpc) = (response.status().as_u16(), grpc_status(response.headers()));
            let mut body = response.into_body();
            // Read to its end, so that the connection can be used again; the route's timeout bounds it.
            while let Some(Ok(_)) = body.frame().await {}
            (status, grpc, None)
        }
        Err(error) => (error.reason.disposition().status, None, Some(error.reason)),
    };
    if let Some(target) = mirror.target() {
        let would = trail.read(|notes| notes.would);
        target.edge.record(status, grpc.filter(|_| trail.grpc), reason, would, trail.elapsed());
    }
    drop(place);
}
