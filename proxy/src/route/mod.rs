//! Which request goes where, compiled: tables of routes, and what each route holds while it lives.
//!
//! A request meets a [`Table`] once and carries its [`Route`] from there on. Everything a later room needs hangs on it:
//! the policies as they were configured, the destinations as [`Target`]s, the rate limiter. Nothing looks a name up
//! again.

use std::sync::Arc;

use outrigger_config::name::ClusterName;
use outrigger_config::route::{AttemptCounts, Route as Model};

use crate::cluster::{Ask, Cluster};
use crate::telemetry::Edge;

pub mod rewrite;
pub mod edit;
pub mod answer;
pub mod cache;
pub mod hash;
pub mod matcher;

pub mod told;
pub mod keyed;
pub mod leased;
pub mod bucket;
pub mod limiter;
pub mod global;
pub mod asked;
pub mod fault;
pub mod pace;
pub mod retrying;
pub mod mirror;
pub mod split;
pub mod table;

pub use answer::Answer;
pub use bucket::{Bucket, Caller};
pub use edit::Edits;
pub use limiter::{Limiter, Verdict};
pub use matcher::{Facts, Matcher};
pub use retrying::Retrying;
pub use split::Split;
pub use table::{Found, Table};

/// One rule, ready for requests.
#[derive(Debug)]
pub struct Route {
    /// How it was configured.
    pub config: Model,
    /// Where it sends requests; none where it answers by itself.
    pub targets: Option<Split<Target>>,
    /// What it answers by itself.
    pub answer: Option<Answer>,
    /// Where it sends copies.
    pub mirrors: Box<[Arc<mirror::Mirror>]>,
    /// Which faults it injects.
    pub fault: Option<fault::Fault>,
    /// Which responses it keeps.
    pub cache: Option<cache::Cache>,
    /// How much it lets in.
    pub limiter: Option<Limiter>,
    /// How much all proxies together let in.
    pub globals: Option<global::Globals>,
    /// What a rate limit service of another control plane is asked.
    pub asked: asked::Descriptors,
    /// What is only observed beside the four above.
    pub rehearsed: Rehearsed,
    /// What its retries keep, where they repeat more than what was never sent.
    pub retrying: Option<Retrying>,
    /// Who is told which attempt it is.
    pub counts: AttemptCounts,
}

/// Mechanisms of policies in Observe beside those that act.
#[derive(Debug, Default)]
pub struct Rehearsed {
    /// Which faults would be injected.
    pub fault: Option<fault::Fault>,
    /// How much would be let in.
    pub limiter: Option<Limiter>,
    /// How much all proxies together would let in.
    pub globals: Option<global::Globals>,
    /// Which responses would be kept.
    pub cache: Option<cache::Cache>,
    /// What retries would keep, where they would repeat more than what was never sent.
    pub retrying: Option<Retrying>,
}

impl Route {
    /// How long its answers take, where its retries or those that are rehearsed ask for that.
    pub fn pace(&self) -> Option<&pace::Pace> {
        let retrying = self.retrying.as_ref().or(self.rehearsed.retrying.as_ref());
        retrying.map(|retrying| &*retrying.pace)
    }
}

/// A destination of a route.
#[derive(Debug)]
pub struct Target {
    /// The destination; none while the configuration has no cluster of that name.
    pub cluster: Option<Arc<Cluster>>,
    /// The name that the route gives.
    pub name: ClusterName,
    /// Which of its endpoints.
    pub ask: Ask,
    /// The counters of the requests that go this way.
    pub edge: Arc<Edge>,
    /// What is changed on this way.
    pub edits: Option<Arc<Edits>>,
}
