//! Changes a request on its way and its response on the way back, as its route and its backend say (Gateway API
//! `RequestHeaderModifier`, `ResponseHeaderModifier` and `URLRewrite`; xDS `include_attempt_count_in_response`). Outside
//! retries, so that every attempt is the same.
//!
//! Only what an endpoint answered is changed: an answer of the proxy itself is made behind the last door, by
//! [`super::respond`], and says what happened, whatever the route. Raises
//! [`Reason::HttpRequestDenied`] for a path whose dots climb out of what the route matched, or that is too long once it is
//! rewritten.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderValue;
use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::error::{Error, Reason};
use crate::exchange::{Response, Targeted, Trail};
use crate::message::ATTEMPT_COUNT;

/// Puts [`Edit`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct EditLayer;

/// Changes messages.
#[derive(Clone, Debug)]
pub struct Edit<S> {
    inner: S,
}

impl<S> Layer<S> for EditLayer {
    type Service = Edit<S>;

    fn layer(&self, inner: S) -> Edit<S> {
        Edit { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Edit<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Waiting {
        let counted = targeted.aim.route.counts.to_caller.then(|| Arc::clone(&targeted.aim.trail));
        let Some(edits) = targeted.edits.take() else {
            let answer = self.inner.call(targeted);
            let Some(trail) = counted else { return answer };
            return Box::pin(async move { Ok(count(answer.await?, &trail)) });
        };
        if let Err(refusal) = edits.request(&mut targeted.http, &mut targeted.aim.authority) {
            return refuse(Error::new(Reason::HttpRequestDenied).because(refusal.detail()));
        }
        let answer = self.inner.call(targeted);
        if edits.leaves_responses() && counted.is_none() {
            return answer;
        }
        Box::pin(async move {
            let mut response = answer.await?;
            if let Some(trail) = counted {
                response = count(response, &trail);
            }
            edits.response(response.headers_mut());
            Ok(response)
        })
    }
}

/// Says in an answer how many attempts it took.
fn count(mut response: Response, trail: &Trail) -> Response {
    let attempts = trail.read(|notes| notes.attempts);
    response.headers_mut().insert(ATTEMPT_COUNT, HeaderValue::from(attempts));
    response
}
