//! Local rate limits: a token bucket of one proxy, shared by all its workers
//! (xDS `extensions.filters.http.local_ratelimit.v3`). The first rule that matches decides.

use std::sync::Arc;
use std::time::Duration;

use super::{Mode, Origin};
use crate::error::Problem;
use crate::matching::RouteMatch;

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
}

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
}

impl RateLimit {
    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if !(400..=599).contains(&self.status) {
            return Err(Problem::invalid(self.status, "must be a status between 400 and 599")
                .at_field("status")
                .at_field("onLimit"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|problem| problem.at_index(index).at_field("rules"))?;
        }
        Ok(())
    }
}

impl RateLimitRule {
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
        Ok(())
    }
}
