//! An HTTP/1 connection, awake or parked.
//!
//! hyper keeps about 20 KiB for a connection as long as it drives it. A keep-alive connection is idle nearly all its
//! life, so one that rests is parked: hyper gives the socket back, only the socket is watched, and the next byte wakes
//! a fresh driver. Parking is done only where nothing of an earlier message can still be on its way in either
//! direction ([`Side::rests`]), or the next request would be read out of the rest of the last one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Handler;
use crate::io::{Side, Stream};
use crate::pool::connect::MAX_HEAD;

/// How often a connection is looked at: one that saw no request from one look to the next is parked.
const LOOK: Duration = Duration::from_millis(400);

/// Looks that a caller may take for the head of a request, once it has begun it: 10 s.
const HEAD_LOOKS: u32 = 25;

/// Why a driver stopped.
enum Stop {
    /// The connection is over.
    Over,
    /// It rests.
    Rests,
}

pub(super) async fn serve(tcp: TcpStream, ahead: Bytes, side: Arc<Side>, handler: Handler) {
    let drain = handler.connection.drain.clone();
    let mut stream = Stream::downstream(tcp, ahead, Some(Arc::clone(&side)));
    loop {
        let Some(rested) = drive(stream, &side, &handler).await else { return };
        stream = rested;
        tokio::select! {
            readable = stream.readable() => if readable.is_err() { return },
            () = drain.draining() => return,
        }
    }
}

/// Drives the connection until it is over, or rests and gives its stream back.
async fn drive(stream: Stream, side: &Arc<Side>, handler: &Handler) -> Option<Stream> {
    let drain = &handler.connection.drain;
    let http = http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), handler.clone());
    let mut http = Box::pin(http.with_upgrades());
    let (mut draining, mut closing) = (pin!(drain.draining()), pin!(drain.closing()));
    let mut look = pin!(tokio::time::sleep(LOOK));
    let (mut told, mut seen, mut head_looks) = (false, side.requests(), 0);
    let stop = poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            http.as_mut().graceful_shutdown();
        }
        if http.as_mut().poll(cx).is_ready() || (told && closing.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Stop::Over);
        }
        while look.as_mut().poll(cx).is_ready() {
            look.as_mut().reset(tokio::time::Instant::now() + LOOK);
            let active = std::mem::replace(&mut seen, side.requests()) != side.requests();
            head_looks = if side.waits_for_head() && !active { head_looks + 1 } else { 0 };
            if head_looks > HEAD_LOOKS {
                return Poll::Ready(Stop::Over);
            }
            if !active && !told && side.rests() {
                return Poll::Ready(Stop::Rests);
            }
        }
        Poll::Pending
    })
    .await;
    match stop {
        Stop::Over => None,
        Stop::Rests => {
            let parts = std::pin::Pin::into_inner(http).into_parts()?;
            Some(parts.io.into_inner().with_ahead(parts.read_buf))
        }
    }
}
