//! Bounds one attempt until its response head (xDS `RetryPolicy.per_try_timeout`; Gateway API
//! `timeouts.backendRequest`). Raises [`Reason::TryTimeout`], which another attempt may cure. An attempt cut here is
//! dropped, which closes its connection or resets its stream.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::timeout;
use tower::{Layer, Service};

use super::{Next, Waiting};
use crate::error::{Error, Reason};
use crate::exchange::{Response, Targeted};

/// Puts [`TryTimeout`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct TryTimeoutLayer;

/// Bounds an attempt.
#[derive(Clone, Debug)]
pub struct TryTimeout<S> {
    inner: S,
}

impl<S> Layer<S> for TryTimeoutLayer {
    type Service = TryTimeout<S>;

    fn layer(&self, inner: S) -> TryTimeout<S> {
        TryTimeout { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for TryTimeout<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, targeted: Targeted) -> Waiting {
        let enforced = targeted.aim.retry().filter(|retry| retry.mode.enforces());
        let Some(limit) = enforced.and_then(|retry| retry.per_try_timeout).or(targeted.aim.timeouts().per_try) else {
            return self.inner.call(targeted);
        };
        let trail = Arc::clone(&targeted.aim.trail);
        let mut attempt = self.inner.call(targeted);
        Box::pin(async move {
            if let Ok(answer) = timeout(limit, &mut attempt).await {
                return answer;
            }
            // Noted before the attempt is dropped, which is when its account is settled.
            trail.note(|notes| notes.cut = Some(Reason::TryTimeout));
            Err(Error::new(Reason::TryTimeout)
                .because(format_args!("no answer within the attempt's {} ms", limit.as_millis())))
        })
    }
}
