//! A body that was partly sent on a stream the peer then refused: what was taken comes first, then the rest, live.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, Broken};

/// What was taken of a body, and the rest of it.
#[derive(Debug)]
pub struct Resumed {
    taken: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Body,
}

impl Resumed {
    pub(super) fn new(taken: VecDeque<Bytes>, trailers: Option<HeaderMap>, rest: Body) -> Self {
        Resumed { taken, trailers, rest }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(data) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let taken = self.taken.iter().map(|data| data.len() as u64).sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + taken);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + taken);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::Body;

    #[tokio::test]
    async fn what_was_taken_comes_before_the_rest() {
        let body = Body::resumed([Bytes::from("a"), Bytes::from("b")].into(), None, Body::full("c"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "abc");
    }

    #[tokio::test]
    async fn trailers_come_again_too() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
        let body = Body::resumed([Bytes::from("a")].into(), Some(trailers.clone()), Body::empty());
        assert!(!body.is_end_stream());
        let whole = body.collect().await.expect("whole");
        assert_eq!(whole.trailers(), Some(&trailers));
    }
}
