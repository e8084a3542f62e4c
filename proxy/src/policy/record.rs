//! Records every request once, when its response is over: metrics, the span of this hop, and the access log. The
//! outermost layer, so that it sees what the caller sees.
//!
//! Inbound each request is a SERVER span. Outbound the attempts are the spans (`crate::attempt`); only a request that
//! came without a trace and took several attempts, or none, gets a root of its own, so that they stay together. A
//! caller that goes away before its answer is recorded as `downstream_reset`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use outrigger_config::listener::Direction;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::body::{End, Ending};
use crate::clock;
use crate::exchange::{Request, Response, Trail, grpc_status};
use crate::explain::{self, Why};
use crate::fields::Fields;
use crate::reason::Reason;
use crate::telemetry::{SpanKind, SpanRecord, logging};

/// Puts [`Record`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct RecordLayer;

/// Records requests.
#[derive(Clone, Debug)]
pub struct Record<S> {
    inner: S,
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Record<S> {
        Record { inner }
    }
}

impl<S> Service<Request> for Record<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Recorded<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let account = Account(Arc::clone(&request.trail));
        Recorded { inner: self.inner.call(request), account: Some(account) }
    }
}

pin_project! {
    /// A response whose end will be recorded.
    #[derive(Debug)]
    pub struct Recorded<F> {
        #[pin]
        inner: F,
        account: Option<Account>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Recorded<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        if let Some(account) = this.account.take() {
            account.0.note(|notes| {
                notes.status = response.status().as_u16();
                notes.grpc_status = account.0.grpc.then(|| grpc_status(response.headers())).flatten();
            });
            if account.0.fields.any(Fields::EXPLAIN) {
                explain::answer(&account.0, &mut response);
            }
            if account.0.version < Version::HTTP_2 && account.0.connection.shared.overload.closes() {
                close(&mut response);
            }
            response.body_mut().on_request_end(Box::new(account));
        }
        Poll::Ready(Ok(response))
    }
}

/// The proxy runs short: an HTTP/1 connection ends with this answer, unless it becomes something else.
fn close(response: &mut Response) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Writes the record when it is dropped.
#[derive(Debug)]
struct Account(Arc<Trail>);

impl Ending for Account {
    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = grpc_status(trailers) {
            self.0.note(|notes| notes.grpc_status = Some(status));
        }
    }

    fn end(self: Box<Self>, how: End) {
        let broken = match how {
            End::Complete => return,
            End::Failed(reason) => reason,
            End::Dropped => Reason::DownstreamReset,
        };
        self.0.note(|notes| notes.reason = Some(broken));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Account(trail) = self;
        let connection = &trail.connection;
        if let Some(side) = &connection.side {
            side.finish();
        }
        let duration = trail.elapsed();
        let entrance = &connection.entrance;
        let telemetry = &connection.shared.telemetry;
        let slow = telemetry.records.is_slow(duration);
        let (mut why, mut spans) = (Why::default(), false);
        trail.note(|notes| {
            if notes.status == 0 {
                notes.reason = Some(Reason::DownstreamReset);
            }
            match &notes.edge {
                Some(edge) => edge.record(notes.status, notes.grpc_status, notes.reason, notes.would, duration),
                None => telemetry.metrics.unrouted(entrance.direction, notes.status, notes.reason, duration),
            }
            why = Why::of(notes, slow);
            // What the cache answered had no attempt that would have been a span.
            let kept = notes.cache.is_some() && notes.attempts == 0;
            spans = trail.context.sampled && (trail.own_span && !notes.alone || kept);
        });
        if why.any() {
            explain::keep(trail, why, duration);
        }
        if spans || entrance.access_log {
            let record = span(trail, duration);
            if entrance.access_log {
                logging::access(&record, &trail.read(|notes| notes.detail.clone()), connection.peer);
            }
            if spans {
                telemetry.spans.submit(connection.worker, record);
            }
        }
    }
}

fn span(trail: &Trail, duration: std::time::Duration) -> SpanRecord {
    let connection = &trail.connection;
    let entrance = &connection.entrance;
    let (span_id, parent) = match trail.own_span {
        true => (trail.context.span_id, trail.parent),
        false => (trail.context.child(&mut fastrand::Rng::new()).span_id, Some(trail.context.span_id)),
    };
    trail.read(|notes| SpanRecord {
        trace_id: trail.context.trace_id,
        span_id,
        parent,
        state: trail.context.state.as_ref().and_then(|state| Some(state.to_str().ok()?.into())),
        kind: match entrance.direction {
            Direction::Inbound => SpanKind::Server,
            Direction::Outbound => SpanKind::Internal,
        },
        start: clock::wall() - duration,
        duration,
        identity: entrance.identity.clone(),
        direction: entrance.direction,
        method: trail.method.clone(),
        path: trail.uri.path().into(),
        authority: trail.uri.authority().map(|authority| authority.as_str().into()),
        version: trail.version,
        status: notes.status,
        grpc: trail.grpc,
        grpc_status: notes.grpc_status,
        reason: notes.reason,
        route: notes.route.as_ref().map(|route| Arc::clone(&route.config.name)),
        host: notes.host.clone(),
        peer: Some(if entrance.direction == Direction::Inbound {
            connection.peer
        } else {
            notes.endpoint.unwrap_or(connection.peer)
        }),
        attempt: notes.attempts.saturating_sub(1),
        retry_of: None,
        lost: false,
        withheld: notes.withheld,
        cache: notes.cache,
        would: notes.would,
        snapshot: notes.snapshot,
    })
}
