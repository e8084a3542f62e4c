//! An HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::Handler;
use crate::io::Stream;
use crate::pool::connect::{CONNECTION_WINDOW, MAX_HEAD, STREAM_WINDOW};

/// Streams that one caller may have open on a connection (SETTINGS_MAX_CONCURRENT_STREAMS).
const MAX_STREAMS: u32 = 256;

pub(super) async fn serve(tcp: TcpStream, ahead: Bytes, handler: Handler) {
    let drain = handler.connection.drain.clone();
    let io = TokioIo::new(Stream::downstream(tcp, ahead, None));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        // A dead peer is noticed within 30 s even while streams wait for it.
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let mut http = pin!(builder.serve_connection(io, handler));
    let (mut draining, mut closing) = (pin!(drain.draining()), pin!(drain.closing()));
    let (mut listening, mut told, mut stopping) = (false, false, false);
    poll_fn(|cx| {
        // Listening once is enough: the task stays the same, and the scope wakes it.
        if !listening || (!told && drain.is_draining()) {
            listening = true;
            told = draining.as_mut().poll(cx).is_ready();
        }
        if told && !stopping {
            stopping = true;
            http.as_mut().graceful_shutdown();
        }
        if http.as_mut().poll(cx).is_ready() || (told && closing.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
