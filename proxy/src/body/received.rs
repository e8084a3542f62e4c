//! What comes in on an HTTP/2 stream: its data as it arrives, then its trailers (RFC 9113, 8.1).
//!
//! The peer may send more as soon as a frame is taken, so that what nobody reads is held back at its sender.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// The content of a message on an HTTP/2 stream.
#[derive(Debug)]
pub struct Received {
    stream: RecvStream,
    /// What is left of the announced length, bytes.
    left: Option<u64>,
    /// Only trailers can come.
    data_over: bool,
    upload: Option<Upload>,
}

/// The rest of a request, while its response comes in already. Whoever gives the response up early takes back the
/// request too; a response that ends first leaves the rest of the request a little time.
#[derive(Debug)]
pub struct Upload {
    task: AbortHandle,
    /// Dropped when the response is over.
    _response: oneshot::Sender<()>,
}

impl Upload {
    /// The task that sends the rest, and whom it asks whether the response is over.
    pub fn new(task: AbortHandle, response: oneshot::Sender<()>) -> Self {
        Upload { task, _response: response }
    }
}

impl Received {
    /// The content of the message with these fields.
    pub fn new(stream: RecvStream, fields: &HeaderMap) -> Self {
        let length = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Received { stream, left: length, data_over: false, upload: None }
    }

    /// Binds the rest of a request to its response.
    #[must_use]
    pub fn with_upload(mut self, upload: Upload) -> Self {
        self.upload = Some(upload);
        self
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.poll_next(cx)) {
            // A reset behind the end changes nothing of what came: the rest of the request is not wanted.
            Some(Err(_)) if self.stream.is_end_stream() => Poll::Ready(None),
            next => Poll::Ready(next),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload
            && !self.stream.is_end_stream()
        {
            upload.task.abort();
        }
    }
}
