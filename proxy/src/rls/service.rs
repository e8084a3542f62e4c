//! The rate limit service, asked (`envoy.service.ratelimit.v3`): one HTTP/2 connection for the whole process, which the
//! side thread drives; a worker hands over the question and waits for the answer, never longer than it was told.
//!
//! Whatever goes wrong is a [`Failure`], counted: the service away, slow, or saying what it must not say. A service that
//! fails is not asked by everybody ([`Circuit`]): each policy learns that for itself, since each has its own idea of slow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use outrigger_config::policy::asked::LimitFilter;
use outrigger_config::xds::rls::{Code, Descriptor, MAX_MESSAGE, PATH, RateLimitRequest, RateLimitResponse};
use parking_lot::Mutex;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::circuit::Circuit;
use crate::clock;
use crate::cluster::{Cluster, Seat};

/// Questions under way at once; more fail at once.
const MAX_UNDER_WAY: usize = 4096;
/// Endpoints of clusters with a connection.
const MAX_CHANNELS: usize = 64;
const CONNECT: Duration = Duration::from_secs(1);
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// The service of this process.
#[derive(Debug)]
pub struct LimitService {
    channel: Option<Channel>,
    /// To endpoints of clusters; a connection lives where it was first asked for.
    channels: Mutex<HashMap<SocketAddr, Channel>>,
    born: Instant,
    under_way: AtomicUsize,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// The control plane.
    ControlPlane,
    /// An endpoint of a cluster, if that is known.
    Cluster(Option<&'a Cluster>),
}

/// A filter that asks a rate limit service.
#[derive(Debug)]
pub struct Asking {
    /// How it asks.
    pub filter: LimitFilter,
    /// The service, if it is known.
    pub cluster: Option<Arc<Cluster>>,
    /// Whether there is anybody to ask.
    pub circuit: Arc<Circuit>,
}

/// How a question ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request may go on.
    Within,
    /// It is over a limit.
    Over,
    /// There was no answer in time.
    Timeout,
    /// There was an error, or nonsense, or nobody to ask.
    Error,
    /// The service was not asked, since it is held to be away.
    Away,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A proxy without a control plane has none, nor has a cluster without endpoints.
    #[error("there is no rate limit service to ask: no control plane, or no endpoint of the service's cluster")]
    Absent,
    /// It failed too often lately.
    #[error("the rate limit service is away; it is asked again within a second")]
    Away,
    /// Too many wait for it.
    #[error("too many requests wait for the rate limit service")]
    Crowded,
    /// It took too long.
    #[error("the rate limit service did not answer within {0:?}")]
    Slow(Duration),
    /// It answered with an error, or could not be reached.
    #[error("the rate limit service failed: {0}")]
    Refused(String),
    /// Its answer is none to this question.
    #[error("the rate limit service answered what it was not asked")]
    Garbage,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 5] = [Outcome::Within, Outcome::Over, Outcome::Timeout, Outcome::Error, Outcome::Away];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Within => "within",
            Outcome::Over => "over",
            Outcome::Timeout => "timeout",
            Outcome::Error => "error",
            Outcome::Away => "away",
        }
    }
}

impl Default for LimitService {
    /// None.
    fn default() -> Self {
        LimitService::over(None)
    }
}

impl LimitService {
    /// The service at `address`. Needs the runtime that will drive the connection; connects when it is first asked.
    pub fn at(address: SocketAddr) -> Result<Self, tonic::transport::Error> {
        Ok(LimitService::over(Some(channel(address)?)))
    }

    fn over(channel: Option<Channel>) -> Self {
        let under_way = AtomicUsize::new(0);
        LimitService {
            channel,
            channels: Mutex::default(),
            born: clock::now(),
            under_way,
            outcomes: Default::default(),
        }
    }

    /// Asks about a request, within `timeout`, unless `circuit` holds the service to be away. An answer has a status for each
    /// descriptor.
    pub async fn ask(
        &self,
        circuit: &Circuit,
        who: Who<'_>,
        domain: &str,
        descriptors: Vec<Descriptor>,
        timeout: Duration,
    ) -> Result<RateLimitResponse, Failure> {
        let answer = self.try_ask(circuit, who, domain, descriptors, timeout).await;
        let outcome = match &answer {
            Ok(answer) if answer.overall_code == i32::from(Code::OverLimit) => Outcome::Over,
            Ok(_) => Outcome::Within,
            Err(Failure::Slow(_)) => Outcome::Timeout,
            Err(Failure::Away) => Outcome::Away,
            Err(_) => Outcome::Error,
        };
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
        answer
    }

    /// How questions ended.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.outcomes[outcome as usize].load(Relaxed)))
    }

    async fn try_ask(
        &self,
        circuit: &Circuit,
        who: Who<'_>,
        domain: &str,
        descriptors: Vec<Descriptor>,
        timeout: Duration,
    ) -> Result<RateLimitResponse, Failure> {
        let (channel, _seat) = self.channel_to(who)?;
        if !circuit.may_ask(self.now()) {
            return Err(Failure::Away);
        }
        let _place = Place::take(&self.under_way).ok_or(Failure::Crowded)?;
        let asked = descriptors.len();
        let request = RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 1 };
        let answer = match tokio::time::timeout(timeout, call(channel, request)).await {
            Err(_) => Err(Failure::Slow(timeout)),
            Ok(Err(status)) => Err(Failure::Refused(said(&status))),
            Ok(Ok(answer)) if is_sound(&answer, asked) => Ok(answer),
            Ok(Ok(_)) => Err(Failure::Garbage),
        };
        match &answer {
            Ok(_) if circuit.succeeded() => tracing::info!(domain, "The rate limit service answers again"),
            Err(why) if circuit.failed(self.now()) => {
                tracing::warn!(domain, %why, "The rate limit service is away, and is asked once a second from now on");
            }
            Ok(_) | Err(_) => {}
        }
        answer
    }

    fn channel_to(&self, who: Who<'_>) -> Result<(Channel, Option<Seat>), Failure> {
        let cluster = match who {
            Who::ControlPlane => return Ok((self.channel.clone().ok_or(Failure::Absent)?, None)),
            Who::Cluster(cluster) => cluster.ok_or(Failure::Absent)?,
        };
        let seat = cluster.pick(None, &[], clock::now(), &mut fastrand::Rng::new()).ok_or(Failure::Absent)?;
        let address = seat.endpoint().address;
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(&address) {
            return Ok((channel.clone(), Some(seat)));
        }
        // What endpoints there were is forgotten at times; those that are asked on connect again.
        if channels.len() >= MAX_CHANNELS {
            channels.clear();
        }
        let channel = channel(address).map_err(|error| Failure::Refused(error.to_string()))?;
        channels.insert(address, channel.clone());
        Ok((channel, Some(seat)))
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::now().saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A connection to a service, made when it is first used, on the runtime that this is called on.
pub fn channel(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .connect_lazy())
}

async fn call(channel: Channel, request: RateLimitRequest) -> Result<RateLimitResponse, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(PATH);
    Ok(grpc.unary(Request::new(request), path, ProstCodec::default()).await?.into_inner())
}

/// Whether an answer says something, of each descriptor or of all together: there are services whose statuses are none,
/// which Envoy takes as well.
fn is_sound(answer: &RateLimitResponse, asked: usize) -> bool {
    let known = matches!(Code::try_from(answer.overall_code), Ok(Code::Ok | Code::OverLimit));
    known && (answer.statuses.len() == asked || answer.statuses.is_empty())
}

/// In a few words: it goes into `Proxy-Status`.
fn said(status: &Status) -> String {
    status.message().chars().take(200).collect()
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize) -> Option<Self> {
        let more = |count| (count < MAX_UNDER_WAY).then_some(count + 1);
        count.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Place(count))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::xds::rls::{Code, DescriptorStatus, RateLimitResponse};

    use super::{Failure, LimitService, Outcome, is_sound};
    use crate::circuit::Circuit;
    use crate::rls::Who;

    #[tokio::test]
    async fn without_a_service_every_question_fails_and_is_counted() {
        let (service, who) = (LimitService::default(), Who::ControlPlane);
        assert_eq!(
            service.ask(&Circuit::default(), who, "a", Vec::new(), Duration::from_secs(1)).await,
            Err(Failure::Absent)
        );
        let errors = service.outcomes().find(|(outcome, _)| *outcome == Outcome::Error);
        assert_eq!(errors, Some((Outcome::Error, 1)));
    }

    #[test]
    fn an_answer_says_something_of_each_descriptor_or_of_none() {
        let answer = |code: i32, count| RateLimitResponse {
            overall_code: code,
            statuses: vec![DescriptorStatus::default(); count],
        };
        assert!(is_sound(&answer(Code::Ok.into(), 2), 2) && is_sound(&answer(Code::OverLimit.into(), 1), 1));
        assert!(is_sound(&answer(Code::OverLimit.into(), 0), 2), "as Limitador has it");
        for (code, count) in [(Code::Unknown.into(), 2), (77, 2), (Code::Ok.into(), 1), (Code::Ok.into(), 3)] {
            assert!(!is_sound(&answer(code, count), 2));
        }
    }
}
