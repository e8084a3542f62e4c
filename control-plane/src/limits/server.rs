//! The gRPC skin of the counts: `envoy.service.ratelimit.v3.RateLimitService`, for our proxies and for stock Envoys.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_config::policy::RateLimitRule;
use outrigger_config::xds::rls::{
    Code, CurrentLimit, DescriptorStatus, MAX_MESSAGE, PATH, RateLimitRequest, RateLimitResponse, SERVICE, Unit,
};
use outrigger_config::xds::transport;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::count::{Count, Counters};

/// Descriptors that one question may have; documents never make so many.
const MAX_DESCRIPTORS: usize = 64;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service. Cloning it shares the counts.
#[derive(Clone, Debug)]
pub struct RateLimitService(Counters);

impl RateLimitService {
    /// Answers by these counts.
    pub fn new(counters: Counters) -> Self {
        RateLimitService(counters)
    }
}

impl NamedService for RateLimitService {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for RateLimitService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return Box::pin(std::future::ready(Ok(Status::unimplemented("no such method").into_http())));
        }
        let method = ShouldRateLimit(self.0.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE);
            Ok(grpc.unary(method, request).await)
        })
    }
}

/// The method.
struct ShouldRateLimit(Counters);

impl UnaryService<RateLimitRequest> for ShouldRateLimit {
    type Response = RateLimitResponse;
    type Future = BoxFuture<Result<Response<RateLimitResponse>, Status>>;

    fn call(&mut self, request: Request<RateLimitRequest>) -> Self::Future {
        let counters = self.0.clone();
        Box::pin(async move { answer(&counters, &request.into_inner()).await.map(Response::new) })
    }
}

async fn answer(counters: &Counters, request: &RateLimitRequest) -> Result<RateLimitResponse, Status> {
    if request.descriptors.len() > MAX_DESCRIPTORS {
        return Err(Status::invalid_argument(format!("more than {MAX_DESCRIPTORS} descriptors")));
    }
    let counts = counters.count(&request.domain, &request.descriptors, request.hits_addend.max(1)).await;
    // Whoever asks does what its policy declares, and knows why.
    let counts = counts.map_err(|failure| Status::unavailable(failure.to_string()))?;
    let over = counts.iter().any(|count| matches!(count, Count::Over(..)));
    let overall = if over { Code::OverLimit } else { Code::Ok };
    Ok(RateLimitResponse { overall_code: overall.into(), statuses: counts.iter().map(status).collect() })
}

fn status(count: &Count) -> DescriptorStatus {
    let (code, limit, left, next) = match count {
        Count::Unlimited => return DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() },
        Count::Taken(rule, level) => (Code::Ok, rule, level.left, level.next),
        Count::Over(rule, wait) => (Code::OverLimit, rule, 0, *wait),
    };
    DescriptorStatus {
        code: code.into(),
        current_limit: current(limit),
        limit_remaining: left,
        duration_until_reset: Some(transport::Duration {
            seconds: i64::try_from(next.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(next.subsec_nanos()).unwrap_or(0),
        }),
    }
}

/// A limit whose interval is a unit that the protocol has a word for.
fn current(rule: &RateLimitRule) -> Option<CurrentLimit> {
    let units = [(1, Unit::Second), (60, Unit::Minute), (3600, Unit::Hour), (86_400, Unit::Day)];
    let (_, unit) = units.into_iter().find(|(seconds, _)| Duration::from_secs(*seconds) == rule.interval)?;
    Some(CurrentLimit { requests_per_unit: rule.requests, unit: unit.into(), name: rule.name.to_string() })
}
