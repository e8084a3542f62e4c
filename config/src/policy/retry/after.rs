//! How long an answer asks to be left alone: `Retry-After` and its like (RFC 9110, 10.2.3; xDS
//! `rate_limited_retry_back_off`; `grpc-retry-pushback-ms` of gRFC A6 has the same bound).

use std::sync::Arc;
use std::time::Duration;

use crate::error::Problem;

/// The longest that an answer may be waited for.
const LONGEST: Duration = Duration::from_secs(300);

/// How a [`ResetHeader`] says the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetFormat {
    /// Seconds from now, or an HTTP date.
    #[default]
    Seconds,
    /// The time itself, in seconds since 1970.
    UnixTimestamp,
}

/// A field of an answer that says when another attempt makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// The field's name, lower case.
    pub name: Arc<str>,
    /// How it says it.
    pub format: ResetFormat,
}

/// Which fields are listened to, and how long a wait they may ask for. Whoever asks for longer is not tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// The fields, the first that is there and reads well counts; none: nobody is listened to.
    pub headers: Vec<ResetHeader>,
    /// The longest wait that is worth it.
    pub max: Duration,
}

impl Default for RetryAfter {
    /// `Retry-After`, up to 5 seconds.
    fn default() -> Self {
        let header = ResetHeader { name: "retry-after".into(), format: ResetFormat::Seconds };
        RetryAfter { headers: vec![header], max: Duration::from_secs(5) }
    }
}

impl RetryAfter {
    /// Nobody is listened to: what xDS means where it says nothing.
    pub fn nobody() -> Self {
        RetryAfter { headers: Vec::new(), ..RetryAfter::default() }
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if self.max.is_zero() || self.max > LONGEST {
            let max = crate::value::format_duration(self.max);
            return Err(Problem::invalid(max, "must be between 1ms and 5m").at_field("max"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetryAfter;

    #[test]
    fn a_bound_is_longer_than_zero_and_within_reason() {
        for (millis, holds) in [(0, false), (1, true), (300_000, true), (300_001, false)] {
            let after = RetryAfter { max: Duration::from_millis(millis), ..RetryAfter::default() };
            assert_eq!(after.check().is_ok(), holds, "{millis}");
        }
    }
}
