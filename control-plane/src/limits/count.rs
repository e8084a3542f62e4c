//! Where tokens are taken: in this process, or in the Redis that replicas share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outrigger_config::mesh::Mesh;
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
#[derive(Clone, Debug)]
pub struct Counters {
    rules: Arc<ArcSwap<Rules>>,
    shared: Option<Shared>,
}

/// Why there is no count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncounted {
    /// Redis has none.
    #[error(transparent)]
    Redis(#[from] Failure),
    /// The documents here say nothing of the rule: whoever asks has others.
    #[error("the control plane knows no rule {rule:?} of a RateLimitPolicy {policy:?}")]
    Unknown {
        /// The policy's name.
        policy: String,
        /// The rule's.
        rule: String,
    },
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
    /// Counts by the rules of `mesh`, in this process, or in `shared`.
    pub fn new(mesh: &Mesh, shared: Option<Shared>) -> Self {
        let rules = Rules::default().next(mesh, Instant::now());
        Counters { rules: Arc::new(ArcSwap::from_pointee(rules)), shared }
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

    /// Takes `hits` tokens for each descriptor of a domain, in order. Behind the first that is over its limit nothing is taken,
    /// nor anything at all where one is about a rule that is not known.
    pub async fn count(&self, domain: &str, descriptors: &[Descriptor], hits: u32) -> Result<Vec<Count>, Uncounted> {
        let rules = self.rules.load_full();
        if domain == DOMAIN
            && let Some((policy, rule)) = descriptors.iter().find_map(|descriptor| rules.unknown(descriptor))
        {
            return Err(Uncounted::Unknown { policy, rule });
        }
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

#[cfg(test)]
mod tests {
    use outrigger_config::xds::rls::{DOMAIN, Descriptor, Entry, POLICY, RULE};

    use super::{Count, Counters, Uncounted};
    use crate::limits::rules::tests::mesh;

    fn of(policy: &str, rule: &str) -> Descriptor {
        let entry = |(key, value): (&str, &str)| Entry { key: key.into(), value: value.into() };
        Descriptor { entries: [(POLICY, policy), (RULE, rule)].map(entry).into() }
    }

    #[tokio::test]
    async fn a_rule_that_is_not_known_is_not_let_in_but_has_no_count() {
        let rules = "[{ name: all, scope: Global, limit: { requests: 1, interval: 60s } }]";
        let counters = Counters::new(&mesh(rules), None);
        let known = of("shop/calm", "all");
        let asked = [known.clone(), of("shop/calm", "other")];
        let unknown = Uncounted::Unknown { policy: "shop/calm".into(), rule: "other".into() };
        assert_eq!(counters.count(DOMAIN, &asked, 1).await, Err(unknown));
        assert_eq!(counters.count("theirs", &asked, 1).await, Ok(vec![Count::Unlimited; 2]));
        assert_eq!(counters.count(DOMAIN, &[Descriptor::default()], 1).await, Ok(vec![Count::Unlimited]));
        let counted =
            counters.count(DOMAIN, &[known], 1).await.expect("known from the beginning, and nothing taken yet");
        assert!(matches!(counted[..], [Count::Taken(..)]), "{counted:?}");
    }
}
