//! `RateLimit` and `RateLimit-Policy`, as draft-ietf-httpapi-ratelimit-headers-10 has them: what a caller may do, and
//! what of it is left. Both are lists of structured fields (RFC 9651), an item for each rule, by its name.
//!
//! A rule of a bucket is said as its quota `q` in a window of `w` whole seconds, rounded so that it never promises more.
//! `r` requests are left, and there will be one more in `t` seconds.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use outrigger_config::policy::RateLimitRule;
use outrigger_config::policy::gcra::Level;

/// What is left.
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// What is allowed.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The two fields for some rules; none where a name cannot be said.
pub fn fields(rules: &[(&RateLimitRule, Level)]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let (mut left, mut policy) = (String::new(), String::new());
    for (rule, level) in rules {
        let comma = if left.is_empty() { "" } else { ", " };
        let (quota, window) = quota(rule);
        // Writing to a String cannot fail.
        let _ = write!(policy, "{comma}{};q={quota};w={window}", string(&rule.name));
        let _ = write!(left, "{comma}{};r={};t={}", string(&rule.name), level.left, whole_seconds(level.next));
    }
    let field = |name, text: String| Some((name, HeaderValue::from_str(&text).ok()?));
    [field(POLICY, policy), field(LEFT, left)].into_iter().flatten()
}

/// Whole seconds, rounded up: earlier would be refused.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// How many requests in how many whole seconds.
fn quota(rule: &RateLimitRule) -> (u128, u64) {
    let window = whole_seconds(rule.interval).max(1);
    let nanos = rule.interval.as_nanos().max(1);
    (u128::from(rule.requests) * u128::from(window) * 1_000_000_000 / nanos, window)
}

/// A string of a structured field.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            ' '..='~' => quoted.push(char),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::policy::gcra::Level;
    use outrigger_config::policy::rate_limit::Scope;
    use outrigger_config::policy::{Per, RateLimitRule};

    use super::fields;

    fn rule(name: &str, requests: u32, millis: u64) -> RateLimitRule {
        let (interval, max_keys) = (Duration::from_millis(millis), RateLimitRule::DEFAULT_KEYS);
        let (name, matches, burst) = (name.into(), Vec::new(), requests);
        RateLimitRule { name, matches, requests, interval, burst, per: Per::Total, max_keys, scope: Scope::Proxy }
    }

    #[test]
    fn a_caller_reads_what_it_may_do_and_what_is_left() {
        let (writes, all) = (rule("writes", 100, 60_000), rule("all", 5, 100));
        let level = |left, millis| Level { left, next: Duration::from_millis(millis) };
        let said: Vec<_> = fields(&[(&writes, level(0, 600)), (&all, level(4, 20))]).collect();
        assert_eq!(said[0].0, "ratelimit-policy");
        assert_eq!(said[0].1, "\"writes\";q=100;w=60, \"all\";q=50;w=1");
        assert_eq!(said[1].0, "ratelimit");
        assert_eq!(said[1].1, "\"writes\";r=0;t=1, \"all\";r=4;t=1");
    }

    #[test]
    fn a_window_of_parts_of_a_second_promises_no_more() {
        let slow = rule("a \"b\" é", 3, 1500);
        let said: Vec<_> = fields(&[(&slow, Level { left: 3, next: Duration::ZERO })]).collect();
        assert_eq!(said[0].1, "\"a \\\"b\\\" ?\";q=4;w=2");
        assert_eq!(said[1].1, "\"a \\\"b\\\" ?\";r=3;t=0");
    }
}
