//! Where a body's frames come from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{Broken, Received, Replay, Resumed, Throttled, Watched};
use crate::reason::Reason;

/// A source of frames.
pub(super) enum Inner {
    Empty,
    Full(Bytes),
    Incoming {
        incoming: Incoming,
        breaks_as: Reason,
    },
    Received {
        received: Received,
        breaks_as: Reason,
    },
    /// Held back until the upstream says 100 (Continue), RFC 9110 10.1.1.
    Gated {
        gate: Option<oneshot::Receiver<()>>,
        inner: Box<Inner>,
    },
    Replay(Box<Replay>),
    Resumed(Box<Resumed>),
    Watched(Box<Watched>),
    Throttled(Box<Throttled>),
}

impl Inner {
    /// The next frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Inner::Empty => Poll::Ready(None),
            Inner::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Inner::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Inner::Incoming { incoming, breaks_as } => {
                let reason = *breaks_as;
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Broken(reason))))
            }
            Inner::Received { received, breaks_as } => {
                let reason = *breaks_as;
                let frame = ready!(received.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Broken(reason))))
            }
            Inner::Gated { gate, inner } => {
                let Some(opening) = gate else { return Poll::Pending };
                if ready!(Pin::new(opening).poll(cx)).is_err() {
                    // Answered without asking for the content: nobody reads it any more.
                    *gate = None;
                    return Poll::Pending;
                }
                *self = std::mem::replace(&mut **inner, Inner::Empty);
                self.poll_frame(cx)
            }
            Inner::Replay(replay) => replay.poll_frame(cx),
            Inner::Resumed(resumed) => resumed.poll_frame(cx),
            Inner::Watched(watched) => watched.poll_frame(cx),
            Inner::Throttled(throttled) => throttled.poll_frame(cx),
        }
    }

    /// Whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Inner::Empty => true,
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Incoming { incoming, .. } => incoming.is_end_stream(),
            Inner::Received { received, .. } => received.is_end_stream(),
            Inner::Gated { inner, .. } => inner.is_over(),
            Inner::Replay(replay) => replay.is_end_stream(),
            Inner::Resumed(resumed) => resumed.is_end_stream(),
            Inner::Watched(watched) => watched.is_end_stream(),
            Inner::Throttled(throttled) => throttled.is_end_stream(),
        }
    }

    /// How much may come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Incoming { incoming, .. } => incoming.size_hint(),
            Inner::Received { received, .. } => received.size_hint(),
            Inner::Gated { inner, .. } => inner.size_hint(),
            Inner::Replay(replay) => replay.size_hint(),
            Inner::Resumed(resumed) => resumed.size_hint(),
            Inner::Watched(watched) => watched.size_hint(),
            Inner::Throttled(throttled) => throttled.size_hint(),
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Inner::Empty => "empty",
            Inner::Full(_) => "full",
            Inner::Incoming { .. } => "incoming",
            Inner::Received { .. } => "received",
            Inner::Gated { .. } => "gated",
            Inner::Replay(_) => "replay",
            Inner::Resumed(_) => "resumed",
            Inner::Watched(_) => "watched",
            Inner::Throttled(_) => "throttled",
        }
    }
}
