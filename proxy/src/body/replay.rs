//! A request body that can be sent again: it streams to the first attempt at once while a copy is kept, up to a cap.
//!
//! One [`ReplaySource`] belongs to the request, each attempt gets a [`Replay`] of it. A new attempt first sends what
//! was kept, then goes on live where the last one stopped. Past the cap the copy is dropped and the body can no longer
//! be repeated; it still streams on. So it is where the bodies kept by all requests
//! together would take more than the process has for them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

pub use super::memory::{Bound, Memory};
use super::{Body, Broken};
use crate::reason::Reason;

/// The body of a request and what of it was kept.
#[derive(Clone, Debug)]
pub struct ReplaySource(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    live: Body,
    kept: Vec<Bytes>,
    size: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    /// The live body came to its end.
    finished: bool,
    /// What was kept is gone, and why; or nothing was, because the body broke.
    lost: Option<Bound>,
    broken: bool,
    memory: Arc<Memory>,
    /// Which attempt may read: an earlier one that its connection still drains must not take what the next one needs.
    attempts: u32,
}

/// One attempt's view of a [`ReplaySource`].
#[derive(Debug)]
pub struct Replay {
    source: ReplaySource,
    attempt: u32,
    /// Of the kept pieces, the next to send.
    next: usize,
    trailers_sent: bool,
}

impl ReplaySource {
    /// Keeps at most `limit` bytes of `live`, as part of what `memory` has for all.
    pub fn new(live: Body, limit: usize, memory: Arc<Memory>) -> Self {
        // A body that says it is longer than a cap is never kept at all.
        let least = live.size_hint().lower();
        let mut state = State {
            live,
            kept: Vec::new(),
            size: 0,
            limit,
            trailers: None,
            finished: false,
            lost: None,
            broken: false,
            memory,
            attempts: 0,
        };
        if least > limit as u64 {
            state.lose(Bound::Request);
        } else if least > state.memory.limit() as u64 {
            state.lose(Bound::Process);
        }
        ReplaySource(Arc::new(Mutex::new(state)))
    }

    /// Whether another attempt can still send the whole body.
    pub fn is_replayable(&self) -> bool {
        let state = self.0.lock();
        state.lost.is_none() && !state.broken
    }

    /// Whether all of it is here, so that attempts may run side by side.
    pub fn is_settled(&self) -> bool {
        let state = self.0.lock();
        state.finished && state.lost.is_none() && !state.broken
    }

    /// Why it is no longer kept, if that is why.
    pub fn lost(&self) -> Option<Bound> {
        self.0.lock().lost
    }

    /// The body for the next attempt. The one before it breaks off, if its connection still reads it.
    pub fn attempt(&self) -> Body {
        let mut state = self.0.lock();
        state.attempts += 1;
        Body::replay(Replay { source: self.clone(), attempt: state.attempts, next: 0, trailers_sent: false })
    }
}

impl State {
    fn lose(&mut self, bound: Bound) {
        self.lost = Some(bound);
        self.memory.abandon(bound);
        self.memory.give(std::mem::take(&mut self.size));
        self.kept = Vec::new();
    }

    fn keep(&mut self, data: &Bytes) {
        if self.lost.is_some() {
            return;
        }
        if self.size + data.len() > self.limit {
            return self.lose(Bound::Request);
        }
        if !self.memory.try_take(data.len()) {
            return self.lose(Bound::Process);
        }
        self.size += data.len();
        // Many small frames would cost more for their handles than for their bytes.
        match self.kept.last() {
            Some(last) if last.len() + data.len() <= 4096 => {
                let mut joined = BytesMut::with_capacity(last.len() + data.len());
                joined.extend_from_slice(last);
                joined.extend_from_slice(data);
                self.kept.pop();
                self.kept.push(joined.freeze());
            }
            _ => self.kept.push(data.clone()),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.memory.give(self.size);
    }
}

impl Replay {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut state = self.source.0.lock();
        // What is here as a whole several attempts may read, each at its own pace.
        if self.attempt != state.attempts && !(state.finished && state.lost.is_none()) {
            return Poll::Ready(Some(Err(Broken(Reason::DownstreamReset))));
        }
        if let Some(piece) = state.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if state.finished {
            if let Some(trailers) = state.trailers.as_ref().filter(|_| !self.trailers_sent) {
                self.trailers_sent = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
            }
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut state.live).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    state.keep(data);
                    self.next = state.kept.len();
                } else if let Some(trailers) = frame.trailers_ref() {
                    state.trailers = Some(trailers.clone());
                    self.trailers_sent = true;
                }
                state.finished = state.live.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(broken)) => {
                state.broken = true;
                Poll::Ready(Some(Err(broken)))
            }
            None => {
                state.finished = true;
                Poll::Ready(None)
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.source.0.lock();
        let over = state.finished || state.live.is_end_stream();
        over && self.next >= state.kept.len() && (self.trailers_sent || state.trailers.is_none())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.source.0.lock();
        let kept: u64 = state.kept.iter().skip(self.next).map(|piece| piece.len() as u64).sum();
        let live = if state.finished { SizeHint::with_exact(0) } else { state.live.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(kept + live.lower());
        if let Some(upper) = live.upper() {
            hint.set_upper(kept + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use std::sync::Arc;

    use super::{Body, Bound, Memory, ReplaySource};

    fn source(text: &'static str, limit: usize) -> ReplaySource {
        ReplaySource::new(Body::full(text), limit, Arc::default())
    }

    #[tokio::test]
    async fn a_body_within_the_cap_is_sent_again() {
        let source = source("abc", 3);
        for _ in 0..3 {
            assert_eq!(source.attempt().collect().await.expect("whole").to_bytes(), "abc");
        }
        assert!(source.is_replayable());
    }

    #[tokio::test]
    async fn a_body_over_the_cap_is_sent_once() {
        let source = source("abcd", 3);
        assert!(!source.is_replayable());
        assert_eq!(source.attempt().collect().await.expect("whole").to_bytes(), "abcd");
    }

    #[tokio::test]
    async fn an_attempt_takes_nothing_from_the_next_one() {
        let source = source("abc", 3);
        let mut first = source.attempt();
        let second = source.attempt();
        assert!(first.frame().await.expect("an end").is_err());
        assert_eq!(second.collect().await.expect("whole").to_bytes(), "abc");
    }

    #[tokio::test]
    async fn attempts_share_what_is_here_as_a_whole() {
        let source = source("abc", 3);
        let first = source.attempt();
        assert!(!source.is_settled());
        assert_eq!(source.attempt().collect().await.expect("whole").to_bytes(), "abc");
        assert!(source.is_settled());
        assert_eq!(first.collect().await.expect("whole").to_bytes(), "abc");
    }

    #[tokio::test]
    async fn an_attempt_that_stopped_half_way_is_taken_up() {
        let source = source("abc", 3);
        let mut first = source.attempt();
        first.frame().await.expect("a frame").expect("data");
        drop(first);
        assert_eq!(source.attempt().collect().await.expect("whole").to_bytes(), "abc");
    }

    #[tokio::test]
    async fn the_process_has_a_bound_too_and_gets_its_memory_back() {
        let memory = Arc::new(Memory::new(5));
        let new = |text: &'static str| ReplaySource::new(Body::full(text), 10, Arc::clone(&memory));
        let (first, second) = (new("abc"), new("def"));
        for source in [&first, &second] {
            assert_eq!(source.attempt().collect().await.expect("whole").to_bytes().len(), 3);
        }
        assert_eq!((first.lost(), second.lost(), memory.used()), (None, Some(Bound::Process), 3));
        assert!(first.is_replayable() && !second.is_replayable());
        drop(first);
        assert_eq!(memory.used(), 0);
        assert_eq!(new("too long for it").lost(), Some(Bound::Request));
        assert_eq!(new("abcdef").lost(), Some(Bound::Process));
        assert_eq!(memory.abandoned(), [("request", 1), ("process", 2)]);
    }
}
