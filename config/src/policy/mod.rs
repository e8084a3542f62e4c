//! One validated policy a file. Each says whether it is enforced or only rehearsed ([`Mode`]) and where it came from
//! ([`Origin`]), so that a decision can name the document behind it.

use std::fmt;
use std::sync::Arc;

pub mod adaptive;
pub mod admission;
pub mod cache;
pub mod fault;
pub mod health_check;
pub mod limits;
pub mod outlier;
pub mod priority;
pub mod rate_limit;
pub mod asked;
pub mod gcra;
pub mod buckets;
pub mod lease;
pub mod retry;
pub mod session;
pub mod timeout;

pub use adaptive::AdaptiveConcurrency;
pub use admission::AdmissionControl;
pub use cache::Cache;
pub use fault::Fault;
pub use health_check::HealthCheck;
pub use limits::{Limits, PerEndpoint, Thresholds};
pub use outlier::{FailurePercentage, Outlier, Sample, SlowEndpoint, SuccessRate};
pub use priority::Priority;
pub use rate_limit::{Per, RateLimit, RateLimitRule, Tell};
pub use retry::{
    Backoff, Budget, Condition, Conditions, GrpcCodes, Hedge, Methods, ResetFormat, ResetHeader, Retry, RetryAfter,
};
pub use session::Session;
pub use timeout::Timeouts;

/// Whether a policy acts or only says what it would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Decide and act.
    #[default]
    Enforce,
    /// Decide, count and show; leave the traffic as it is.
    Observe,
}

impl Mode {
    /// Whether the policy acts.
    pub fn enforces(self) -> bool {
        self == Mode::Enforce
    }
}

/// The document a policy came from, as people name it: `RoutePolicy shop/catalog-retry`. `default` for what holds
/// without any document; empty for a resource of another control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin(pub Arc<str>);

impl Origin {
    /// The origin of what holds without any document.
    pub fn default_policy() -> Self {
        Origin("default".into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
