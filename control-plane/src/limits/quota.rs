//! The gRPC skin of the divided limits: `envoy.service.rate_limit_quota.v3.RateLimitQuotaService`, one stream for each proxy.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use outrigger_config::policy::lease::{HOLD, Share};
use outrigger_config::xds::rlqs::{
    Action, Assignment, BucketId, MAX_MESSAGE, MAX_USAGES, Number, PATH, Reports, Response as Quotas, SERVICE,
    Strategy, TokenBucket, Usage, Word,
};
use outrigger_config::xds::rls::DOMAIN;
use outrigger_config::xds::transport;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::grants::{Hold, Report};
use super::leases::{Crowded, Leases, Said, Seat, Told};

/// How long a stream may say nothing: a proxy reports every two seconds at least, whatever comes to it.
const SILENCE: Duration = Duration::from_secs(15);
/// Bytes of a proxy's name.
const MAX_NAME: usize = 512;
/// How often an assigned token bucket is filled at most; faster than that it gets several tokens at once.
const FILL: f64 = 0.05;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answers = ReceiverStream<Result<Quotas, Status>>;

/// The service. Cloning it shares the limits.
#[derive(Clone, Debug)]
pub struct QuotaService {
    leases: Leases,
    stop: CancellationToken,
}

impl QuotaService {
    /// Divides these limits, until `stop`.
    pub fn new(leases: Leases, stop: CancellationToken) -> Self {
        QuotaService { leases, stop }
    }
}

impl NamedService for QuotaService {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for QuotaService {
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
        let method = Method(self.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

struct Method(QuotaService);

impl StreamingService<Reports> for Method {
    type Response = Quotas;
    type ResponseStream = Answers;
    type Future = BoxFuture<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Reports>>) -> Self::Future {
        let (answers, receiver) = mpsc::channel(1);
        let service = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = serve(&service, request.into_inner(), &answers).await {
                // Nobody may be there to hear it.
                let _ = answers.try_send(Err(status));
            }
        });
        Box::pin(std::future::ready(Ok(Response::new(ReceiverStream::new(receiver)))))
    }
}

/// One stream, until either side ends it.
async fn serve(
    service: &QuotaService,
    mut reports: Streaming<Reports>,
    answers: &mpsc::Sender<Result<Quotas, Status>>,
) -> Result<(), Status> {
    let first = tokio::select! {
        first = tokio::time::timeout(SILENCE, reports.message()) => first.map_err(|_| silent())??,
        () = service.stop.cancelled() => return Err(stopping()),
    };
    let Some(first) = first else { return Ok(()) };
    if first.domain != DOMAIN {
        return Err(Status::invalid_argument(format!("the domain must be {DOMAIN}")));
    }
    if first.member.len() > MAX_NAME {
        return Err(Status::invalid_argument(format!("the name of a member has at most {MAX_NAME} bytes")));
    }
    // An Envoy does not say who it is: each of its streams is somebody.
    let anybody = || format!("stream/{:032x}", fastrand::u128(..));
    let member = if first.member.is_empty() { anybody() } else { first.member.clone() };
    let (seat, mut words) = service.leases.open(&member, Instant::now()).map_err(crowded)?;
    hear(&seat, &first)?;
    // What is said to it keeps nobody here who says nothing.
    let mut deadline = std::pin::pin!(tokio::time::sleep(SILENCE));
    loop {
        tokio::select! {
            report = reports.message() => {
                // The proxy may go on with what it has, and only have given the stream up.
                let Some(report) = report? else { return Ok(()) };
                hear(&seat, &report)?;
                deadline.as_mut().reset(tokio::time::Instant::now() + SILENCE);
            }
            told = words.recv() => {
                let Some(told) = told else { return Err(Status::aborted("another stream of the same member, or none that reads")) };
                let grantor = service.leases.nonce().unwrap_or(0);
                let mut actions = vec![action(&told, grantor)];
                // No more than the proxy can answer with one report.
                while actions.len() < MAX_USAGES && let Ok(told) = words.try_recv() {
                    actions.push(action(&told, grantor));
                }
                let sent = answers.send(Ok(Quotas { actions }));
                if tokio::time::timeout(SILENCE, sent).await.map_err(|_| silent())?.is_err() {
                    return Ok(());
                }
            }
            () = deadline.as_mut() => return Err(silent()),
            () = service.stop.cancelled() => return Err(stopping()),
        }
    }
}

fn silent() -> Status {
    Status::deadline_exceeded("silent for too long")
}

fn stopping() -> Status {
    Status::unavailable("the control plane is stopping")
}

fn crowded(crowded: Crowded) -> Status {
    Status::resource_exhausted(crowded.to_string())
}

fn hear(seat: &Seat, reports: &Reports) -> Result<(), Status> {
    if reports.usages.len() > MAX_USAGES {
        return Err(Status::invalid_argument(format!("more than {MAX_USAGES} usages")));
    }
    let now = Instant::now();
    reports.usages.iter().filter_map(said).try_for_each(|said| seat.hear(&said, now)).map_err(crowded)
}

fn said(usage: &Usage) -> Option<Said> {
    let (policy, rule) = usage.bucket_id.as_ref()?.rule()?;
    let elapsed = usage.time_elapsed.map_or(0.0, |time| time.seconds as f64 + f64::from(time.nanos) / 1e9);
    let wanted = usage.allowed.saturating_add(usage.denied) as f64;
    // Of no time nothing can be said.
    let demand = (elapsed > 0.0).then(|| wanted / elapsed.max(1e-3));
    let serial = usage.held.map_or(0, |held| held.serial);
    Some(Said {
        rule: (policy.into(), rule.into()),
        report: Report { demand, refused: usage.denied as f64, serial },
        holds: usage.held.map(|held| Hold { rate: held.rate, fallback: held.fallback }),
        grantor: usage.held.map_or(0, |held| held.grantor),
        ends: usage.ends,
    })
}

fn action(told: &Told, grantor: u64) -> Action {
    let Share { rate, fallback, burst, credit } = told.share;
    let (policy, rule) = &told.rule;
    Action {
        bucket_id: Some(BucketId::of(policy, rule)),
        assignment: Some(Assignment {
            time_to_live: Some(duration(HOLD)),
            strategy: Some(Strategy { token_bucket: Some(bucket(rate, burst)) }),
            word: Some(Word { serial: told.serial, rate, fallback, burst, credit, grantor }),
        }),
    }
}

/// As near as whole tokens come, and never more.
fn bucket(rate: f64, burst: f64) -> TokenBucket {
    let tokens = (rate * FILL).floor().clamp(1.0, 1e9);
    // A share of nothing is a token in a day.
    let interval = if rate > 0.0 { (tokens / rate).min(86_400.0) } else { 86_400.0 };
    TokenBucket {
        max_tokens: burst.clamp(1.0, 4e9) as u32,
        tokens_per_fill: Some(Number { value: tokens as u32 }),
        fill_interval: Some(duration(Duration::from_secs_f64(interval.max(FILL)))),
    }
}

fn duration(time: Duration) -> transport::Duration {
    transport::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use outrigger_config::xds::rlqs::{BucketId, Usage};
    use outrigger_config::xds::transport::Duration;

    use super::{bucket, said};

    #[test]
    fn a_standard_bucket_never_gives_more_than_the_share() {
        for rate in [0.0, 0.01, 1.0, 19.0, 21.0, 1234.5, 1e7] {
            let bucket = bucket(rate, 5.0);
            let (tokens, interval) = (bucket.tokens_per_fill.expect("some"), bucket.fill_interval.expect("some"));
            let given = f64::from(tokens.value) / (interval.seconds as f64 + f64::from(interval.nanos) / 1e9);
            assert!(
                given <= rate.max(1.0 / 86_400.0) * 1.0001 && (rate < 20.0 || given > rate * 0.9),
                "{rate} {given}"
            );
        }
    }

    #[test]
    fn odd_reports_are_read_as_nothing() {
        let usage = |seconds, nanos| Usage {
            bucket_id: Some(BucketId::of("shop/a", "all")),
            time_elapsed: Some(Duration { seconds, nanos }),
            allowed: u64::MAX,
            denied: u64::MAX,
            held: None,
            ends: false,
        };
        for (seconds, nanos) in [(0, 0), (-5, 0), (i64::MIN, i32::MIN)] {
            assert_eq!(said(&usage(seconds, nanos)).expect("said").report.demand, None);
        }
        assert!(said(&usage(1, 0)).expect("said").report.demand > Some(0.0));
        assert_eq!(said(&Usage { bucket_id: None, ..usage(1, 0) }), None);
    }
}
