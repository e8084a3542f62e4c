//! Where tokens are taken: in this process, or in the Redis that replicas share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outrigger_config::policy::RateLimitRule;
use outrigger_config::policy::gcra::Level;
use outrigger_config::xds::rls::{DOMAIN, Descriptor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::Failure;
use super::rules::Rules;
use super::shared::Shared;
use crate::view::snapshot::Snapshot;

/// The counts of all global limits. Cloning it shares them.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    rules: Arc<ArcSwap<Rules>>,
    shared: Option<Shared>,
}

/// What a descriptor came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// No rule is meant by it.
    Unlimited,
    /// A token was taken.
    Taken(RateLimitRule, Level),
    /// There was none; there will be one so much later.
    Over(RateLimitRule, Duration),
}

impl Counters {
    /// Counts in this process, or in `shared`.
    pub fn new(shared: Option<Shared>) -> Self {
        Counters { rules: Arc::default(), shared }
    }

    /// Counts by what `snapshots` holds, until `stop`.
    pub async fn follow(self, mut snapshots: watch::Receiver<Arc<Snapshot>>, stop: CancellationToken) {
        loop {
            let mesh = Arc::clone(snapshots.borrow_and_update().mesh());
            self.rules.store(Arc::new(self.rules.load().next(&mesh, Instant::now())));
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes `hits` tokens for each descriptor of a domain, in order. Behind the first that is over its limit nothing is taken.
    pub async fn count(&self, domain: &str, descriptors: &[Descriptor], hits: u32) -> Result<Vec<Count>, Failure> {
        let rules = self.rules.load_full();
        // Of other domains no document says anything.
        let (mut counts, mut over) = (Vec::with_capacity(descriptors.len()), domain != DOMAIN);
        for descriptor in descriptors {
            let Some((rule, key)) = rules.find(descriptor).filter(|_| !over) else {
                counts.push(Count::Unlimited);
                continue;
            };
            let taken = match &self.shared {
                None => rule.take(key, hits, Instant::now()),
                Some(shared) => shared.take(rule, key, hits).await?,
            };
            over = taken.is_err();
            let config = rule.config.clone();
            counts.push(match taken {
                Ok(level) => Count::Taken(config, level),
                Err(wait) => Count::Over(config, wait),
            });
        }
        Ok(counts)
    }

    /// How many rules there are, and how often Redis did not count, where there is one.
    pub fn numbers(&self) -> (usize, Option<u64>) {
        (self.rules.load().len(), self.shared.as_ref().map(Shared::failed))
    }
}
