//! An HTTP/2 connection.
//!
//! Spoken with the `h2` crate itself: each request is one task, which ends when its caller resets the stream, and what
//! hyper's server adds for others (its own accounting of pings, upgrades) is left out.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, SendResponse};
use http::header::{self, HeaderValue};
use tokio::net::TcpStream;

use super::Handler;
use crate::body::{Body, Received};
use crate::clock;
use crate::exchange::{Request, Response, Trail};
use crate::io::Stream;
use crate::liveness::Liveness;
use crate::pipe::Pipe;
use crate::pool::connect::{CONNECTION_WINDOW, MAX_HEAD, STREAM_WINDOW};

/// Streams that one caller may have open on a connection (SETTINGS_MAX_CONCURRENT_STREAMS).
const MAX_STREAMS: u32 = 256;

/// What may wait to be sent on a connection, bytes.
const MAX_SENDING: usize = 400 * 1024;

/// Streams that may be reset for an error of the caller's before its connection is given up.
const MAX_LOCAL_RESETS: usize = 1024;

/// How long a caller that is told to go may have no stream open and stay: it answers nothing, not even to that.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) async fn serve(tcp: TcpStream, ahead: Bytes, handler: Handler) {
    let drain = handler.connection.drain.clone();
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buffer_size(MAX_SENDING)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .handshake::<_, Bytes>(Stream::downstream(tcp, ahead, None));
    let (mut draining, mut closing) = (pin!(drain.draining()), pin!(drain.closing()));
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(crate::detect::PATIENCE, handshake) => handshake,
        () = &mut closing => return,
    };
    let Ok(Ok(mut http)) = handshake else { return };
    let mut watch = http.ping_pong().map(Liveness::new);
    let overload = &handler.connection.shared.overload;
    let mut dismissed = pin!(Some(overload.dismissed()));
    let mut farewell = pin!(None);
    let (mut waiting, mut listening, mut told, mut stopping) = (false, false, false, false);
    poll_fn(|cx| {
        // It runs short: who rests is told to go, and comes again elsewhere or later.
        if !stopping && (!waiting || !overload.is_calm()) {
            waiting = true;
            let goes = dismissed.as_mut().as_pin_mut().is_some_and(|dismissed| dismissed.poll(cx).is_ready());
            if goes && http.has_streams() {
                // Its place would not be free, and its caller would take another one for the next request.
                overload.pass_on();
                dismissed.set(Some(overload.dismissed()));
                // In line again when it is polled next, at the latest for the end of its last stream.
                waiting = false;
            } else if goes {
                overload.note_dismissed();
                stopping = true;
                http.graceful_shutdown();
                farewell.set(Some(tokio::time::sleep(FAREWELL)));
            }
        }
        // Listening once is enough: the task stays the same, and the scope wakes it.
        if !listening || (!told && drain.is_draining()) {
            listening = true;
            told = draining.as_mut().poll(cx).is_ready();
        }
        if told && !stopping {
            stopping = true;
            http.graceful_shutdown();
        }
        if watch.as_mut().is_some_and(|watch| watch.is_dead(cx, || http.has_streams())) {
            return Poll::Ready(());
        }
        while let Poll::Ready(accepted) = http.poll_accept(cx) {
            let Some(Ok((request, reply))) = accepted else { return Poll::Ready(()) };
            if !stopping && overload.closes() {
                stopping = true;
                http.graceful_shutdown();
                farewell.set(Some(tokio::time::sleep(FAREWELL)));
            }
            let (parts, stream) = request.into_parts();
            let body = Body::from_caller_stream(Received::new(stream, &parts.headers));
            let request = http::Request::from_parts(parts, body);
            let request = Request::new(request, Arc::clone(&handler.connection));
            let trail = Arc::clone(&request.trail);
            tokio::spawn(Exchange { reply, state: State::Answering(handler.answer(request), trail) });
        }
        if stopping {
            // Another is to be told in its stead.
            dismissed.set(None);
        }
        while let Some(over) = farewell.as_mut().as_pin_mut()
            && over.poll(cx).is_ready()
        {
            if !http.has_streams() {
                return Poll::Ready(());
            }
            farewell.set(Some(tokio::time::sleep(FAREWELL)));
        }
        if told && closing.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One request and its response.
struct Exchange<F> {
    reply: SendResponse<Bytes>,
    state: State<F>,
}

#[expect(clippy::large_enum_variant, reason = "it lives in its task's own allocation")]
enum State<F> {
    /// The stack has the request; interim responses come by its trail.
    Answering(F, Arc<Trail>),
    /// The response's body is on its way.
    Sending(Pipe),
}

impl<F: Future<Output = Result<Response, std::convert::Infallible>> + Unpin> Future for Exchange<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Answering(answer, trail) => {
                    let answer = Pin::new(answer).poll(cx);
                    for early in trail.heard() {
                        let _ = this.reply.send_informational(early);
                    }
                    let Poll::Ready(Ok(response)) = answer else {
                        // A caller that has given up is not worked for any more.
                        return this.reply.poll_reset(cx).map(drop);
                    };
                    let (mut parts, body) = response.into_parts();
                    // RFC 9110, 6.6.1: whoever passes a response on without one adds it.
                    if !parts.headers.contains_key(header::DATE)
                        && let Ok(now) = HeaderValue::try_from(httpdate::fmt_http_date(clock::wall()))
                    {
                        parts.headers.insert(header::DATE, now);
                    }
                    let over = body.is_empty();
                    match this.reply.send_response(http::Response::from_parts(parts, ()), over) {
                        Ok(_) if over => return Poll::Ready(()),
                        Ok(stream) => this.state = State::Sending(Pipe::new(body, stream, Reason::INTERNAL_ERROR)),
                        Err(error) => {
                            // Nothing but the caller's going makes a head that passed the rooms unfit to be sent.
                            tracing::debug!(%error, "A response was not sent");
                            this.reply.send_reset(Reason::INTERNAL_ERROR);
                            return Poll::Ready(());
                        }
                    }
                }
                State::Sending(pipe) => {
                    let _ = ready!(Pin::new(pipe).poll(cx));
                    return Poll::Ready(());
                }
            }
        }
    }
}
