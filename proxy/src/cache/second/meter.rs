//! Bounds what is read from Redis: never more than what was asked for may hold.
//!
//! The client keeps what it reads until an answer is whole, however long its other end says that it is. So bytes are
//! counted where they come in, from one answer to the next: when there are more than the answers under way can have, the
//! connection breaks, and with it goes all that it held.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest answer, bytes: an entry, and what is said beside it.
pub const MAX_ANSWER: usize = super::codec::MAX_ENTRY + 1024;

/// Questions under way at once on one connection; more are not asked.
pub const MAX_UNDER_WAY: usize = 256;

/// The most answers that may be held at once, be more under way.
const MAX_HELD: usize = 8;

/// What one connection is owed, and what came.
#[derive(Debug, Default)]
pub struct Meter {
    under_way: AtomicUsize,
    /// Since the last answer that was whole.
    read: AtomicUsize,
    exceeded: AtomicBool,
}

/// A question under way; its answer is over when this is dropped.
#[derive(Debug)]
pub struct Question(Arc<Meter>);

impl Meter {
    /// Counts a question; none where there are too many.
    pub fn question(self: &Arc<Self>) -> Option<Question> {
        let more = |count| (count < MAX_UNDER_WAY).then_some(count + 1);
        self.under_way.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Question(Arc::clone(self)))
    }

    /// Whether more came than was asked for, so that the connection broke on this side.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let read = self.read.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if read <= MAX_ANSWER * self.under_way.load(Relaxed).min(MAX_HELD) {
            return Ok(());
        }
        self.exceeded.store(true, Relaxed);
        // Of a kind after which nothing more is read.
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "more than what was asked for"))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.read.store(0, Relaxed);
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    /// Counts what comes from `inner`.
    pub fn new(inner: S, meter: Arc<Meter>) -> Self {
        Metered { inner, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        Poll::Ready(self.meter.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{MAX_ANSWER, MAX_HELD, MAX_UNDER_WAY, Meter, Metered};

    #[tokio::test]
    async fn not_more_comes_than_was_asked_for() {
        let meter = Arc::new(Meter::default());
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut near = Metered::new(near, Arc::clone(&meter));
        let sends = tokio::spawn(async move { while far.write_all(&[0; 1 << 12]).await.is_ok() {} });
        let mut buffer = vec![0; 1 << 12];
        let question = meter.question();
        let mut read = 0;
        let error = loop {
            match near.read(&mut buffer).await {
                Ok(count) => read += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(read <= MAX_ANSWER && read + buffer.len() > MAX_ANSWER, "{read}");
        drop(question);
        let error = near.read(&mut buffer).await.expect_err("nobody asked");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        sends.abort();
    }

    #[test]
    fn what_is_held_is_bounded_however_much_is_asked() {
        let meter = Arc::new(Meter::default());
        let asked: Vec<_> = (0..MAX_UNDER_WAY).map(|_| meter.question().expect("a place")).collect();
        assert!(meter.question().is_none());
        assert!(meter.take(MAX_HELD * MAX_ANSWER).is_ok() && meter.take(1).is_err());
        drop(asked);
        assert!(meter.question().is_some());
    }
}
