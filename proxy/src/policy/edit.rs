//! Changes a request on its way and its response on the way back, as its route and its backend say (Gateway API
//! `RequestHeaderModifier`, `ResponseHeaderModifier` and `URLRewrite`). Outside retries, so that every attempt is the
//! same.
//!
//! Only what an endpoint answered is changed: an answer of the proxy itself is made behind the last door, by
//! [`super::respond`], and says what happened, whatever the route. Raises
//! [`Reason::HttpRequestDenied`] for a path whose dots climb out of what the route matched, or that is too long once it is
//! rewritten.

use std::future::ready;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use super::{Next, PolicyFuture};
use crate::error::{Error, Reason};
use crate::exchange::{Response, Targeted};

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
    type Future = PolicyFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Self::Future {
        let Some(edits) = targeted.edits.take() else { return Either::Left(self.inner.call(targeted)) };
        if let Err(refusal) = edits.request(&mut targeted.http, &mut targeted.aim.authority) {
            let error = Error::new(Reason::HttpRequestDenied).because(refusal.detail());
            return Either::Right(Box::pin(ready(Err(error))));
        }
        let answer = self.inner.call(targeted);
        if edits.leaves_responses() {
            return Either::Left(answer);
        }
        Either::Right(Box::pin(async move {
            let mut response = answer.await?;
            edits.response(response.headers_mut());
            Ok(response)
        }))
    }
}
