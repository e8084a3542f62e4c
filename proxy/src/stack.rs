//! The order of the rooms, written once. Read it from the top: that is the way of a request.
//!
//! Services are static, policy is data: nothing here is rebuilt when the configuration changes, and no layer holds
//! state. A stack is erased into one type at its end, so that connections know nothing of what is inside.

use std::convert::Infallible;

use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use crate::exchange::{Request, Response};
use crate::policy::adaptive::AdaptiveLayer;
use crate::policy::admission::AdmissionLayer;
use crate::policy::admission_control::AdmissionControlLayer;
use crate::policy::answer::AnswerLayer;
use crate::policy::breaker::BreakerLayer;
use crate::policy::cache::CacheLayer;
use crate::policy::carry::CarryLayer;
use crate::policy::deadline::DeadlineLayer;
use crate::policy::edit::EditLayer;
use crate::policy::fault::FaultLayer;
use crate::policy::global_limit::GlobalLimitLayer;
use crate::policy::mirror::MirrorLayer;
use crate::policy::rate_limit::RateLimitLayer;
use crate::policy::record::RecordLayer;
use crate::policy::respond::RespondLayer;
use crate::policy::retry::RetryLayer;
use crate::policy::route_match::RouteMatchLayer;
use crate::policy::shed::ShedLayer;
use crate::policy::split::SplitLayer;
use crate::policy::timeout::TimeoutLayer;
use crate::policy::try_timeout::TryTimeoutLayer;
use crate::policy::upstream::{Network, Upstream, Wire};
use crate::policy::wishes::WishesLayer;

/// What a connection serves its requests with.
pub type HttpService = BoxCloneSyncService<Request, Response, Infallible>;

/// From the workload beside the proxy to the services it calls.
pub fn outbound() -> HttpService {
    outbound_to(Upstream(Network))
}

/// The same to endpoints that `upstream` reaches in a way of its own.
pub fn outbound_to<W: Wire>(upstream: Upstream<W>) -> HttpService {
    let stack = ServiceBuilder::new()
        .layer(RecordLayer) // what the caller sees, once it is over
        .layer(RespondLayer) // the one door from error to response
        .layer(AdmissionLayer) // what a request is
        .layer(CarryLayer) // who tries it again
        .layer(RouteMatchLayer) // Request -> Routed
        .layer(ShedLayer) // where the process runs short
        .layer(WishesLayer) // what the caller wishes for itself
        .layer(RateLimitLayer)
        .layer(GlobalLimitLayer)
        .layer(FaultLayer)
        .layer(AnswerLayer)
        .layer(CacheLayer)
        .layer(AdaptiveLayer)
        .layer(SplitLayer) // Routed -> Targeted
        .layer(AdmissionControlLayer) // what a failing destination is likely to answer
        .layer(EditLayer)
        .layer(MirrorLayer)
        .layer(TimeoutLayer)
        .layer(RetryLayer)
        .layer(TryTimeoutLayer) // from here on for each attempt
        .layer(FaultLayer)
        .layer(DeadlineLayer)
        .layer(BreakerLayer)
        .service(upstream);
    BoxCloneSyncService::new(stack)
}

/// From the mesh to the workload beside the proxy: the same rooms without the cache, admission control and retries,
/// which are the caller's: it alone is spared the way, and it alone can choose another endpoint.
pub fn inbound() -> HttpService {
    inbound_to(Upstream(Network))
}

/// The same to a workload that `upstream` reaches in a way of its own.
pub fn inbound_to<W: Wire>(upstream: Upstream<W>) -> HttpService {
    let stack = ServiceBuilder::new()
        .layer(RecordLayer)
        .layer(RespondLayer)
        .layer(AdmissionLayer)
        .layer(CarryLayer)
        .layer(RouteMatchLayer)
        .layer(ShedLayer)
        .layer(WishesLayer)
        .layer(RateLimitLayer)
        .layer(GlobalLimitLayer)
        .layer(FaultLayer)
        .layer(AnswerLayer)
        .layer(AdaptiveLayer) // as much as the service bears
        .layer(SplitLayer)
        .layer(EditLayer)
        .layer(MirrorLayer)
        .layer(TimeoutLayer)
        .layer(FaultLayer) // for the one attempt
        .layer(DeadlineLayer)
        .layer(BreakerLayer)
        .service(upstream);
    BoxCloneSyncService::new(stack)
}
