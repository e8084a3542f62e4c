//! Lets in as many requests at once as the listener's service bears ([`crate::gradient`]; xDS `adaptive_concurrency`).
//! Raises [`Reason::AdaptiveConcurrency`]; in Observe, alone or beside one that acts, it only notes what it would have
//! done. What asks for the service's
//! health is neither refused nor counted. Within the cache and faults, so that only the service's own time counts.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FutureExt;
use http::{HeaderMap, StatusCode};
use tower::{Layer, Service};

use super::shed::asks_for_health;
use super::{Next, Waiting, refuse};
use crate::clock;
use crate::error::{Error, Reason};
use crate::exchange::{Response, Routed, grpc_status};
use crate::gradient::{Entered, Gradient, Place};
use crate::grpc::to_http;
use crate::telemetry::Would;

/// Puts [`Adaptive`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveLayer;

/// Takes a place or refuses.
#[derive(Clone, Debug)]
pub struct Adaptive<S> {
    inner: S,
}

impl<S> Layer<S> for AdaptiveLayer {
    type Service = Adaptive<S>;

    fn layer(&self, inner: S) -> Adaptive<S> {
        Adaptive { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for Adaptive<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut routed: Routed) -> Waiting {
        let Some(gradients) = routed.gradients.take() else { return self.inner.call(routed) };
        if asks_for_health(routed.http.method(), routed.http.uri().path()) {
            return self.inner.call(routed);
        }
        let (now, mut rng) = (clock::now(), fastrand::Rng::new());
        // First: what is rehearsed sees what the one that acts refuses, too.
        let beside = gradients.beside.as_ref().map(|one| one.enter(now, &mut rng));
        let own = gradients.own.enter(now, &mut rng);
        if [Some(&own), beside.as_ref()].into_iter().flatten().any(|one| matches!(one, Entered::Beside(_))) {
            routed.trail.note(|notes| notes.would |= Would::ADAPTIVE_CONCURRENCY);
        }
        let Some(own) = place(own) else { return refuse(refusal(&routed, &gradients.own)) };
        let (places, grpc) = ((own, beside.and_then(place)), routed.trail.grpc);
        let inner = self.inner.call(routed);
        Box::pin(inner.map(move |answer| answer.map(|response| held(response, grpc, places))))
    }
}

fn place(entered: Entered) -> Option<Place> {
    match entered {
        Entered::Admitted(place) | Entered::Beside(place) => Some(place),
        Entered::Full => None,
    }
}

/// The places are taken until the answer is over; its head says how long the service takes, unless it failed.
fn held(mut response: Response, grpc: bool, places: (Place, Option<Place>)) -> Response {
    let code = if grpc { grpc_status(response.headers()) } else { None };
    if !response.status().is_server_error() && code.is_none_or(|code| to_http(code) < 500) {
        let now = clock::now();
        let places = std::iter::once(&places.0).chain(&places.1);
        places.for_each(|place| place.answered(now, &mut fastrand::Rng::new()));
    }
    response.body_mut().hold(places);
    response
}

fn refusal(routed: &Routed, gradient: &Arc<Gradient>) -> Error {
    // Refused before a destination was chosen: it counts for the route's first.
    routed.count_for_first();
    let status = StatusCode::from_u16(gradient.model().status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let limit = gradient.limit();
    let detail = format!("the service has as many requests under way as it bears now, {limit}");
    Error::new(Reason::AdaptiveConcurrency).because(detail).refusing(status, None, HeaderMap::new())
}
