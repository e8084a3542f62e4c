//! The one body type of the request path, in both directions.
//!
//! It passes frames through as they come, never collects, and knows when it is over: whoever must act at the end (the
//! attempt that returns its connection, the trail that records the request) attaches an [`Ending`]. A response body
//! also carries the request's remaining time, so that a deadline cuts a body as it cuts a head; the timer is made
//! only once the body has to wait.

mod memory;
mod received;
mod replay;
mod resumed;
mod throttled;
mod watched;
mod inner;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use crate::reason::Reason;
use inner::Inner;
pub use received::{Received, Upload};
pub use replay::{Bound, Memory, Replay, ReplaySource};
pub use resumed::Resumed;
use throttled::Throttled;
pub use watched::{Watched, Watcher};

/// How a body came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its last byte passed.
    Complete,
    /// It broke; the receiver saw it break.
    Failed(Reason),
    /// The receiver stopped before the end.
    Dropped,
}

/// Someone who must act when a body is over. Called once, whatever way it ends.
pub trait Ending: Send + Sync {
    /// The body's trailers pass; called at most once, before [`Ending::end`].
    fn trailers(&mut self, _trailers: &HeaderMap) {}
    /// The body is over.
    fn end(self: Box<Self>, how: End);
}

/// Keeps something until a body is over.
struct Holding<T> {
    inner: Option<Box<dyn Ending>>,
    _held: T,
}

impl<T: Send + Sync> Ending for Holding<T> {
    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(inner) = &mut self.inner {
            inner.trailers(trailers);
        }
    }

    fn end(self: Box<Self>, how: End) {
        if let Some(inner) = self.inner {
            inner.end(how);
        }
    }
}

/// Why a body broke, as its receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub Reason);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body ended early: {}", self.0)
    }
}

impl std::error::Error for Broken {}

/// When something last passed, milliseconds since some fixed start; shared between a request's body and whoever
/// judges whether it is idle.
pub type Pulse = Arc<AtomicU64>;

/// A body that streams. A word in size, since its message is moved a dozen times; nothing at all where it is empty and
/// nobody acts at its end.
#[derive(Default)]
pub struct Body(Option<Box<State>>);

struct State {
    inner: Inner,
    attempt: Option<Box<dyn Ending>>,
    request: Option<Box<dyn Ending>>,
    timers: Timers,
}

#[derive(Default)]
struct Timers {
    deadline: Option<(Instant, Reason)>,
    idle: Option<Duration>,
    pulse: Option<(Pulse, Instant)>,
    sleep: Option<Pin<Box<Sleep>>>,
    progressed: bool,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body(None)
    }

    /// All of it at once.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::empty() } else { Body::from_inner(Inner::Full(bytes)) }
    }

    /// What a caller sends; it breaks with [`Reason::DownstreamReset`].
    pub fn from_caller(incoming: Incoming) -> Self {
        Body::incoming(incoming, Reason::DownstreamReset)
    }

    /// What an endpoint sends; it breaks with [`Reason::HttpResponseIncomplete`].
    pub fn from_endpoint(incoming: Incoming) -> Self {
        Body::incoming(incoming, Reason::HttpResponseIncomplete)
    }

    fn incoming(incoming: Incoming, breaks_as: Reason) -> Self {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::from_inner(Inner::Incoming { incoming, breaks_as })
    }

    /// What a caller sends on an HTTP/2 stream; it breaks with [`Reason::DownstreamReset`].
    pub fn from_caller_stream(received: Received) -> Self {
        Body::received(received, Reason::DownstreamReset)
    }

    /// What an endpoint sends on an HTTP/2 stream; it breaks with [`Reason::HttpResponseIncomplete`].
    pub fn from_endpoint_stream(received: Received) -> Self {
        Body::received(received, Reason::HttpResponseIncomplete)
    }

    fn received(received: Received, breaks_as: Reason) -> Self {
        if received.is_end_stream() {
            return Body::empty();
        }
        Body::from_inner(Inner::Received { received, breaks_as })
    }

    fn from_inner(inner: Inner) -> Self {
        Body(Some(Box::new(State::new(inner))))
    }

    fn state(&mut self) -> &mut State {
        self.0.get_or_insert_with(|| Box::new(State::new(Inner::Empty)))
    }

    /// Replays what was kept and goes on live.
    pub fn replay(replay: Replay) -> Self {
        Body::from_inner(Inner::Replay(Box::new(replay)))
    }

    /// Begins anew with what was `taken` of `rest`.
    pub fn resumed(taken: VecDeque<Bytes>, trailers: Option<HeaderMap>, rest: Body) -> Self {
        Body::from_inner(Inner::Resumed(Box::new(Resumed::new(taken, trailers, rest))))
    }

    /// Gives `watcher` a copy of what passes.
    pub fn watched(body: Body, watcher: Box<dyn Watcher>) -> Self {
        // Whoever takes the body asks it when it is cut.
        let deadline = body.0.as_ref().and_then(|state| state.timers.deadline);
        let mut watched = State::new(Inner::Watched(Box::new(Watched::new(body, watcher))));
        watched.timers.deadline = deadline;
        Body(Some(Box::new(watched)))
    }

    /// Holds the body back until `gate` opens; with a sender that is dropped it never does.
    #[must_use]
    pub fn gated(mut self, gate: oneshot::Receiver<()>) -> Self {
        // A body that an attempt gives back unsent waits for the next one's leave alone.
        let state = self.state();
        if let Inner::Gated { gate: held, .. } = &mut state.inner {
            *held = Some(gate);
            return self;
        }
        // Only the content waits: whoever acts at its end stays with the body, or would be told of an end too early.
        let inner = Box::new(std::mem::replace(&mut state.inner, Inner::Empty));
        state.inner = Inner::Gated { gate: Some(gate), inner };
        self
    }

    /// Lets no more than so many bytes a second through. Whoever acts at its end stays with the body.
    #[must_use]
    pub fn throttled(mut self, per_second: u64) -> Self {
        if let Some(state) = self.0.as_mut().filter(|state| !state.inner.is_over()) {
            let inner = std::mem::replace(&mut state.inner, Inner::Empty);
            state.inner = Inner::Throttled(Box::new(Throttled::new(inner, per_second)));
        }
        self
    }

    /// Whether there is nothing in it and never was.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|state| state.inner.is_over())
    }

    /// Who acts when the attempt's part is over.
    pub fn on_attempt_end(&mut self, ending: Box<dyn Ending>) {
        self.state().attempt = Some(ending);
    }

    /// Keeps something until the attempt's part is over.
    pub fn hold(&mut self, what: impl Send + Sync + 'static) {
        let state = self.state();
        state.attempt = Some(Box::new(Holding { inner: state.attempt.take(), _held: what }));
    }

    /// Who acts when the request is over, after the attempt.
    pub fn on_request_end(&mut self, ending: Box<dyn Ending>) {
        self.state().request = Some(ending);
    }

    /// Cuts the body at `deadline`, for `reason`.
    pub fn set_deadline(&mut self, deadline: Instant, reason: Reason) {
        self.set(|timers| timers.deadline = Some((deadline, reason)));
    }

    /// Where nothing comes there is nothing to cut.
    fn set(&mut self, set: impl FnOnce(&mut Timers)) {
        if let Some(state) = &mut self.0 {
            set(&mut state.timers);
        }
    }

    /// When the body is cut, whoever takes it.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|state| state.timers.deadline).map(|(deadline, _)| deadline)
    }

    /// Cuts the body when nothing comes for `idle`.
    pub fn set_idle(&mut self, idle: Duration) {
        self.set(|timers| timers.idle = Some(idle));
    }

    /// Marks `pulse` with the milliseconds since `start` whenever a frame passes.
    pub fn set_pulse(&mut self, pulse: Pulse, start: Instant) {
        self.set(|timers| timers.pulse = Some((pulse, start)));
    }
}

impl State {
    fn new(inner: Inner) -> Self {
        State { inner, attempt: None, request: None, timers: Timers::default() }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // A source that always has more would else never let the deadline be looked at.
        if let Some((at, reason)) = self.timers.deadline
            && at <= Instant::now()
        {
            self.finish(End::Failed(reason));
            self.inner = Inner::Empty;
            self.timers.deadline = None;
            return Poll::Ready(Some(Err(Broken(reason))));
        }
        match self.inner.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timers.progressed = true;
                if let Some((pulse, start)) = &self.timers.pulse {
                    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                    pulse.store(millis, Ordering::Relaxed);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    for ending in [&mut self.attempt, &mut self.request].into_iter().flatten() {
                        ending.trailers(trailers);
                    }
                }
                // The receiver may not poll again once it can know that this was the last frame.
                if self.inner.is_over() {
                    self.finish(End::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(broken))) => {
                self.finish(End::Failed(broken.0));
                Poll::Ready(Some(Err(broken)))
            }
            Poll::Ready(None) => {
                self.finish(End::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let broken = ready!(self.poll_timers(cx));
                self.finish(End::Failed(broken.0));
                self.inner = Inner::Empty;
                Poll::Ready(Some(Err(broken)))
            }
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let timers = &mut self.timers;
        if timers.deadline.is_none() && timers.idle.is_none() {
            return Poll::Pending;
        }
        if timers.progressed || timers.sleep.is_none() {
            timers.progressed = false;
            let idle = timers.idle.map(|idle| Instant::now() + idle);
            let Some(next) = [idle, timers.deadline.map(|(at, _)| at)].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            match &mut timers.sleep {
                Some(sleep) => sleep.as_mut().reset(next),
                None => timers.sleep = Some(Box::pin(tokio::time::sleep_until(next))),
            }
        }
        let Some(sleep) = &mut timers.sleep else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        let reason = match timers.deadline {
            Some((at, reason)) if at <= Instant::now() => reason,
            _ => Reason::IdleTimeout,
        };
        Poll::Ready(Broken(reason))
    }

    fn finish(&mut self, how: End) {
        if let Some(ending) = self.attempt.take() {
            ending.end(how);
        }
        if let Some(ending) = self.request.take() {
            ending.end(how);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |state| state.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |state| state.inner.size_hint())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.attempt.is_some() || self.request.is_some() {
            let how = if self.inner.is_over() { End::Complete } else { End::Dropped };
            self.finish(how);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.0.as_ref().map_or("empty", |state| state.inner.kind());
        f.debug_tuple("Body").field(&kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http_body_util::BodyExt;
    use parking_lot::Mutex;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::{Body, End, Ending};
    use crate::reason::Reason;

    #[derive(Default, Clone)]
    struct Log(Arc<Mutex<Vec<End>>>);

    impl Ending for Log {
        fn end(self: Box<Self>, how: End) {
            self.0.lock().push(how);
        }
    }

    #[tokio::test]
    async fn a_body_that_is_read_ends_complete_once() {
        let log = Log::default();
        let mut body = Body::full("abc");
        body.on_request_end(Box::new(log.clone()));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "abc");
        assert_eq!(*log.0.lock(), [End::Complete]);
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_says_so() {
        let log = Log::default();
        let mut body = Body::full("abc");
        body.on_attempt_end(Box::new(log.clone()));
        drop(body);
        assert_eq!(*log.0.lock(), [End::Dropped]);
    }

    #[tokio::test]
    async fn an_empty_body_is_complete_even_if_nobody_reads_it() {
        let log = Log::default();
        let mut body = Body::empty();
        body.on_attempt_end(Box::new(log.clone()));
        drop(body);
        assert_eq!(*log.0.lock(), [End::Complete]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_cuts_a_body_that_waits() {
        let (_keep, gate) = oneshot::channel();
        let log = Log::default();
        let mut body = Body::full("abc").gated(gate);
        body.set_deadline(Instant::now() + Duration::from_secs(1), Reason::HttpResponseTimeout);
        body.on_request_end(Box::new(log.clone()));
        let error = body.collect().await.expect_err("the gate never opens");
        assert_eq!(error.0, Reason::HttpResponseTimeout);
        assert_eq!(*log.0.lock(), [End::Failed(Reason::HttpResponseTimeout)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_body_is_cut() {
        let (_keep, gate) = oneshot::channel();
        let mut body = Body::full("abc").gated(gate);
        body.set_idle(Duration::from_secs(5));
        let error = body.collect().await.expect_err("nothing ever comes");
        assert_eq!(error.0, Reason::IdleTimeout);
    }

    #[tokio::test]
    async fn an_open_gate_is_not_the_end() {
        let (open, gate) = oneshot::channel();
        let log = Log::default();
        let mut body = Body::full("abc");
        body.on_request_end(Box::new(log.clone()));
        let mut body = body.gated(gate);
        open.send(()).expect("somebody waits");
        assert!(log.0.lock().is_empty());
        body.frame().await.expect("a frame").expect("data");
        assert_eq!(*log.0.lock(), [End::Complete]);
    }

    #[tokio::test]
    async fn a_second_gate_takes_the_place_of_the_first() {
        let (lost, first) = oneshot::channel();
        let (open, second) = oneshot::channel();
        let body = Body::full("abc").gated(first).gated(second);
        drop(lost);
        open.send(()).expect("somebody waits");
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "abc");
    }

    #[tokio::test]
    async fn a_gate_lets_the_body_through_once_it_opens() {
        let (open, gate) = oneshot::channel();
        let body = Body::full("abc").gated(gate);
        open.send(()).expect("somebody waits");
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "abc");
    }
}
