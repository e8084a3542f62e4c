//! The rate limits of a route: the rules of one policy in order. A request takes a token of each rule that counts it,
//! until one has none left. What was refused takes nothing of the rules behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::policy::gcra::Level;
use outrigger_config::policy::rate_limit::Scope;
use outrigger_config::policy::{Mode, RateLimit, RateLimitRule, Tell};

use super::bucket::{Bucket, Caller};
use super::matcher::{Facts, Matcher};

/// What a limiter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Go on.
    Allowed,
    /// Go on, and tell the caller what it has left of each rule that counted it.
    Told(Vec<(&'a RateLimitRule, Level)>),
    /// Refuse.
    Limited {
        /// The rule whose bucket is empty.
        rule: &'a RateLimitRule,
        /// When it has a token again.
        retry_after: Duration,
    },
    /// Go on; were the policy enforced, it would refuse.
    WouldLimit,
}

/// The rules of one policy with their buckets.
#[derive(Debug)]
pub struct Limiter {
    mode: Mode,
    tell: bool,
    rules: Box<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    config: RateLimitRule,
    /// Any is enough; none counts every request.
    matches: Box<[Matcher]>,
    bucket: Arc<Bucket>,
}

impl Limiter {
    /// The rules of `policy`; `bucket` gives each its bucket, an old one where it goes on.
    pub fn new(policy: &RateLimit, mut bucket: impl FnMut(&RateLimitRule) -> Arc<Bucket>) -> Self {
        let rule = |rule: &RateLimitRule| Rule {
            config: rule.clone(),
            matches: rule.matches.iter().map(Matcher::new).collect(),
            bucket: bucket(rule),
        };
        // One that is only rehearsed tells nobody.
        let tell = policy.tell == Tell::Always && policy.mode.enforces();
        let here = policy.rules.iter().filter(|rule| rule.scope != Scope::Global);
        Limiter { mode: policy.mode, tell, rules: here.map(rule).collect() }
    }

    /// Takes a token of each rule that counts the request. `facts` are asked for only where a rule looks at them.
    pub fn check<'r>(&self, facts: impl Fn() -> Facts<'r>, caller: &Caller<'_>, now: Instant) -> Verdict<'_> {
        let mut told = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.counts(&facts)) {
            match rule.bucket.take(caller, now) {
                Ok(level) if self.tell => told.push((&rule.config, level)),
                Ok(_) => {}
                Err(retry_after) => {
                    let rule = &rule.config;
                    return match self.mode {
                        Mode::Enforce => Verdict::Limited { rule, retry_after },
                        Mode::Observe => Verdict::WouldLimit,
                    };
                }
            }
        }
        if told.is_empty() { Verdict::Allowed } else { Verdict::Told(told) }
    }

    /// The rules with their buckets.
    pub fn buckets(&self) -> impl Iterator<Item = (&RateLimitRule, &Bucket)> {
        self.rules.iter().map(|rule| (&rule.config, &*rule.bucket))
    }
}

impl Rule {
    fn counts<'r>(&self, facts: impl Fn() -> Facts<'r>) -> bool {
        if self.matches.is_empty() {
            return true;
        }
        let facts = facts();
        self.matches.iter().any(|one| one.matches(&facts))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use http::{HeaderMap, Method};
    use outrigger_config::matching::{PathMatch, RouteMatch};
    use outrigger_config::policy::gcra::Level;
    use outrigger_config::policy::rate_limit::{GlobalLimit, OnError, Scope};
    use outrigger_config::policy::{Mode, Origin, Per, RateLimit, RateLimitRule, Tell};

    use super::{Limiter, Verdict};
    use crate::route::Facts;
    use crate::route::bucket::{Bucket, Caller};

    fn rule(requests: u32, interval: Duration, burst: u32) -> RateLimitRule {
        let max_keys = RateLimitRule::DEFAULT_KEYS;
        RateLimitRule {
            name: "all".into(),
            matches: Vec::new(),
            requests,
            interval,
            burst,
            per: Per::Total,
            max_keys,
            scope: Scope::Proxy,
        }
    }

    fn under(prefix: &str) -> RouteMatch {
        RouteMatch { path: PathMatch::Prefix(prefix.into()), ..RouteMatch::any() }
    }

    fn limiter(mode: Mode, tell: Tell, rules: Vec<RateLimitRule>, now: Instant) -> Limiter {
        let policy = RateLimit {
            origin: Origin::default(),
            mode,
            rules,
            status: 429,
            headers: Vec::new(),
            tell,
            global: GlobalLimit::default(),
        };
        Limiter::new(&policy, |rule| Arc::new(Bucket::new(rule, OnError::Allow, now, &mut fastrand::Rng::with_seed(1))))
    }

    fn check<'a>(limiter: &'a Limiter, path: &str, now: Instant) -> Verdict<'a> {
        let (method, headers) = (Method::GET, HeaderMap::new());
        let caller = Caller { headers: &headers, address: IpAddr::from([127, 0, 0, 1]), workload: None };
        let facts = Facts { authority: "", path, query: None, method: &method, headers: &headers, grpc: false };
        limiter.check(|| facts, &caller, now)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut now = Instant::now();
        let rule = rule(10, Duration::from_secs(1), 3);
        let limiter = limiter(Mode::Enforce, Tell::Limited, vec![rule.clone()], now);
        let allowed = |now| (0..20).filter(|_| check(&limiter, "/", now) == Verdict::Allowed).count();
        assert_eq!(allowed(now), 3);
        now += Duration::from_millis(100);
        assert_eq!(allowed(now), 1);
        now += Duration::from_secs(60);
        assert_eq!(allowed(now), 3);
        let retry_after = Duration::from_millis(100);
        assert_eq!(check(&limiter, "/", now), Verdict::Limited { rule: &rule, retry_after });
    }

    #[test]
    fn an_observed_limit_counts_the_same_and_says_so() {
        let now = Instant::now();
        let limiter = limiter(Mode::Observe, Tell::Always, vec![rule(1, Duration::from_secs(60), 1)], now);
        assert_eq!(check(&limiter, "/", now), Verdict::Allowed);
        assert_eq!(check(&limiter, "/", now), Verdict::WouldLimit);
    }

    #[test]
    fn a_refused_request_takes_nothing_of_the_rules_behind() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let strict = RateLimitRule { matches: vec![under("/admin"), under("/root")], ..rule(1, minute, 1) };
        let limiter = limiter(Mode::Enforce, Tell::Never, vec![strict, rule(3, minute, 3)], now);
        assert_eq!(check(&limiter, "/admin", now), Verdict::Allowed);
        (0..10).for_each(|_| assert!(matches!(check(&limiter, "/root", now), Verdict::Limited { .. })));
        assert_eq!((0..10).filter(|_| check(&limiter, "/shop", now) == Verdict::Allowed).count(), 2);
    }

    #[test]
    fn what_is_left_is_told_of_each_rule_that_counts() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let admin = RateLimitRule { name: "admin".into(), matches: vec![under("/admin")], ..rule(2, minute, 2) };
        let all = rule(60, minute, 9);
        let limiter = limiter(Mode::Enforce, Tell::Always, vec![admin.clone(), all.clone()], now);
        let level = |left, next| Level { left, next: Duration::from_secs(next) };
        assert_eq!(check(&limiter, "/shop", now), Verdict::Told(vec![(&all, level(8, 1))]));
        let both = Verdict::Told(vec![(&admin, level(1, 30)), (&all, level(7, 1))]);
        assert_eq!(check(&limiter, "/admin", now), both);
    }
}
