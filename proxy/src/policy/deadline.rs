//! Tells a gRPC endpoint how much time is left for its answer (`grpc-timeout` of gRPC over HTTP/2), for each attempt
//! anew: whoever the call is passed on to gives up when its caller does, however long the attempts before took. Raises
//! nothing.

use std::task::{Context, Poll};

use http::HeaderValue;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Next, Waiting};
use crate::error::Error;
use crate::exchange::{Response, Targeted};
use crate::grpc;

/// Puts [`Deadline`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer;

/// Passes the time that is left on.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for Deadline<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut targeted: Targeted) -> Waiting {
        if let Some(deadline) = targeted.aim.deadline.filter(|_| targeted.aim.trail.grpc) {
            let left = grpc::format_timeout(deadline.saturating_duration_since(Instant::now()));
            if let Ok(left) = HeaderValue::from_str(&left) {
                targeted.http.headers_mut().insert(grpc::TIMEOUT, left);
            }
        }
        self.inner.call(targeted)
    }
}
