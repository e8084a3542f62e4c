//! A body that somebody takes a copy of while it passes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, Broken, End};

/// Someone who takes a copy of a body. It sees every frame before the receiver does, and is told of the end once; a
/// body with trailers ends for it with them.
pub trait Watcher: Send + Sync {
    /// Some data passes; false if nothing more is wanted.
    fn data(&mut self, data: &Bytes) -> bool;
    /// Trailers pass, and that was all: [`Watcher::end`] is not called.
    fn trailers(&mut self, _trailers: &HeaderMap) {}
    /// The body is over.
    fn end(self: Box<Self>, how: End);
}

/// A body and who takes a copy of it.
pub struct Watched {
    body: Body,
    watcher: Option<Box<dyn Watcher>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.body).finish()
    }
}

impl Watched {
    pub(super) fn new(body: Body, watcher: Box<dyn Watcher>) -> Self {
        Watched { body, watcher: Some(watcher) }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if !self.watcher.as_mut().is_none_or(|watcher| watcher.data(data)) {
                        self.watcher = None;
                    }
                } else if let Some(trailers) = frame.trailers_ref()
                    && let Some(mut watcher) = self.watcher.take()
                {
                    watcher.trailers(trailers);
                }
                // The receiver may not poll again once it can know that this was the last frame.
                if self.body.is_end_stream() {
                    self.end(End::Complete);
                }
            }
            Some(Err(broken)) => self.end(End::Failed(broken.0)),
            None => self.end(End::Complete),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, how: End) {
        if let Some(watcher) = self.watcher.take() {
            watcher.end(how);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::BodyExt;
    use parking_lot::Mutex;

    use super::{Body, End, Watcher};

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>, usize);

    impl Watcher for Notes {
        fn data(&mut self, data: &Bytes) -> bool {
            self.0.lock().push(String::from_utf8_lossy(data).into_owned());
            self.0.lock().len() != self.1
        }

        fn trailers(&mut self, _: &HeaderMap) {
            self.0.lock().push("trailers".into());
        }

        fn end(self: Box<Self>, how: End) {
            self.0.lock().push(format!("{how:?}"));
        }
    }

    fn source(trailers: Option<HeaderMap>) -> Body {
        Body::resumed([Bytes::from("a"), Bytes::from("b")].into(), trailers, Body::empty())
    }

    #[tokio::test]
    async fn a_copy_is_taken_to_the_end() {
        let notes = Notes::default();
        let body = Body::watched(source(None), Box::new(notes.clone()));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "ab");
        assert_eq!(*notes.0.lock(), ["a", "b", "Complete"]);
    }

    #[tokio::test]
    async fn who_wants_no_more_gets_none_and_the_receiver_gets_all() {
        let notes = Notes(Arc::default(), 1);
        let body = Body::watched(source(None), Box::new(notes.clone()));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "ab");
        assert_eq!(*notes.0.lock(), ["a"]);
    }

    #[tokio::test]
    async fn what_is_given_up_or_has_trailers_is_told_so() {
        let notes = Notes::default();
        let mut body = Body::watched(source(None), Box::new(notes.clone()));
        body.frame().await.expect("a frame").expect("data");
        drop(body);
        assert_eq!(*notes.0.lock(), ["a", "Dropped"]);
        let notes = Notes::default();
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
        let body = Body::watched(source(Some(trailers)), Box::new(notes.clone()));
        assert!(body.collect().await.expect("whole").trailers().is_some());
        assert_eq!(*notes.0.lock(), ["a", "b", "trailers"]);
    }
}
