//! The layers that a request passes, one a file, in the order that `stack` gives them.
//!
//! Each is a tower [`Service`] around the next room. House law: readiness is always `Ready`; capacity is a permit
//! taken inside `call` and refused as an [`Error`]. A layer whose policy the request's route does not carry hands the
//! next room's future on as it is, so that an absent policy costs nothing; one that must wait boxes its own future.
//! No layer holds state: what it needs rides on the request.

use std::future::Future;
use std::pin::Pin;

use futures_util::future::Either;
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
    Service<R, Response = Response, Error = Error, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<R, S> Next<R> for S where
    S: Service<R, Response = Response, Error = Error, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

/// A layer's own waiting.
pub type Waiting = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// The next room's future as it is, or the layer's own.
pub type PolicyFuture<F> = Either<F, Waiting>;

/// The next room's future as it is, or the layer's answer at once.
pub type CheckFuture<F> = Either<F, std::future::Ready<Result<Response, Error>>>;

/// A refusal at once.
pub(crate) fn refuse<F>(error: impl Into<Error>) -> CheckFuture<F> {
    Either::Right(std::future::ready(Err(error.into())))
}
