//! A body that passes no faster than so many bytes a second, in small parts, as over a slow line.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Broken;
use super::inner::Inner;

/// Parts a second: what is allowed in between passes at once (Envoy's `StreamRateLimiter` fills as often).
const PARTS: u32 = 20;

/// A body at a rate.
pub(super) struct Throttled {
    inner: Inner,
    pace: Pace,
    /// What came and may not pass yet: nothing more is read until it has.
    held: Bytes,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// When the next part may pass.
#[derive(Debug)]
struct Pace {
    per_second: u64,
    /// When everything that passed would have passed at the rate; none before the first byte.
    paid_until: Option<Instant>,
}

impl Pace {
    /// How many of `wanted` bytes pass at `now`, at least one; or else when the next may. What a source or a receiver
    /// left unused is made up for, as far as a second's worth; the first part is a part's worth, however late it comes.
    fn take(&mut self, wanted: usize, now: Instant) -> Result<usize, Instant> {
        let part = Duration::from_secs(1) / PARTS;
        let paid_until = self.paid_until.unwrap_or(now);
        if paid_until > now {
            return Err(paid_until);
        }
        let unused = now.duration_since(paid_until).min(Duration::from_secs(1) - part);
        let allowed = (unused + part).as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        let taken = usize::try_from(allowed.max(1)).unwrap_or(usize::MAX).min(wanted);
        // Rounded up, so that no rounding adds up to more than the rate.
        let nanos = (taken as u128 * 1_000_000_000).div_ceil(u128::from(self.per_second));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_until = Some(now - unused + cost);
        Ok(taken)
    }
}

impl Throttled {
    /// `inner` at `per_second` bytes a second, at least one.
    pub(super) fn new(inner: Inner, per_second: u64) -> Self {
        let pace = Pace { per_second: per_second.max(1), paid_until: None };
        Throttled { inner, pace, held: Bytes::new(), sleep: None }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        while self.held.is_empty() {
            match ready!(self.inner.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.held = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        loop {
            match self.pace.take(self.held.len(), Instant::now()) {
                Ok(part) => return Poll::Ready(Some(Ok(Frame::data(self.held.split_to(part))))),
                Err(next) => {
                    let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
                    if sleep.deadline() != next {
                        sleep.as_mut().reset(next);
                    }
                    ready!(sleep.as_mut().poll(cx));
                }
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.inner.is_over()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let (held, inner) = (self.held.len() as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl fmt::Debug for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled").field("inner", &self.inner.kind()).field("pace", &self.pace).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body::Body as _;
    use http_body_util::BodyExt;
    use proptest::prelude::{prop_assert, proptest};
    use tokio::time::Instant;

    use super::super::Body;
    use super::{PARTS, Pace};

    proptest! {
        #[test]
        fn no_more_passes_than_the_rate_and_a_second_s_worth(
            per_second in 1_u64..1_000_000_000, steps in proptest::collection::vec((0_u64..3000, 1_usize..100_000), 1..200)
        ) {
            let (start, mut pace) = (Instant::now(), Pace { per_second, paid_until: None });
            let (mut now, mut passed) = (start, 0);
            for (millis, wanted) in steps {
                now += Duration::from_millis(millis);
                if let Ok(part) = pace.take(wanted, now) {
                    prop_assert!(part > 0 && part <= wanted);
                    passed += part as u64;
                }
                let most = (now.duration_since(start).as_secs_f64() + 1.0) * per_second as f64 + 1.0;
                prop_assert!(passed as f64 <= most, "{passed} of {most}");
            }
        }

        #[test]
        fn a_source_that_always_has_more_passes_at_the_rate(per_second in 1_u64..1_000_000_000) {
            let (start, mut pace) = (Instant::now(), Pace { per_second, paid_until: None });
            let (mut now, mut passed) = (start, 0);
            while now < start + Duration::from_secs(10) {
                match pace.take(usize::MAX, now) {
                    Ok(part) => passed += part as u64,
                    Err(next) => now = next,
                }
            }
            let (rate, whole) = (per_second as f64, passed as f64);
            let part = (rate / f64::from(PARTS)).max(1.0);
            // Each part's time is rounded to a nanosecond.
            let rounded = rate / 1e6 + 1.0;
            prop_assert!((whole - rate * 10.0 - part / 2.0).abs() <= part / 2.0 + rounded, "{whole} at {rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_its_time_and_comes_whole() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
        let body = Body::resumed([Bytes::from(vec![b'x'; 3000])].into(), Some(trailers), Body::empty());
        let (start, body) = (Instant::now(), body.throttled(1000));
        assert_eq!(body.size_hint().exact(), Some(3000));
        let whole = body.collect().await.expect("whole");
        assert!(whole.trailers().is_some());
        assert_eq!(whole.to_bytes().len(), 3000);
        // The first part passes at once, the last one a part's time before its end.
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(2900) && took <= Duration::from_millis(3100), "{took:?}");
    }

    #[tokio::test]
    async fn an_empty_body_is_not_held() {
        assert!(Body::empty().throttled(1).is_end_stream());
    }
}
