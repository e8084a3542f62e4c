//! Reading a body within bounds of size and time.
//!
//! A body that is too large is still read for a while, and thrown away, so that its sender gets to see the answer: one
//! that is cut off in the middle of writing sees only a broken connection.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// How long a sender may take over a body.
pub(crate) const DELIVERY: Duration = Duration::from_secs(10);

/// How many times its limit of a body that is too large is read.
const TOLERANCE: usize = 8;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBody {
    /// It is larger than the limit.
    TooLarge,
    /// It was not whole in time.
    TooSlow,
    /// The sender went away in the middle.
    Broken,
}

/// The whole body, of at most `limit` bytes. Cancelling it loses what was read.
pub(crate) async fn collect(body: Body, limit: usize) -> Result<Bytes, NoBody> {
    timeout(DELIVERY, read(body, limit)).await.map_err(|_| NoBody::TooSlow)?
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, NoBody> {
    let (mut whole, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| NoBody::Broken)?.into_data() else { continue };
        length += data.len();
        if length <= limit {
            whole.extend_from_slice(&data);
        } else {
            whole = BytesMut::new();
            if length > TOLERANCE * limit {
                break;
            }
        }
    }
    if length > limit { Err(NoBody::TooLarge) } else { Ok(whole.freeze()) }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use futures_util::stream;

    use super::{DELIVERY, NoBody, collect};

    fn body(chunks: &[&'static [u8]]) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from_static(chunk))).collect();
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit() {
        assert_eq!(collect(body(&[b"ab", b"c"]), 3).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(collect(body(&[b"ab", b"cd"]), 3).await, Err(NoBody::TooLarge));
        let endless = Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))));
        assert_eq!(collect(endless, 3).await, Err(NoBody::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_or_breaks_off_is_none() {
        let started = tokio::time::Instant::now();
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(collect(never, 3).await, Err(NoBody::TooSlow));
        assert_eq!(started.elapsed(), DELIVERY);
        let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
        assert_eq!(collect(broken, 3).await, Err(NoBody::Broken));
    }
}
