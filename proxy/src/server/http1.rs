//! An HTTP/1 connection, awake or parked.
//!
//! hyper keeps about 20 KiB for a connection as long as it drives it. A keep-alive connection is idle nearly all its
//! life, so one that rests is parked: hyper gives the socket back, only the socket is watched, and the next byte wakes
//! a fresh driver. What waits for that byte is kept small: whatever else a connection needs is made when it wakes. Where
//! the process runs short, parked connections are told to go, the longest parked first; a byte that has come wins.
//! Parking is done only where nothing of an earlier message can still be on its way in either
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

/// How soon a connection is looked at for the first time: one that saw no request from one look to the next is
/// parked, any other is looked at half as often from then on.
const FIRST_LOOK: Duration = Duration::from_millis(25);

/// The longest time between two looks.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// How long a caller may take for the head of a request, once it has begun it.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Why a driver stopped.
enum Stop {
    /// The connection is over.
    Over,
    /// It rests.
    Rests,
}

/// Serves one connection. No `async fn`, whose arguments would be held twice as long as the connection lives.
pub(super) fn serve(
    tcp: TcpStream,
    ahead: Bytes,
    side: Arc<Side>,
    handler: Handler,
) -> impl Future<Output = ()> + Send {
    let mut stream = Stream::downstream(tcp, ahead, Some(Arc::clone(&side)));
    async move {
        loop {
            // In a box of its own, which is not held while the connection rests.
            let Some(rested) = Box::pin(drive(stream, &side, &handler)).await else { return };
            stream = rested;
            let overload = &handler.connection.shared.overload;
            let goes = tokio::select! {
                biased;
                readable = stream.readable() => if readable.is_ok() { None } else { return },
                () = handler.connection.drain.draining() => Some(false),
                () = overload.dismissed() => Some(true),
            };
            if let Some(dismissed) = goes {
                if !stream.has_arrived() {
                    if dismissed {
                        overload.note_dismissed();
                    }
                    return;
                }
                // A request was faster. It is answered, and the answer says that it is the last.
                if stream.readable().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Drives the connection until it is over, or rests and gives its stream back.
async fn drive(stream: Stream, side: &Arc<Side>, handler: &Handler) -> Option<Stream> {
    let (drain, overload) = (&handler.connection.drain, &handler.connection.shared.overload);
    // Whether a caller is still there is watched by the stream, at less cost ([`Side::is_left`]).
    side.drive(true);
    let http = http1::Builder::new()
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), handler.clone());
    let mut http = Box::pin(http.with_upgrades());
    let (mut draining, mut closing) = (pin!(drain.draining()), pin!(drain.closing()));
    let mut pause = FIRST_LOOK;
    let mut look = pin!(tokio::time::sleep(pause));
    let (mut listening, mut told, mut stopping) = (false, false, false);
    let mut watching = false;
    let (mut seen, mut head_waits) = (side.requests(), Duration::ZERO);
    let stop = poll_fn(|cx| {
        // Listening once is enough: the task stays the same, and the scope wakes it.
        if !listening || (!told && drain.is_draining()) {
            listening = true;
            told = draining.as_mut().poll(cx).is_ready();
        }
        if http.as_mut().poll(cx).is_ready() || side.is_left() {
            return Poll::Ready(Stop::Over);
        }
        // Only now: what has come is read first, or a fresh driver would take the connection for one without a request.
        if told && !stopping {
            stopping = true;
            http.as_mut().graceful_shutdown();
            if http.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Stop::Over);
            }
        }
        if told && closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Stop::Over);
        }
        // Polled once the timer wakes this task whenever it fires; asking it on every turn would cost more.
        while !watching || look.is_elapsed() {
            watching = true;
            if look.as_mut().poll(cx).is_pending() {
                break;
            }
            watching = false;
            let active = std::mem::replace(&mut seen, side.requests()) != side.requests();
            head_waits = if side.waits_for_head() && !active { head_waits + pause } else { Duration::ZERO };
            if head_waits >= HEAD_PATIENCE {
                return Poll::Ready(Stop::Over);
            }
            pause = (pause * 2).min(LAST_LOOK);
            look.as_mut().reset(tokio::time::Instant::now() + pause);
            // Where places are short a connection comes to rest at once, to be among those that can be dismissed.
            if (!active || overload.closes()) && !told && side.rests() {
                return Poll::Ready(Stop::Rests);
            }
        }
        Poll::Pending
    })
    .await;
    side.drive(false);
    match stop {
        Stop::Over => None,
        Stop::Rests => {
            let parts = std::pin::Pin::into_inner(http).into_parts()?;
            Some(parts.io.into_inner().with_ahead(parts.read_buf))
        }
    }
}
