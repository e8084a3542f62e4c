//! Local rate limits: token buckets of this proxy, shared by all its workers.
//!
//! A [`Bucket`] is one governor cell: a compare-and-swap a request, no lock. It admits at most `burst` at once and then
//! one each `interval / requests`, never more than rate x time + burst. A [`Limiter`] is the rules of one policy in
//! order; a request takes a token of each rule it matches, until one has none left. What was refused takes nothing of
//! the rules behind. Buckets outlive configurations (`snapshot`): changing a route does not refill them.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use outrigger_config::policy::{Mode, RateLimit, RateLimitRule};

use super::matcher::{Facts, Matcher};
use crate::clock::Ticks;

/// The longest time a full bucket may span: beyond it governor's 64-bit nanoseconds would overflow.
const LONGEST: u64 = u64::MAX / 4;

/// The tokens of one rule.
pub struct Bucket<C: Clock = Ticks> {
    cell: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rule: &RateLimitRule) -> Self {
        Bucket::with_clock(rule, Ticks)
    }
}

impl<C: Clock> Bucket<C> {
    /// A full bucket that tells time by `clock`.
    pub fn with_clock(rule: &RateLimitRule, clock: C) -> Self {
        let interval = u64::try_from(rule.interval.as_nanos()).unwrap_or(LONGEST);
        // Rounded up, so that rounding never admits more than was allowed.
        let period = interval.div_ceil(u64::from(rule.requests.max(1))).max(1);
        let burst = u32::try_from(LONGEST / period).unwrap_or(u32::MAX).min(rule.burst);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        // The period is at least a nanosecond, so there is always a quota.
        let quota = Quota::with_period(Duration::from_nanos(period)).unwrap_or_else(|| Quota::per_second(burst));
        Bucket { cell: RateLimiter::direct_with_clock(quota.allow_burst(burst), clock) }
    }

    /// Takes a token; without one, says when the next will be there.
    pub fn take(&self) -> Result<(), Duration> {
        self.cell.check().map_err(|refusal| refusal.wait_time_from(self.cell.clock().now()))
    }
}

impl<C: Clock> fmt::Debug for Bucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

/// What a limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Go on.
    Allowed,
    /// Refuse.
    Limited {
        /// The rule whose bucket is empty.
        rule: &'a Arc<str>,
        /// When it has a token again.
        retry_after: Duration,
    },
    /// Go on; were the policy enforced, it would refuse.
    WouldLimit {
        /// The rule whose bucket is empty.
        rule: &'a Arc<str>,
        /// When it has a token again.
        retry_after: Duration,
    },
}

/// The rules of one policy with their buckets.
#[derive(Debug)]
pub struct Limiter<C: Clock = Ticks> {
    mode: Mode,
    rules: Box<[Rule<C>]>,
}

#[derive(Debug)]
struct Rule<C: Clock> {
    name: Arc<str>,
    /// Any is enough; none counts every request.
    matches: Box<[Matcher]>,
    bucket: Arc<Bucket<C>>,
}

impl<C: Clock> Limiter<C> {
    /// The rules of `policy`; `bucket` gives each its bucket, an old one where it goes on.
    pub fn new(policy: &RateLimit, mut bucket: impl FnMut(&RateLimitRule) -> Arc<Bucket<C>>) -> Self {
        let rule = |rule: &RateLimitRule| Rule {
            name: Arc::clone(&rule.name),
            matches: rule.matches.iter().map(Matcher::new).collect(),
            bucket: bucket(rule),
        };
        Limiter { mode: policy.mode, rules: policy.rules.iter().map(rule).collect() }
    }

    /// Takes a token of each rule that counts the request.
    pub fn check(&self, facts: &Facts<'_>) -> Verdict<'_> {
        for rule in self.rules.iter().filter(|rule| rule.counts(facts)) {
            if let Err(retry_after) = rule.bucket.take() {
                let rule = &rule.name;
                return match self.mode {
                    Mode::Enforce => Verdict::Limited { rule, retry_after },
                    Mode::Observe => Verdict::WouldLimit { rule, retry_after },
                };
            }
        }
        Verdict::Allowed
    }
}

impl<C: Clock> Rule<C> {
    fn counts(&self, facts: &Facts<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|one| one.matches(facts))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use http::{HeaderMap, Method};
    use outrigger_config::matching::{PathMatch, RouteMatch};
    use outrigger_config::policy::{Mode, Origin, RateLimit, RateLimitRule};
    use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

    use super::{Bucket, Limiter, Verdict};
    use crate::route::Facts;

    fn rule(requests: u32, interval: Duration, burst: u32) -> RateLimitRule {
        RateLimitRule { name: "all".into(), matches: Vec::new(), requests, interval, burst }
    }

    fn under(prefix: &str) -> RouteMatch {
        RouteMatch { path: PathMatch::Prefix(prefix.into()), ..RouteMatch::any() }
    }

    fn limiter(mode: Mode, rules: Vec<RateLimitRule>, clock: &FakeRelativeClock) -> Limiter<FakeRelativeClock> {
        let policy = RateLimit { origin: Origin::default(), mode, rules, status: 429, headers: Vec::new() };
        Limiter::new(&policy, |rule| Arc::new(Bucket::with_clock(rule, clock.clone())))
    }

    fn check<'a>(limiter: &'a Limiter<FakeRelativeClock>, path: &str) -> Verdict<'a> {
        let (method, headers) = (Method::GET, HeaderMap::new());
        limiter.check(&Facts { authority: "", path, query: None, method: &method, headers: &headers, grpc: false })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(Mode::Enforce, vec![rule(10, Duration::from_secs(1), 3)], &clock);
        let allowed = || (0..20).filter(|_| check(&limiter, "/") == Verdict::Allowed).count();
        assert_eq!(allowed(), 3);
        clock.advance(Duration::from_millis(100));
        assert_eq!(allowed(), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(allowed(), 3);
        let name: Arc<str> = "all".into();
        let retry_after = Duration::from_millis(100);
        assert_eq!(check(&limiter, "/"), Verdict::Limited { rule: &name, retry_after });
    }

    #[test]
    fn an_observed_limit_counts_the_same_and_says_so() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(Mode::Observe, vec![rule(1, Duration::from_secs(60), 1)], &clock);
        assert_eq!(check(&limiter, "/"), Verdict::Allowed);
        assert!(matches!(check(&limiter, "/"), Verdict::WouldLimit { .. }));
    }

    #[test]
    fn a_refused_request_takes_nothing_of_the_rules_behind() {
        let clock = FakeRelativeClock::default();
        let minute = Duration::from_secs(60);
        let strict = RateLimitRule { matches: vec![under("/admin"), under("/root")], ..rule(1, minute, 1) };
        let limiter = limiter(Mode::Enforce, vec![strict, rule(3, minute, 3)], &clock);
        assert_eq!(check(&limiter, "/admin"), Verdict::Allowed);
        (0..10).for_each(|_| assert!(matches!(check(&limiter, "/root"), Verdict::Limited { .. })));
        assert_eq!((0..10).filter(|_| check(&limiter, "/shop") == Verdict::Allowed).count(), 2);
    }

    #[test]
    fn the_largest_numbers_are_no_trouble() {
        for (requests, interval, burst) in
            [(1, Duration::from_secs(86_400), u32::MAX), (u32::MAX, Duration::from_millis(1), u32::MAX)]
        {
            let bucket = Bucket::new(&rule(requests, interval, burst));
            assert!((0..1000).all(|_| bucket.take().is_ok()));
        }
    }

    #[test]
    fn threads_share_one_bucket() {
        let bucket = Bucket::with_clock(&rule(1, Duration::from_secs(60), 1000), FakeRelativeClock::default());
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..1000).for_each(|_| {
                        taken.fetch_add(u32::from(bucket.take().is_ok()), Ordering::Relaxed);
                    });
                });
            }
        });
        assert_eq!(taken.into_inner(), 1000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_more_than_rate_times_time_plus_burst(
            requests in 1_u32..1000,
            interval in 1_u64..10_000,
            burst in 1_u32..100,
            waits in prop::collection::vec((0_u64..2_000_000, 1_u32..50), 1..100),
        ) {
            let clock = FakeRelativeClock::default();
            let bucket = Bucket::with_clock(&rule(requests, Duration::from_millis(interval), burst), clock.clone());
            let (mut micros, mut admitted) = (0_u64, 0_u64);
            for (wait, wanted) in waits {
                clock.advance(Duration::from_micros(wait));
                micros += wait;
                admitted += (0..wanted).filter(|_| bucket.take().is_ok()).count() as u64;
                let most = u64::from(requests) * micros / (interval * 1000) + u64::from(burst);
                prop_assert!(admitted <= most, "{admitted} of {most}");
            }
            // And whoever waits as long as told is admitted.
            let _ = (0..=burst).filter(|_| bucket.take().is_ok()).count();
            if let Err(wait) = bucket.take() {
                clock.advance(wait);
                prop_assert_eq!(bucket.take(), Ok(()));
            }
        }
    }
}
