//! Local rate limits: token buckets of one proxy, shared by all its workers
//! (xDS `extensions.filters.http.local_ratelimit.v3`). A request takes from each rule that counts it.

use std::sync::Arc;
use std::time::Duration;

use super::{Mode, Origin};
use crate::error::Problem;
use crate::matching::RouteMatch;
use crate::value::Percent;

/// The rules of one rate limit policy, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// The rules; each takes a token of its own bucket from every request it matches, all must allow.
    pub rules: Vec<RateLimitRule>,
    /// The status of a refusal, 400 to 599; 429 unless said otherwise. gRPC callers get RESOURCE_EXHAUSTED.
    pub status: u16,
    /// Header fields added to a refusal.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Which answers say how much is left.
    pub tell: Tell,
    /// What holds for its global rules.
    pub global: GlobalLimit,
}

/// Who counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Each proxy for itself.
    #[default]
    Proxy,
    /// The rate limit service, for all proxies together.
    Global,
    /// Each proxy its share of what the control plane divides among all.
    Leased,
}

/// What happens to a request that the rate limit service says nothing about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnError {
    /// It goes on.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// How the rate limit service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalLimit {
    /// How long an answer may take, 1 ms to 10 s.
    pub timeout: Duration,
    /// What happens where there is none.
    pub on_error: OnError,
    /// The part of a divided limit that holds where the control plane is away for long.
    pub fallback: Percent,
}

impl GlobalLimit {
    /// The shortest timeout.
    pub const SHORTEST: Duration = Duration::from_millis(1);
    /// The longest timeout.
    pub const LONGEST: Duration = Duration::from_secs(10);
}

impl Default for GlobalLimit {
    /// 20 ms, and then the request goes on, as with Envoy; a divided limit holds whole.
    fn default() -> Self {
        GlobalLimit { timeout: Duration::from_millis(20), on_error: OnError::Allow, fallback: Percent::HUNDRED }
    }
}

/// Which answers carry `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tell {
    /// None.
    Never,
    /// Refusals.
    #[default]
    Limited,
    /// All.
    Always,
}

/// Which requests share a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// All that the rule counts.
    #[default]
    Total,
    /// Those of one workload, as its proxy says (`x-envoy-downstream-service-cluster`); a caller that says nothing is
    /// known by its address.
    SourceWorkload,
    /// Those of one address, or one /64 of IPv6.
    SourceIp,
    /// Those with one value of a header field, by lower-case name; those without it are one more.
    Header(Arc<str>),
}

/// The field in which a caller's proxy says whom it stands beside. It is Envoy's, and as there no more than a claim: what
/// speaks plain text can say what it likes.
pub const CALLER: &str = "x-envoy-downstream-service-cluster";

/// One bucket and what it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitRule {
    /// The rule's name, unique in its policy.
    pub name: Arc<str>,
    /// What the rule counts; any of them is enough, none counts every request.
    pub matches: Vec<RouteMatch>,
    /// Requests admitted in each interval, at least 1.
    pub requests: u32,
    /// The interval, 1 ms to 24 h.
    pub interval: Duration,
    /// The most that may come at once, at least 1; the bucket's size.
    pub burst: u32,
    /// Which requests share a bucket.
    pub per: Per,
    /// How many buckets are kept, at least 1; the one that was not used for longest makes way.
    pub max_keys: u32,
    /// Who counts.
    pub scope: Scope,
}

impl RateLimit {
    /// What the policy is called, without its kind; empty for one of another control plane.
    pub fn name(&self) -> &str {
        self.origin.0.rsplit(' ').next().unwrap_or_default()
    }

    /// The rules that somebody counts.
    pub fn rules_of(&self, scope: Scope) -> impl Iterator<Item = &RateLimitRule> {
        self.rules.iter().filter(move |rule| rule.scope == scope)
    }

    /// Whether a rule must know which workload calls.
    pub fn asks_for_callers(&self) -> bool {
        self.rules.iter().any(|rule| rule.per == Per::SourceWorkload)
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if !(400..=599).contains(&self.status) {
            return Err(Problem::invalid(self.status, "must be a status between 400 and 599")
                .at_field("status")
                .at_field("onLimit"));
        }
        let timeout = self.global.timeout;
        if !(GlobalLimit::SHORTEST..=GlobalLimit::LONGEST).contains(&timeout) {
            let told = crate::value::format_duration(timeout);
            return Err(Problem::invalid(told, "must be between 1ms and 10s").at_field("timeout").at_field("global"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|problem| problem.at_index(index).at_field("rules"))?;
        }
        Ok(())
    }
}

impl RateLimitRule {
    /// How many buckets a rule keeps unless said otherwise.
    pub const DEFAULT_KEYS: u32 = 10_000;
    /// How many it may keep: about 100 MB.
    pub const MOST_KEYS: u32 = 1_000_000;

    fn check(&self) -> Result<(), Problem> {
        if self.requests == 0 {
            return Err(Problem::invalid(0, "must be at least 1").at_field("requests").at_field("limit"));
        }
        if self.burst == 0 {
            return Err(Problem::invalid(0, "must be at least 1").at_field("burst").at_field("limit"));
        }
        if self.interval < Duration::from_millis(1) || self.interval > Duration::from_secs(86_400) {
            return Err(Problem::invalid(crate::value::format_duration(self.interval), "must be between 1ms and 24h")
                .at_field("interval")
                .at_field("limit"));
        }
        if !(1..=Self::MOST_KEYS).contains(&self.max_keys) {
            return Err(Problem::invalid(self.max_keys, "must be between 1 and 1000000").at_field("maxKeys"));
        }
        Ok(())
    }
}
