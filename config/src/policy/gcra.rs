//! The generic cell rate algorithm: a token bucket in one number, the time at which it would be full again.
//!
//! A bucket holds `burst` tokens and gets one each `interval / requests`, so that it never gives more than
//! rate x time + burst. Times are nanoseconds since whatever the bucket's owner counts from.

use std::time::Duration;

use super::RateLimitRule;

/// The longest time a full bucket may span: beyond it sums of 64-bit nanoseconds would overflow.
const LONGEST: u64 = u64::MAX / 4;

/// How fast tokens come, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// From one token to the next.
    period: u64,
    /// How long an empty bucket takes to fill.
    span: u64,
}

/// What a bucket has left for whoever took of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whole tokens.
    pub left: u32,
    /// When there will be one more; zero where it is full.
    pub next: Duration,
}

impl Gcra {
    /// The gcra of a rule.
    pub fn new(rule: &RateLimitRule) -> Self {
        let interval = u64::try_from(rule.interval.as_nanos()).unwrap_or(LONGEST);
        // Rounded up, so that rounding never admits more than was allowed.
        let period = interval.div_ceil(u64::from(rule.requests.max(1))).clamp(1, LONGEST);
        let span = period.saturating_mul(u64::from(rule.burst.max(1)));
        Gcra { period, span: if span > LONGEST { LONGEST - LONGEST % period } else { span } }
    }

    /// Takes `hits` tokens at `now` of a bucket that would be full at `full`: when it will be from here on. Without so many
    /// it takes none, and says when there will be.
    pub fn take(&self, full: u64, hits: u32, now: u64) -> Result<u64, Duration> {
        let now = now.min(LONGEST);
        let filled = full.max(now).saturating_add(self.period.saturating_mul(u64::from(hits)));
        match filled.checked_sub(now.saturating_add(self.span)) {
            None | Some(0) => Ok(filled),
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }

    /// From one token to the next.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// How long an empty bucket takes to fill.
    pub fn span(&self) -> Duration {
        Duration::from_nanos(self.span)
    }

    /// What a bucket has at `now` that will be full at `full`.
    pub fn level(&self, full: u64, now: u64) -> Level {
        let missing = full.saturating_sub(now.min(LONGEST));
        let left = self.span.saturating_sub(missing) / self.period;
        let next = match missing {
            0 => 0,
            missing => (missing - 1) % self.period + 1,
        };
        Level { left: u32::try_from(left).unwrap_or(u32::MAX), next: Duration::from_nanos(next) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::policy::{Per, RateLimitRule, rate_limit::Scope};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::{Gcra, Level};

    fn rule(requests: u32, interval: Duration, burst: u32) -> RateLimitRule {
        let max_keys = RateLimitRule::DEFAULT_KEYS;
        let (name, matches, per, scope) = ("all".into(), Vec::new(), Per::Total, Scope::Proxy);
        RateLimitRule { name, matches, requests, interval, burst, per, max_keys, scope }
    }

    #[test]
    fn a_level_says_what_is_left_and_when_there_is_more() {
        let gcra = Gcra::new(&rule(10, Duration::from_secs(1), 3));
        let ms = |ms: u64| ms * 1_000_000;
        let level = |left, next| Level { left, next: Duration::from_millis(next) };
        assert_eq!(gcra.level(0, ms(5)), level(3, 0));
        let full = gcra.take(0, 1, ms(5)).expect("a token");
        assert_eq!((full, gcra.level(full, ms(5))), (ms(105), level(2, 100)));
        assert_eq!(gcra.level(full, ms(50)), level(2, 55));
        assert_eq!(gcra.level(ms(305), ms(5)), level(0, 100));
        assert_eq!(gcra.take(ms(305), 1, ms(5)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn the_largest_numbers_are_no_trouble() {
        for (requests, interval, burst) in
            [(1, Duration::from_secs(86_400), u32::MAX), (u32::MAX, Duration::from_millis(1), u32::MAX)]
        {
            let (gcra, mut full) = (Gcra::new(&rule(requests, interval, burst)), 0);
            for now in [0, 1, u64::MAX / 4, u64::MAX] {
                full = gcra.take(full, 1, now).expect("a token");
                assert!(gcra.level(full, now).left > 0);
            }
        }
    }

    proptest! {
        #[test]
        fn no_more_than_rate_times_time_plus_burst(
            requests in 1_u32..1000,
            interval in 1_u64..10_000,
            burst in 1_u32..100,
            waits in prop::collection::vec((0_u64..2_000_000_000, 1_u32..50), 1..100),
        ) {
            let gcra = Gcra::new(&rule(requests, Duration::from_millis(interval), burst));
            let (mut now, mut full, mut admitted) = (0_u64, 0_u64, 0_u64);
            for (wait, wanted) in waits {
                now += wait;
                for _ in 0..wanted {
                    let level = gcra.level(full, now);
                    let taken = gcra.take(full, 1, now);
                    prop_assert_eq!(taken.is_ok(), level.left > 0);
                    admitted += u64::from(taken.is_ok());
                    full = taken.unwrap_or(full);
                }
                let most = u128::from(requests) * u128::from(now) / (u128::from(interval) * 1_000_000);
                prop_assert!(u128::from(admitted) <= most + u128::from(burst), "{admitted} of {most}");
            }
            // And whoever waits as long as told is admitted, and not a nanosecond sooner.
            while let Ok(next) = gcra.take(full, 1, now) {
                full = next;
            }
            let wait = gcra.take(full, 1, now).map_or_else(|wait| wait.as_nanos() as u64, |_| 0);
            prop_assert!(gcra.take(full, 1, now + wait - 1).is_err());
            prop_assert!(gcra.take(full, 1, now + wait).is_ok());
        }
    }
}
