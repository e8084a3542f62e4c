//! Bounds what is read from Redis: the client keeps what it reads until an answer is whole, however long its other end
//! says that it is. So bytes are counted where they come in, from one whole answer to the next; when there are too many
//! the connection breaks, and with it goes all that it held.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is read before an answer is whole, bytes; those of all questions that are under way together.
pub const MAX_READ: usize = 8 * 1024 * 1024;

/// How many bytes came since the last whole answer. Cloning it shares it.
#[derive(Clone, Debug, Default)]
pub struct Read(Arc<AtomicUsize>);

impl Read {
    /// An answer is whole.
    pub fn whole(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A connection of which so much is read.
#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    read: Read,
}

impl<S> Bounded<S> {
    /// Counts in `read` what comes from `inner`.
    pub fn new(inner: S, read: Read) -> Self {
        Bounded { inner, read }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let more = buffer.filled().len() - before;
        let read = self.read.0.fetch_add(more, Relaxed).saturating_add(more);
        // Of a kind after which nothing more is read.
        let long = || io::Error::new(io::ErrorKind::ConnectionReset, "an answer is too long");
        Poll::Ready(if read <= MAX_READ { Ok(()) } else { Err(long()) })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
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
