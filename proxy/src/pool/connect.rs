//! Making a connection: dial one address within its time, and start the protocol on it.
//!
//! The connection runs as a task of the worker that made it, and carries whatever counts against the destination's
//! limit on connections until it closes.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use ::h2::client::{Builder, Connection};
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::h2::Vitals;
use super::{H1, H2};
use crate::error::{Error, Reason};
use crate::io::Stream;
use crate::liveness::Liveness;

/// What a stream may have on its way to us, bytes (HTTP/2 SETTINGS_INITIAL_WINDOW_SIZE).
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// What a connection may have on its way to us, bytes; a multiple of the streams' so that one that nobody reads does
/// not hold up its neighbours.
pub(crate) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The largest head taken from an endpoint, bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// Streams that may be reset for an error of their own before the connection is given up (CVE-2023-44487's kin).
const MAX_LOCAL_RESETS: usize = 1024;

/// Stands for the number of streams of an endpoint that has not said one; it cannot be said, since SETTINGS have 32 bits.
const UNTOLD: usize = usize::MAX - 1;

async fn dial(address: SocketAddr, timeout: Duration) -> Result<Stream, Error> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Err(_) => Err(Error::new(Reason::ConnectionTimeout)
            .because(format_args!("no connection to {address} within {} ms", timeout.as_millis()))),
        Ok(Err(error)) => Err(refused(address, &error)),
        Ok(Ok(tcp)) => {
            // Heads are small and waited for; a failure here only costs speed.
            let _ = tcp.set_nodelay(true);
            Ok(Stream::upstream(tcp))
        }
    }
}

fn refused(address: SocketAddr, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::TimedOut => Reason::ConnectionTimeout,
        _ => Reason::ConnectionRefused,
    };
    Error::new(reason).because(format_args!("connecting to {address}: {error}"))
}

/// Finds out whether a connection is to be had, and lets it go.
pub async fn tcp(address: SocketAddr, timeout: Duration) -> Result<(), Error> {
    dial(address, timeout).await.map(drop)
}

/// Makes an HTTP/1.1 connection; `permit` is dropped when it closes.
pub async fn h1<P: Send + 'static>(address: SocketAddr, timeout: Duration, permit: P) -> Result<H1, Error> {
    let io = dial(address, timeout).await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| Error::new(Reason::ConnectionTerminated).because(error))?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
        drop(permit);
    });
    Ok(H1::new(sender))
}

/// Makes an HTTP/2 connection with prior knowledge; `permit` is dropped when it closes. It is made once the endpoint's
/// SETTINGS are here (RFC 9113, 3.4): a listener that closes with the connection still in its queue, or a peer that
/// speaks something else, fails before anything was asked of it.
pub async fn h2<P: Send + 'static>(address: SocketAddr, timeout: Duration, permit: P) -> Result<H2, Error> {
    let began = Instant::now();
    let io = dial(address, timeout).await?;
    let opened = async {
        let (sender, mut connection) = builder().handshake::<_, Bytes>(io).await?;
        let told = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(Err(::h2::Reason::NO_ERROR.into())),
            Poll::Pending if connection.max_concurrent_send_streams() != UNTOLD => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        });
        told.await?;
        Ok::<_, ::h2::Error>((sender, connection))
    };
    let (sender, connection) = match tokio::time::timeout_at(began + timeout, opened).await {
        Err(_) => return Err(Error::new(Reason::ConnectionTimeout).because(format_args!("{address} speaks no HTTP/2"))),
        Ok(Err(error)) => {
            return Err(Error::new(Reason::ConnectionTerminated)
                .because(format_args!("{address} ended the connection before its HTTP/2 began: {error}")));
        }
        Ok(Ok(opened)) => opened,
    };
    let vitals = Arc::new(Vitals::default());
    vitals.allowed.store(connection.max_concurrent_send_streams(), Ordering::Relaxed);
    tokio::spawn(drive(connection, Arc::clone(&vitals), permit));
    Ok(H2::new(sender, vitals))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .initial_max_send_streams(UNTOLD)
        .enable_push(false);
    builder
}

/// Drives a connection until it is over: closed by either side, or silent for too long while streams wait for it.
async fn drive<P>(mut connection: Connection<Stream, Bytes>, vitals: Arc<Vitals>, permit: P) {
    let mut watch = connection.ping_pong().map(Liveness::new);
    let _ = poll_fn(|cx| {
        let waits = || vitals.streams.load(Ordering::Relaxed) > 0;
        if watch.as_mut().is_some_and(|watch| watch.is_dead(cx, waits)) {
            return Poll::Ready(Ok(()));
        }
        let over = Pin::new(&mut connection).poll(cx);
        vitals.allowed.store(connection.max_concurrent_send_streams(), Ordering::Relaxed);
        over
    })
    .await;
    vitals.closed.store(true, Ordering::Relaxed);
    drop(permit);
}
