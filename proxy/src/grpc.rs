//! What gRPC says beside HTTP: what is a call, its statuses, how long it may take, and how it frames a message.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};

/// The field that says how long a call may take.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether a message is gRPC's: `application/grpc`, alone or with a `+` or `;` behind it.
pub fn is_grpc(fields: &HeaderMap) -> bool {
    let Some(value) = fields.get(header::CONTENT_TYPE) else { return false };
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Reads a `grpc-timeout`: up to eight digits and a unit. What is no such thing is none.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A `grpc-timeout`, as fine as eight digits have it, never longer than it is.
pub fn format_timeout(left: Duration) -> String {
    const MOST: u128 = 99_999_999;
    match (left.as_micros(), left.as_millis()) {
        (micros @ 0..=MOST, _) => format!("{micros}u"),
        (_, millis @ 0..=MOST) => format!("{millis}m"),
        _ => format!("{}S", left.as_secs().min(99_999_999)),
    }
}

/// A message as gRPC frames it: not compressed, and its length.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The gRPC status of an HTTP status (gRPC's `http-grpc-status-mapping`, as proxies have it for their own answers).
pub fn of_http(status: u16) -> u8 {
    match status {
        200..=299 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The HTTP status of a gRPC status (`google.rpc.Code`).
pub fn to_http(status: u8) -> u16 {
    const STATUSES: [u16; 17] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
    STATUSES.get(usize::from(status)).copied().unwrap_or(500)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{prop_assert, proptest};

    use super::{format_timeout, of_http, parse_timeout, to_http};

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, millis) in [("1S", Some(1000)), ("250m", Some(250)), ("1H", Some(3_600_000)), ("2000u", Some(2))] {
            assert_eq!(parse_timeout(text), millis.map(Duration::from_millis), "{text}");
        }
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789n", "1\u{fffd}"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_timeout_is_passed_on_no_longer_and_hardly_shorter(micros in 0_u64..40_000_000_000_000) {
            let left = Duration::from_micros(micros);
            let read = parse_timeout(&format_timeout(left)).expect("our own");
            prop_assert!(read <= left && left - read < Duration::from_secs(1));
        }
    }

    #[test]
    fn success_is_success_and_unavailable_is_unavailable() {
        for (http, grpc) in [(200, 0), (503, 14), (401, 16), (403, 7)] {
            assert_eq!((of_http(http), to_http(grpc)), (grpc, http));
        }
        assert_eq!((of_http(418), to_http(77)), (2, 500));
    }
}
