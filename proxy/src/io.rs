//! The one byte stream under every connection: a socket, the bytes that detection read ahead, and, on the caller's
//! side, a small window onto what passes ([`Side`]).
//!
//! hyper owns the stream while it speaks HTTP on it, and says less than a proxy must know: whether a half-read head is
//! waiting, whether a request named both framings (RFC 9112 6.3), and when a 1xx response may be put between two
//! responses. `Side` is how the connection's owner sees and does these.

mod scan;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use scan::HeadScan;
pub use scan::Hidden;

/// What is joined before it is sent, bytes.
const SMALL: usize = 4096;

/// How long a caller may read nothing of what is written to it.
const WRITE_PATIENCE: Duration = Duration::from_secs(300);

/// Interim responses that may wait on one connection, bytes.
const MAX_INTERIM: usize = 16 * 1024;

thread_local! {
    /// Where it is joined: one place for all connections of a worker.
    static JOINED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL));
}

/// A byte stream.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    ahead: Bytes,
    side: Option<Arc<Side>>,
    /// How long a write may wait for the other side to read; only callers are hurried.
    patience: Option<Duration>,
    stalled: Option<Pin<Box<Sleep>>>,
}

/// What the owner of a caller's HTTP/1 connection sees of it, beside hyper.
#[derive(Debug, Default)]
pub struct Side {
    /// Requests the service has taken since the connection began.
    requests: AtomicU32,
    /// Requests the service has taken and not answered in full.
    in_flight: AtomicU32,
    /// Request bodies that were not read to their end.
    bodies: AtomicU32,
    /// Bytes of a head came, and no request of them yet.
    head_started: AtomicBool,
    /// Everything that hyper wrote has left it.
    flushed: AtomicBool,
    /// hyper drives it: until then and after it the caller's bytes are somebody else's.
    driven: AtomicBool,
    /// The caller has sent the next request before the answer to this one: behind that nothing can be seen of it.
    hasty: AtomicBool,
    /// The caller has gone while its request was under way.
    left: AtomicBool,
    scan: Mutex<HeadScan>,
    /// An interim response that waits to be written.
    interim: Mutex<Bytes>,
    /// Who drives the connection.
    waker: AtomicWaker,
}

impl Stream {
    /// A connection made by this proxy.
    pub fn upstream(tcp: TcpStream) -> Self {
        Stream { tcp, ahead: Bytes::new(), side: None, patience: None, stalled: None }
    }

    /// A caller's connection; `ahead` was read from it already.
    pub fn downstream(tcp: TcpStream, ahead: Bytes, side: Option<Arc<Side>>) -> Self {
        if let Some(side) = &side {
            side.saw(&ahead);
        }
        Stream { tcp, ahead, side, patience: Some(WRITE_PATIENCE), stalled: None }
    }

    /// Puts bytes that were read and not used back in front.
    #[must_use]
    pub fn with_ahead(mut self, ahead: Bytes) -> Self {
        debug_assert!(self.ahead.is_empty(), "what was read ahead is read first");
        if let Some(side) = &self.side {
            side.saw(&ahead);
        }
        // Empty bytes still hold the buffer they were cut from.
        self.ahead = if ahead.is_empty() { Bytes::new() } else { ahead };
        self
    }

    /// Waits until there is something to read, be it the end. Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        if self.ahead.is_empty() { self.tcp.readable().await } else { Ok(()) }
    }

    /// Whether bytes have come that were not read, be it that no event has told of them yet. The end is none.
    pub fn has_arrived(&self) -> bool {
        let mut first = [std::mem::MaybeUninit::uninit()];
        !self.ahead.is_empty() || socket2::SockRef::from(&self.tcp).peek(&mut first).is_ok_and(|count| count > 0)
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(side) = &self.side else { return Poll::Ready(Ok(())) };
        let mut interim = side.interim.lock();
        while !interim.is_empty() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, &interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Cuts a connection whose caller reads nothing for too long: what is written to it would be held for ever.
    fn hurry(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (written, self.patience) {
            (Poll::Pending, Some(patience)) => {
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                ready!(stalled.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            (written, _) => {
                self.stalled = None;
                written
            }
        }
    }

    /// Looks whether the caller is still there while its request is under way. hyper would look by reading, for which it
    /// takes a buffer anew each time, since the request's head still holds the last one.
    fn watch(&self, cx: &mut Context<'_>) {
        let Some(side) = self.side.as_ref().filter(|side| self.ahead.is_empty() && side.is_watched()) else { return };
        side.waker.register(cx.waker());
        let mut byte = [0];
        match self.tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => {}
            Poll::Ready(Ok(1..)) => side.hasty.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(0) | Err(_)) => side.left.store(true, Ordering::Relaxed),
        }
    }

    fn wrote(&self) {
        if let Some(side) = &self.side {
            side.flushed.store(false, Ordering::Relaxed);
        }
    }
}

impl Side {
    /// The service takes a request; says what of its head hyper hides.
    pub fn begin(&self) -> Hidden {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_started.store(false, Ordering::Relaxed);
        self.hasty.store(false, Ordering::Relaxed);
        self.scan.lock().take()
    }

    /// hyper begins to drive the connection, or stops.
    pub fn drive(&self, driven: bool) {
        self.driven.store(driven, Ordering::Relaxed);
    }

    /// Whether nobody reads what the caller sends, who may have gone meanwhile.
    fn is_watched(&self) -> bool {
        self.driven.load(Ordering::Relaxed)
            && !self.is_idle()
            && self.bodies.load(Ordering::Relaxed) == 0
            && !self.hasty.load(Ordering::Relaxed)
    }

    /// Whether the caller has gone while its request was under way.
    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// The service has answered in full.
    pub fn finish(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request body begins to be read.
    pub fn body_begins(&self) {
        self.bodies.fetch_add(1, Ordering::Relaxed);
    }

    /// A request body was read to its end. One that never is keeps the connection from resting for good.
    pub fn body_ends(&self) {
        self.bodies.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests taken since the connection began.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether nothing is on its way in either direction: no request under way, none of whose body is left, none of
    /// whose head is here, and nothing of a response left to write.
    pub fn rests(&self) -> bool {
        self.is_idle()
            && self.requests() > 0
            && self.bodies.load(Ordering::Relaxed) == 0
            && !self.waits_for_head()
            && self.flushed.load(Ordering::Relaxed)
    }

    /// Whether a head has begun to come and is not whole.
    pub fn waits_for_head(&self) -> bool {
        self.head_started.load(Ordering::Relaxed)
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Puts an interim (1xx) response on the wire before the final one. Says no while hyper still holds bytes of an
    /// earlier response, since the two would mix; interim responses are optional.
    pub fn offer_interim(&self, bytes: &[u8]) -> bool {
        if !self.flushed.load(Ordering::Relaxed) {
            return false;
        }
        let mut interim = self.interim.lock();
        // A caller that reads nothing must not make them pile up.
        if interim.len() + bytes.len() > MAX_INTERIM {
            return false;
        }
        let mut joined = interim.to_vec();
        joined.extend_from_slice(bytes);
        *interim = joined.into();
        self.waker.wake();
        true
    }

    fn saw(&self, bytes: &[u8]) {
        // What comes while a body is still to be read may be that body, whatever else comes with it.
        if !bytes.is_empty() && self.is_idle() && self.bodies.load(Ordering::Relaxed) == 0 {
            self.head_started.store(true, Ordering::Relaxed);
            self.scan.lock().push(bytes);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.tcp).poll_read(cx, buf) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                if let Some(side) = &this.side {
                    side.waker.register(cx.waker());
                }
                return Poll::Pending;
            }
        }
        if let Some(side) = &this.side {
            side.saw(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.wrote();
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.hurry(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.wrote();
        // A small message goes out by one plain send: copying it is cheaper than what the kernel does for a vector.
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let tcp = Pin::new(&mut self.tcp);
        let written = match bufs {
            [one] => tcp.poll_write(cx, one),
            _ if total > SMALL => tcp.poll_write_vectored(cx, bufs),
            _ => JOINED.with_borrow_mut(|joined| {
                joined.clear();
                bufs.iter().for_each(|buf| joined.extend_from_slice(buf));
                tcp.poll_write(cx, joined)
            }),
        };
        self.hurry(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(side) = &self.side {
            side.flushed.store(true, Ordering::Relaxed);
        }
        ready!(self.poll_interim(cx))?;
        self.watch(cx);
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::AsyncWriteExt;

    use super::{Side, Stream};

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_nothing_is_cut() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (caller, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let (_caller, (tcp, _)) = (caller.expect("connects"), accepted.expect("accepts"));
        let mut stream = Stream::downstream(tcp, Bytes::new(), None);
        let error = loop {
            if let Err(error) = stream.write(&[0; 65536]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_has_come_is_seen_before_any_event_tells_of_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut caller = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (tcp, _) = listener.accept().expect("accepts");
        tcp.set_nonblocking(true).expect("can be told");
        let stream = Stream::downstream(tokio::net::TcpStream::from_std(tcp).expect("a socket"), Bytes::new(), None);
        assert!(!stream.has_arrived());
        std::io::Write::write_all(&mut caller, b"GET").expect("sends");
        assert!(stream.has_arrived());
        let mut taken = [0; 3];
        let mut stream = stream;
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut taken).await.expect("reads");
        drop(caller);
        stream.readable().await.expect("the end");
        assert!(!stream.has_arrived());
    }

    #[test]
    fn an_interim_response_waits_for_a_flushed_stream() {
        let side = Side::default();
        assert!(!side.offer_interim(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
    }
}
