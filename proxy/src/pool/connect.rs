//! Making a connection: dial one address within its time, and start the protocol on it.
//!
//! The connection runs as a task of the worker that made it, and carries whatever counts against the destination's
//! limit on connections until it closes.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{H1, H2};
use crate::error::{Error, Reason};
use crate::io::Stream;

/// What a stream may have on its way to us, bytes (HTTP/2 SETTINGS_INITIAL_WINDOW_SIZE).
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// What a connection may have on its way to us, bytes; a multiple of the streams' so that one that nobody reads does
/// not hold up its neighbours.
pub(crate) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The largest head taken from an endpoint, bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

async fn dial(address: SocketAddr, timeout: Duration) -> Result<TokioIo<Stream>, Error> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Err(_) => Err(Error::new(Reason::ConnectionTimeout)
            .because(format_args!("no connection to {address} within {} ms", timeout.as_millis()))),
        Ok(Err(error)) => Err(refused(address, &error)),
        Ok(Ok(tcp)) => {
            // Heads are small and waited for; a failure here only costs speed.
            let _ = tcp.set_nodelay(true);
            Ok(TokioIo::new(Stream::upstream(tcp)))
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

/// Makes an HTTP/1.1 connection; `permit` is dropped when it closes.
pub async fn h1<P: Send + 'static>(address: SocketAddr, timeout: Duration, permit: P) -> Result<H1, Error> {
    let io = dial(address, timeout).await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(io)
        .await
        .map_err(|error| Error::new(Reason::ConnectionTerminated).because(error))?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
        drop(permit);
    });
    Ok(H1::new(sender))
}

/// Makes an HTTP/2 connection with prior knowledge; `permit` is dropped when it closes.
pub async fn h2<P: Send + 'static>(address: SocketAddr, timeout: Duration, permit: P) -> Result<H2, Error> {
    let io = dial(address, timeout).await?;
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        // A dead peer is noticed within 30 s even while streams wait for it.
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(io);
    let (sender, connection) = match tokio::time::timeout(timeout, handshake).await {
        Err(_) => return Err(Error::new(Reason::ConnectionTimeout).because(format_args!("{address} speaks no HTTP/2"))),
        Ok(Err(error)) => return Err(Error::new(Reason::ConnectionTerminated).because(error)),
        Ok(Ok(made)) => made,
    };
    let allowed = H2::initially_allowed();
    let follow = Arc::clone(&allowed);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let _ = poll_fn(|cx| {
            let done = connection.as_mut().poll(cx);
            follow.store(connection.current_max_send_streams(), Ordering::Relaxed);
            done
        })
        .await;
        drop(permit);
    });
    Ok(H2::new(sender, allowed))
}
