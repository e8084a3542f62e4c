//! The layers that a request passes, one a file, in the order that `stack` gives them.
//!
//! Each is a tower [`Service`] around the next room. House law: readiness is always `Ready`; capacity is a permit
//! taken inside `call` and refused as an [`Error`]. A layer whose policy the request's route does not carry hands the
//! next room's future on as it is, so that an absent policy costs nothing; one that must wait boxes its own future.
//! No layer holds state: what it needs rides on the request.

use std::future::Future;
use std::pin::Pin;

use tower::Service;

use crate::error::Error;
use crate::exchange::Response;

pub mod adaptive;
pub mod admission;
pub mod admission_control;
pub mod answer;
pub mod breaker;
pub mod carry;
pub mod cache;
pub mod deadline;
pub mod edit;
pub mod fault;
mod foreign_limit;
pub mod global_limit;
pub mod mirror;
pub mod rate_limit;
pub mod record;
pub mod respond;
pub mod retry;
pub mod route_match;
pub mod shed;
pub mod split;
pub mod timeout;
pub mod try_timeout;
pub mod upstream;
pub mod wishes;

/// What a layer asks of the room behind it.
pub trait Next<R>:
    Service<R, Response = Response, Error = Error, Future = Waiting> + Clone + Send + Sync + 'static
{
}

impl<R, S> Next<R> for S where
    S: Service<R, Response = Response, Error = Error, Future = Waiting> + Clone + Send + Sync + 'static
{
}

/// What every room answers with: the last one's future, or the nearest one's that has something to do with the answer.
/// One type for all, since a future that held the next room's would be moved, and be a turn longer, at every door.
pub type Waiting = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// An answer at once.
pub(crate) fn at_once(answer: Result<Response, Error>) -> Waiting {
    Box::pin(std::future::ready(answer))
}

/// A refusal at once.
pub(crate) fn refuse(error: impl Into<Error>) -> Waiting {
    at_once(Err(error.into()))
}
