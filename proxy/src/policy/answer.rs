//! Answers what a route answers by itself, without asking anybody: a redirect, or a response of its own (Gateway API
//! `RequestRedirect`; a RoutePolicy's `directResponse`). Behind the rate limit and the faults, which hold for such a
//! route as for any other. Raises [`Reason::HttpRequestDenied`] for a path whose dots climb out of what the route
//! matched.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Next, Waiting, at_once};
use crate::error::{Error, Reason};
use crate::exchange::{Response, Routed};
use crate::route::edit::Refusal;

/// Puts [`Answer`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLayer;

/// Answers, or lets pass.
#[derive(Clone, Debug)]
pub struct Answer<S> {
    inner: S,
}

impl<S> Layer<S> for AnswerLayer {
    type Service = Answer<S>;

    fn layer(&self, inner: S) -> Answer<S> {
        Answer { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for Answer<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Waiting {
        match answer(&routed) {
            None => self.inner.call(routed),
            Some(answer) => at_once(answer),
        }
    }
}

fn answer(routed: &Routed) -> Option<Result<Response, Error>> {
    let answer = routed.route.answer.as_ref()?;
    routed.trail.note(|notes| notes.edge = Some(Arc::clone(&answer.edge)));
    let matched = &routed.route.config.matches.path;
    let given = answer.to(&routed.http, &routed.authority, matched, routed.trail.grpc);
    Some(given.map_err(|refusal| {
        Error::new(Reason::HttpRequestDenied).because(match refusal {
            Refusal::Climbs => "the path's dots leave what the route takes",
            Refusal::NoTarget => "the target cannot be said in a Location",
        })
    }))
}
