//! What goes out on an HTTP/2 stream: a body, sent as fast as the peer's windows let it (RFC 9113, 5.2).
//!
//! At most one frame of a body waits here for room; the next is not asked for before. A peer that resets the stream, or
//! leaves it without room until the body's deadline or for five minutes, ends the pipe and the body with it; a body that
//! breaks resets the stream, so that its receiver never takes it for complete.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body as _;
use tokio::time::{Instant, Sleep};

use crate::body::{Body, Broken};
use crate::fields::Fields;
use crate::hop;

/// What is kept of a body until its receiver has answered, bytes: a stream that was refused (RFC 9113, 8.7) takes it
/// back, so that it can be sent whole on another. What is larger streams on and is not kept.
const MAX_KEPT: usize = 64 * 1024;

/// How long a peer may leave no room for what waits.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends a body; done once its end was handed over, the peer wants no more of it, or it broke.
#[derive(Debug)]
pub struct Pipe {
    body: Body,
    stream: SendStream<Bytes>,
    /// What waits for room, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
    /// What the peer is told if the body breaks.
    reset: Reason,
    /// Its last byte was handed over.
    over: bool,
    kept: Option<Kept>,
    /// Until when what waits may wait; made only where there is no room.
    patience: Option<Pin<Box<Sleep>>>,
}

/// What was taken of a body so far.
#[derive(Debug, Default)]
struct Kept {
    data: VecDeque<Bytes>,
    size: usize,
    trailers: Option<HeaderMap>,
}

impl Pipe {
    /// Sends `body` on `stream`; a body that breaks resets it for the reason `reset`.
    pub fn new(body: Body, stream: SendStream<Bytes>, reset: Reason) -> Self {
        Pipe { body, stream, waiting: None, reset, over: false, kept: None, patience: None }
    }

    /// Keeps what is sent, as far as [`Pipe::take_back`] may need it.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.kept = Some(Kept::default());
        self
    }

    /// Nobody will take the body back.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// The body as it was before any of it was sent; none if more of it passed than is kept.
    pub fn take_back(self) -> Option<Body> {
        let Kept { data, trailers, .. } = self.kept?;
        Some(if data.is_empty() && trailers.is_none() { self.body } else { Body::resumed(data, trailers, self.body) })
    }

    fn keep(&mut self, data: &Bytes) {
        if let Some(kept) = &mut self.kept {
            kept.size += data.len();
            if kept.size > MAX_KEPT {
                self.kept = None;
            } else {
                kept.data.push_back(data.clone());
            }
        }
    }

    /// Whether the peer has given the stream up; if not, whoever polls is woken once it does.
    fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        self.stream.poll_reset(cx).is_ready()
    }

    /// Whether what waits has waited for too long.
    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        let until = || {
            let limit = Instant::now() + PATIENCE;
            self.body.deadline().map_or(limit, |deadline| deadline.min(limit))
        };
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until())));
        patience.as_mut().poll(cx).is_ready()
    }

    /// Sends what waits as room comes; false if the stream is gone.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        while let Some((mut data, last)) = self.waiting.take() {
            let room = self.stream.capacity();
            if room == 0 {
                self.waiting = Some((data, last));
                if self.is_reset(cx) {
                    return Poll::Ready(Ok(false));
                }
                if self.is_stalled(cx) {
                    self.stream.send_reset(self.reset);
                    // The body knows whether it is its own deadline that has passed.
                    return Poll::Ready(Err(match Pin::new(&mut self.body).poll_frame(cx) {
                        Poll::Ready(Some(Err(broken))) => broken,
                        _ => Broken(crate::reason::Reason::DownstreamReset),
                    }));
                }
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(Ok(false)),
                }
            }
            self.patience = None;
            let now = data.split_to(room.min(data.len()));
            let over = data.is_empty();
            self.over = last && over;
            if self.stream.send_data(now, self.over).is_err() {
                return Poll::Ready(Ok(false));
            }
            if !over {
                self.waiting = Some((data, last));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Ends the stream with trailers, without what belongs to one hop: h2 would send none of them.
    fn end(&mut self, mut trailers: HeaderMap) -> Result<(), Broken> {
        if let Some(kept) = &mut self.kept {
            kept.trailers = Some(trailers.clone());
        }
        let fields = Fields::of(&trailers);
        hop::strip(&mut trailers, fields);
        hop::strip_upgrade(&mut trailers, fields);
        if self.stream.send_trailers(trailers).is_err() && self.stream_is_open() {
            self.stream.send_reset(self.reset);
            return Err(Broken(crate::reason::Reason::HttpProtocolError));
        }
        Ok(())
    }

    /// Whether what fails is ours: a stream that its peer has ended fails too, and nobody is left to be told.
    fn stream_is_open(&mut self) -> bool {
        !self.is_reset(&mut Context::from_waker(Waker::noop()))
    }
}

impl Future for Pipe {
    type Output = Result<(), Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if this.waiting.is_some() && !ready!(this.poll_waiting(cx))? || this.over {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                return if this.is_reset(cx) { Poll::Ready(Ok(())) } else { Poll::Pending };
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(broken)) => {
                    this.stream.send_reset(this.reset);
                    return Poll::Ready(Err(broken));
                }
                // Sending fails only where the peer has gone, and then nobody is left to be told.
                None => {
                    let _ = this.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = this.body.is_end_stream();
                    this.keep(&data);
                    if !data.is_empty() {
                        this.stream.reserve_capacity(data.len());
                        this.waiting = Some((data, last));
                    } else if last {
                        let _ = this.stream.send_data(data, true);
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(this.end(trailers));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use h2::Reason;
    use http::Request;
    use tokio::time::Instant;

    use super::{MAX_KEPT, PATIENCE, Pipe};
    use crate::body::Body;

    /// What comes out of the other end of a pipe of `body`, over a window of `window` bytes.
    async fn through(body: Body, window: u32) -> Result<Vec<u8>, h2::Error> {
        let (client, server) = tokio::io::duplex(1024);
        let receiver = tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            let mut connection = builder.initial_window_size(window).handshake::<_, Bytes>(server).await?;
            let (request, reply) = connection.accept().await.expect("a request")?;
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let mut received = Vec::new();
            let mut stream = request.into_body();
            while let Some(data) = stream.data().await {
                let data = data?;
                received.extend_from_slice(&data);
                stream.flow_control().release_capacity(data.len())?;
            }
            drop(reply);
            Ok(received)
        });
        let (mut sender, connection) = h2::client::handshake(client).await?;
        tokio::spawn(connection);
        let (_response, stream) =
            sender.send_request(Request::post("http://a/").body(()).expect("a request"), false)?;
        let _ = Pipe::new(body, stream, Reason::CANCEL).await;
        receiver.await.expect("no panic")
    }

    #[tokio::test]
    async fn a_body_larger_than_the_window_passes_whole() {
        let content: Vec<u8> = (0..300_000_u32).map(|index| index as u8).collect();
        assert_eq!(through(Body::full(content.clone()), 1000).await.expect("whole"), content);
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_never_complete() {
        let (lost, gate) = tokio::sync::oneshot::channel();
        let mut body = Body::full("abc").gated(gate);
        body.set_deadline(tokio::time::Instant::now(), crate::reason::Reason::HttpResponseTimeout);
        let error = through(body, 1000).await.expect_err("it broke");
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        drop(lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_makes_no_room_is_given_up() {
        for (deadline, expected) in [(None, PATIENCE), (Some(Duration::from_secs(2)), Duration::from_secs(2))] {
            let (client, server) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                let handshake = builder.initial_window_size(10).handshake::<_, Bytes>(server).await;
                let mut connection = handshake.expect("a handshake");
                let mut held = Vec::new();
                while let Some(accepted) = connection.accept().await {
                    held.push(accepted);
                }
            });
            let (mut sender, connection) = h2::client::handshake(client).await.expect("a handshake");
            tokio::spawn(connection);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let request = Request::post("http://a/").body(()).expect("a request");
            let (_response, stream) = sender.send_request(request, false).expect("a stream");
            let mut body = Body::full(vec![0; 100_000]);
            let begun = Instant::now();
            if let Some(deadline) = deadline {
                body.set_deadline(begun + deadline, crate::reason::Reason::HttpResponseTimeout);
            }
            let _ = Pipe::new(body, stream, Reason::CANCEL).await;
            let took = begun.elapsed();
            assert!(took >= expected && took < expected + Duration::from_secs(1), "{took:?}");
        }
    }

    #[tokio::test]
    async fn no_more_is_kept_than_may_be() {
        let (mut sender, connection) = {
            let (client, server) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(server).await.expect("a handshake");
                let mut held = Vec::new();
                while let Some(accepted) = connection.accept().await {
                    held.push(accepted);
                }
            });
            h2::client::handshake(client).await.expect("a handshake")
        };
        tokio::spawn(connection);
        for (size, kept) in [(10, true), (MAX_KEPT, true), (MAX_KEPT + 1, false)] {
            let request = Request::post("http://a/").body(()).expect("a request");
            let (_response, stream) = sender.send_request(request, false).expect("a stream");
            let mut pipe = Pipe::new(Body::full(vec![0; size]), stream, Reason::CANCEL).keeping();
            let _ = futures_util::poll!(&mut pipe);
            assert_eq!(pipe.take_back().is_some(), kept, "{size}");
        }
    }
}
