//! How long until the next attempt: random below a growing bound, or as the answer asks.
//!
//! An answer that says when to come back is never asked sooner: not at all if that is beyond the policy's bound. Envoy
//! then falls back to its own, shorter waits. gRPC's pushback counts before any other field, and means exactly what it says
//! (gRFC A6); the rest is spread over half as long again, as Envoy has it, so that not everyone comes back at once.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use outrigger_config::policy::{Backoff, ResetFormat, ResetHeader, RetryAfter};

/// gRPC's field: milliseconds; negative or unreadable: never.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What an answer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// To wait exactly so long.
    Exactly(Duration),
    /// To wait at least so long.
    AtLeast(Duration),
    /// Not to try again.
    Never,
}

/// What the fields of an answer, or its trailers, ask for.
pub(super) fn asked(fields: &HeaderMap, policy: &RetryAfter, now: SystemTime) -> Asked {
    if let Some(value) = fields.get(PUSHBACK) {
        let millis = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
        return match millis.map(Duration::from_millis).filter(|wait| *wait <= policy.max) {
            Some(wait) => Asked::Exactly(wait),
            None => Asked::Never,
        };
    }
    match policy.headers.iter().find_map(|header| read(fields, header, now)) {
        None | Some(Duration::ZERO) => Asked::Nothing,
        Some(wait) if wait > policy.max => Asked::Never,
        Some(wait) => Asked::AtLeast(wait),
    }
}

fn read(fields: &HeaderMap, header: &ResetHeader, now: SystemTime) -> Option<Duration> {
    let text = fields.get(&*header.name)?.to_str().ok()?.trim();
    // Ten digits: no sum of it with a time overflows.
    let number = Some(text)
        .filter(|text| text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok())
        .map(Duration::from_secs);
    let until = |time: SystemTime| time.duration_since(now).unwrap_or_default();
    match header.format {
        ResetFormat::Seconds => number.or_else(|| httpdate::parse_http_date(text).ok().map(until)),
        ResetFormat::UnixTimestamp => number.map(|since| until(SystemTime::UNIX_EPOCH + since)),
    }
}

/// The wait before attempt `attempt`, from 1; none if it must not be.
pub(super) fn before(attempt: u32, asked: Asked, backoff: Backoff, rng: &mut fastrand::Rng) -> Option<Duration> {
    match asked {
        Asked::Never => None,
        Asked::Exactly(wait) => Some(wait),
        Asked::AtLeast(wait) => Some(wait.mul_f64(1.0 + rng.f64() / 2.0)),
        // A uniform time below min((2^N - 1) x base, max).
        Asked::Nothing => {
            let factor = 2_u32.saturating_pow(attempt.min(16)) - 1;
            Some(backoff.base.saturating_mul(factor).min(backoff.max).mul_f64(rng.f64()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderMap, HeaderName, HeaderValue};
    use outrigger_config::policy::{Backoff, ResetFormat, ResetHeader, RetryAfter};
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{Asked, asked, before};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
    }

    fn of(name: &'static str, value: &str) -> Asked {
        let reset = ResetHeader { name: "x-ratelimit-reset".into(), format: ResetFormat::UnixTimestamp };
        let mut policy = RetryAfter::default();
        policy.headers.push(reset);
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        asked(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]), &policy, now())
    }

    #[test]
    fn waits_grow_to_their_bound_and_are_random_below_it() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (attempt, bound) in [(1, 25), (2, 75), (3, 175), (4, 250), (40, 250)] {
            let mut wait = || before(attempt, Asked::Nothing, Backoff::default(), &mut rng).expect("a wait");
            let longest = (0..500).map(|_| wait()).max().expect("some");
            assert!(longest < Duration::from_millis(bound), "{attempt}: {longest:?}");
            assert!(longest > Duration::from_millis(bound).mul_f64(0.9), "{attempt}: {longest:?}");
        }
    }

    #[test]
    fn an_answer_says_when() {
        let seconds = |number| Asked::AtLeast(Duration::from_secs(number));
        for (name, value, expected) in [
            ("retry-after", "2", seconds(2)),
            ("retry-after", " 5 ", seconds(5)),
            ("retry-after", "6", Asked::Never),
            ("retry-after", "0", Asked::Nothing),
            ("retry-after", "-1", Asked::Nothing),
            ("retry-after", "1.5", Asked::Nothing),
            ("retry-after", "soon", Asked::Nothing),
            ("retry-after", "99999999999999999999999", Asked::Nothing),
            ("retry-after", "Thu, 01 Jan 2026 00:00:03 GMT", seconds(3)),
            ("retry-after", "Thu, 01 Jan 2026 01:00:00 GMT", Asked::Never),
            ("retry-after", "Wed, 31 Dec 2025 23:00:00 GMT", Asked::Nothing),
            ("x-ratelimit-reset", "1767225604", seconds(4)),
            ("x-ratelimit-reset", "1767225000", Asked::Nothing),
            ("x-ratelimit-reset", "1767229200", Asked::Never),
            ("grpc-retry-pushback-ms", "250", Asked::Exactly(Duration::from_millis(250))),
            ("grpc-retry-pushback-ms", "0", Asked::Exactly(Duration::ZERO)),
            ("grpc-retry-pushback-ms", "-1", Asked::Never),
            ("grpc-retry-pushback-ms", "x", Asked::Never),
            ("grpc-retry-pushback-ms", "5001", Asked::Never),
        ] {
            assert_eq!(of(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn nobody_is_listened_to_where_the_policy_says_so() {
        let fields = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("2"))]);
        assert_eq!(asked(&fields, &RetryAfter::nobody(), now()), Asked::Nothing);
    }

    proptest! {
        #[test]
        fn whoever_is_asked_to_wait_does(seconds in 1_u64..300, attempt in 1_u32..20, seed in any::<u64>()) {
            let asked = Duration::from_secs(seconds);
            let mut rng = fastrand::Rng::with_seed(seed);
            let wait = before(attempt, Asked::AtLeast(asked), Backoff::default(), &mut rng).expect("a wait");
            prop_assert!(wait >= asked && wait <= asked * 3 / 2);
        }

        #[test]
        fn whatever_an_answer_says_it_is_read_without_harm(value in "[ -~]{0,40}") {
            for name in ["retry-after", "x-ratelimit-reset", "grpc-retry-pushback-ms"] {
                let wait = match of(name, &value) {
                    Asked::Exactly(wait) | Asked::AtLeast(wait) => wait,
                    Asked::Nothing | Asked::Never => Duration::ZERO,
                };
                prop_assert!(wait <= RetryAfter::default().max);
            }
        }
    }
}
