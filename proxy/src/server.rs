//! Serves one caller's connection: hyper speaks the protocol, every request goes through the stack.
//!
//! A connection ends when its caller leaves it, when its scope drains (HTTP/1: the answer under way says
//! `Connection: close`; HTTP/2: GOAWAY), or when half a request head has been waiting for too long.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tower::Service;

use crate::body::Body;
use crate::detect::{Protocol, detect};
use crate::exchange::{Connection, Request, Response};
use crate::io::{Side, Stream};
use crate::pool::connect::{CONNECTION_WINDOW, MAX_HEAD, STREAM_WINDOW};
use crate::stack::HttpService;

/// How long a caller may take for the head of a request, once it has begun it.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Streams that one caller may have open on a connection (SETTINGS_MAX_CONCURRENT_STREAMS).
const MAX_STREAMS: u32 = 256;

/// Serves requests on one connection.
#[derive(Debug)]
struct Handler {
    connection: Arc<Connection>,
    stack: HttpService,
}

impl HyperService<http::Request<Incoming>> for Handler {
    type Response = Response;
    type Error = Infallible;
    type Future = <HttpService as Service<Request>>::Future;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let request = Request::new(request.map(Body::from_caller), Arc::clone(&self.connection));
        self.stack.clone().call(request)
    }
}

/// Serves `tcp` until it ends. `connection` says where it came in; what hyper hides is added here.
pub async fn serve(mut tcp: TcpStream, mut connection: Connection, stack: HttpService) {
    let detected = tokio::select! {
        detected = detect(&mut tcp) => detected,
        // Nothing was asked yet, so nothing is lost.
        () = connection.drain.draining() => None,
    };
    match detected {
        None => {}
        Some((Protocol::Http1, ahead)) => {
            let side = Arc::new(Side::default());
            connection.side = Some(Arc::clone(&side));
            serve_http1(tcp, ahead, side, connection, stack).await;
        }
        Some((Protocol::Http2, ahead)) => serve_http2(tcp, ahead, connection, stack).await,
    }
}

async fn serve_http1(tcp: TcpStream, ahead: Bytes, side: Arc<Side>, connection: Connection, stack: HttpService) {
    let drain = connection.drain.clone();
    let io = TokioIo::new(Stream::downstream(tcp, ahead, Some(Arc::clone(&side))));
    let handler = Handler { connection: Arc::new(connection), stack };
    let http = http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, handler).with_upgrades();
    let mut http = pin!(http);
    let (mut draining, mut closing) = (pin!(drain.draining()), pin!(drain.closing()));
    let mut told = false;
    // Only a caller that stops in the middle of a head costs a timer.
    let mut head: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            http.as_mut().graceful_shutdown();
        }
        if http.as_mut().poll(cx).is_ready() || (told && closing.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        if !(side.waits_for_head() && side.is_idle()) {
            head = None;
            return Poll::Pending;
        }
        head.get_or_insert_with(|| Box::pin(tokio::time::sleep(HEAD_PATIENCE))).as_mut().poll(cx)
    })
    .await;
}

async fn serve_http2(tcp: TcpStream, ahead: Bytes, connection: Connection, stack: HttpService) {
    let drain = connection.drain.clone();
    let io = TokioIo::new(Stream::downstream(tcp, ahead, None));
    let handler = Handler { connection: Arc::new(connection), stack };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let mut http = pin!(builder.serve_connection(io, handler));
    let (mut draining, mut closing) = (pin!(drain.draining()), pin!(drain.closing()));
    let mut told = false;
    poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            http.as_mut().graceful_shutdown();
        }
        if http.as_mut().poll(cx).is_ready() || (told && closing.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
