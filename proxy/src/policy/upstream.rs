//! The last room: chooses an endpoint, gets a connection to it within the destination's limits, sends the request in
//! the form the connection speaks, and streams the response back.
//!
//! Raises [`Reason::NoHealthyEndpoint`], the connection reasons, [`Reason::BreakerPending`] and
//! [`Reason::BreakerConnections`]. Whatever fails before a byte of the request left carries the request back. A pooled
//! connection that turns out to be gone is replaced silently, as often as there are pooled ones.

pub(crate) mod connect;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use outrigger_config::cluster::Protocol;
use outrigger_config::listener::Direction;
use outrigger_config::policy::Retry;
use tower::Service;

use super::Waiting;
use crate::affinity;
use crate::attempt::{Attempt, Lease};
use crate::body::Body;
use crate::clock;
use crate::cluster::Limit;
use crate::error::{Error, Reason};
use crate::exchange::{Aim, Response, Targeted, grpc_status};
use crate::explain;
use crate::fields::Fields;
use crate::interim;
use crate::message;
use crate::pool::{self, Interim, Sent};
use crate::session;
use crate::telemetry::Would;
use crate::tunnel;

/// Sends requests.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<W = Network>(pub W);

/// How a request gets to its endpoint and the answer back.
pub trait Wire: Clone + Send + Sync + 'static {
    /// Sends an attempt's request in this version; what comes before the answer goes to `interim`.
    fn exchange(
        &self,
        attempt: &Attempt,
        http: Box<http::Request<Body>>,
        version: Version,
        interim: Option<Interim>,
    ) -> impl Future<Output = Result<Answered, Error>> + Send;
}

/// Over connections.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Wire for Network {
    async fn exchange(
        &self,
        attempt: &Attempt,
        http: Box<http::Request<Body>>,
        version: Version,
        interim: Option<Interim>,
    ) -> Result<Answered, Error> {
        match version {
            Version::HTTP_2 => over_h2(attempt, http, interim).await,
            _ => over_h1(attempt, http, interim).await,
        }
    }
}

impl<W: Wire> Service<Targeted> for Upstream<W> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, targeted: Targeted) -> Waiting {
        Box::pin(run(self.0.clone(), targeted))
    }
}

/// A request on its way to an endpoint.
struct Begun {
    http: Box<http::Request<Body>>,
    attempt: Box<Attempt>,
    version: Version,
    /// The caller's side of an upgrade.
    caller: Option<OnUpgrade>,
}

/// All that needs no waiting, apart, so that what it works with is not kept while the request waits.
fn begin(targeted: Targeted) -> Result<Begun, Error> {
    let Targeted { mut http, aim, permit, .. } = targeted;
    let tried = if aim.attempt > 0 { tried(&aim) } else { Vec::new() };
    let hash = affinity::key(&aim.route.config.hash, http.headers(), aim.trail.connection.peer);
    // Not when the request began: a fault may have held it up, and nothing of that is its endpoint's.
    let now = clock::now();
    if aim.attempt > 0 || aim.trail.fields.any(Fields::EXPLAIN) {
        explain::note_candidates(&aim, now);
    }
    let (seat, greets) = match &aim.route.config.session {
        None => (aim.cluster.pick_for(aim.ask, hash, &tried, now, &mut fastrand::Rng::new()), false),
        Some(policy) => session::pick(&aim, policy, http.headers(), hash, &tried, now),
    };
    let Some(seat) = seat else {
        if aim.cluster.is_full(aim.ask, aim.priority()) {
            let detail = format!("every endpoint of {} has as many requests as its limit allows", aim.cluster.label);
            return Err(Error::new(Reason::BreakerRequests).because(detail));
        }
        let detail = match aim.cluster.tell(aim.ask) {
            None => format!("{} has no endpoint that takes requests", aim.cluster.label),
            Some(told) => told.refusal(&aim.cluster.label),
        };
        return Err(Error::new(Reason::NoHealthyEndpoint).because(detail));
    };
    if seat.is_beyond() {
        aim.limits().note_exceeded(Limit::Requests);
        aim.trail.note(|notes| notes.would |= Would::BREAKER);
    }
    let fields = aim.trail.fields;
    // Admission has removed the fields of what is no upgrade, or must be none.
    let upgrade = fields.any(Fields::UPGRADE) && http.headers().contains_key(header::UPGRADE);
    let version = speak(&aim, upgrade);
    let mut attempt = Attempt::begin(aim, seat, permit, now);
    attempt.greets = greets;
    if attempt.aim().trail.traced {
        attempt.context().inject(http.headers_mut(), fields.any(Fields::TRACE) || attempt.aim().attempt > 0);
    }
    if attempt.aim().route.counts.to_endpoint {
        http.headers_mut().insert(message::ATTEMPT_COUNT, HeaderValue::from(attempt.aim().attempt + 1));
    }
    if attempt.aim().cluster.config.names_caller {
        message::name_caller(&mut http, &attempt.aim().trail);
    }
    // A copy: an attempt that never reached its endpoint gives the request back, and the next one needs it too.
    let caller = upgrade.then(|| http.extensions().get::<OnUpgrade>().cloned()).flatten();
    message::address(&mut http, version, &attempt.aim().authority, fields);
    Ok(Begun { http, attempt, version, caller })
}

/// Where earlier attempts of the request went, the last of them last.
fn tried(aim: &Aim) -> Vec<SocketAddr> {
    aim.trail.read(|notes| notes.tried.iter().copied().chain(notes.endpoint).collect())
}

async fn run<W: Wire>(wire: W, targeted: Targeted) -> Result<Response, Error> {
    let Begun { mut http, mut attempt, version, caller } = begin(targeted)?;
    let waker = match attempt.aim().trail.version {
        Version::HTTP_2 => Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await),
        _ => None,
    };
    let expects = attempt.aim().trail.fields.any(Fields::EXPECT);
    let interim = interim::prepare(&mut http, &attempt.aim().trail, expects, waker);
    match wire.exchange(&attempt, http, version, interim).await {
        Ok((mut response, lease)) => {
            let status = response.status();
            let grpc_status = attempt.aim().trail.grpc.then(|| grpc_status(response.headers())).flatten();
            attempt.answered(status.as_u16(), grpc_status, lease);
            attempt.hear(response.headers());
            if let Some(policy) = attempt.aim().route.config.session.as_ref().filter(|_| attempt.greets) {
                session::greet(policy, attempt.endpoint().token, response.headers_mut());
            }
            if status == StatusCode::SWITCHING_PROTOCOLS {
                let Some(caller) = caller else {
                    attempt.failed(Reason::HttpProtocolError);
                    return Err(Error::new(Reason::HttpProtocolError).because("101 without a request for an upgrade"));
                };
                return Ok(tunnel::open(response, caller, attempt));
            }
            let (mut parts, mut body) = response.into_parts();
            message::clean_response(&mut parts, &attempt.aim().trail);
            // What has no content (RFC 9110, 6.4.1) gets none, whatever the endpoint sends.
            if attempt.aim().trail.method == Method::HEAD || matches!(status.as_u16(), 204 | 304) {
                body = Body::empty();
            }
            body.on_attempt_end(attempt);
            Ok(Response::from_parts(parts, body))
        }
        Err(error) => {
            attempt.failed(error.reason);
            Err(error)
        }
    }
}

/// Which version is spoken to the endpoint. An upgrade is a feature of HTTP/1.1.
fn speak(aim: &Aim, upgrade: bool) -> Version {
    match aim.cluster.config.protocol {
        Protocol::Http2 => Version::HTTP_2,
        Protocol::Downstream if aim.trail.version == Version::HTTP_2 && !upgrade => Version::HTTP_2,
        Protocol::Downstream | Protocol::Http1 => Version::HTTP_11,
    }
}

/// An answer, and what its attempt holds as long as it lasts.
pub type Answered = (Response, Lease);

async fn over_h1(
    attempt: &Attempt,
    mut http: Box<http::Request<Body>>,
    interim: Option<Interim>,
) -> Result<Answered, Error> {
    if let Some(interim) = interim {
        pool::listen(&mut http, interim);
    }
    let (aim, pool) = (attempt.aim(), attempt.pool());
    let mut repeated = false;
    loop {
        // What is repeated goes out on a fresh connection: another rested one may be closing as well.
        let pooled = if repeated { None } else { pool.take_h1(aim.trail.connection.worker) };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => match Box::pin(aim.cluster.traffic.waiting(connect::h1(attempt))).await {
                Ok(connection) => connection,
                Err(error) => return Err(error.with_unsent(http)),
            },
        };
        // Whoever tries again knows other endpoints and counts; where nobody does it is sent again here.
        let kept = aim.kept && message::is_repeatable(&http);
        let second = if repeated || aim.kept { None } else { message::copy(&http) };
        let reused = connection.is_reused();
        match connection.send(*http).await {
            Sent::Response(response) => return Ok((response, Lease::H1(connection))),
            Sent::Unsent(back, _) if reused => http = back,
            Sent::Unsent(back, failure) => return Err(message::classify(&failure).with_unsent(back)),
            Sent::Failed(failure) if kept && message::is_unseen(&failure, reused) => {
                return Err(message::classify(&failure).unseen());
            }
            Sent::Failed(failure) => match second {
                Some(again) if message::is_unseen(&failure, reused) && retries(aim) => {
                    return Err(message::classify(&failure).with_unsent(again));
                }
                Some(again) if message::is_unseen(&failure, reused) => (repeated, http) = (true, again),
                _ => return Err(message::classify(&failure)),
            },
        }
    }
}

fn retries(aim: &Aim) -> bool {
    aim.trail.connection.entrance.direction == Direction::Outbound && aim.retry().is_some_and(acts)
}

/// Whether a policy tries anything again: one that is only rehearsed, or was wished down to nothing, does not.
fn acts(policy: &Retry) -> bool {
    policy.mode.enforces() && policy.attempts > 0
}

async fn over_h2(
    attempt: &Attempt,
    mut http: Box<http::Request<Body>>,
    interim: Option<Interim>,
) -> Result<Answered, Error> {
    let (aim, pool) = (attempt.aim(), attempt.pool());
    loop {
        let (mut stream, pooled) = match pool.take_h2(aim.trail.connection.worker) {
            Some(stream) => (stream, true),
            None => match Box::pin(aim.cluster.traffic.waiting(connect::h2(attempt))).await {
                Ok(place) => place,
                Err(error) => return Err(error.with_unsent(http)),
            },
        };
        match stream.send(http, interim.as_ref()).await {
            Sent::Response(response) => return Ok((response, Lease::H2(stream))),
            // Every turn leaves one closing connection behind. A refused stream is the endpoint's answer: whether it is
            // asked again is the retry room's to say.
            Sent::Unsent(back, failure) if pooled && failure.is_closing() => http = back,
            Sent::Unsent(back, failure) => return Err(message::classify(&failure).with_unsent(back)),
            Sent::Failed(failure) => return Err(message::classify(&failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_config::policy::{Mode, Retry};

    #[test]
    fn a_policy_that_is_only_rehearsed_leaves_what_was_not_seen_to_be_sent_again_here() {
        assert!(super::acts(&Retry::default_policy()));
        assert!(!super::acts(&Retry { mode: Mode::Observe, ..Retry::default_policy() }));
        assert!(!super::acts(&Retry { attempts: 0, ..Retry::default_policy() }), "as a caller may wish");
    }

    #[test]
    fn an_attempts_future_stays_small() {
        fn size<F>(_: fn(super::Targeted) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(|targeted| super::run(super::Network, targeted));
        assert!(bytes <= 1024, "{bytes}");
    }
}
