//! A route's part of the cache: how its requests are told apart, and under which mark its responses are kept.

use std::sync::Arc;

use outrigger_config::policy::Cache as Policy;
use outrigger_config::route::Route as Model;

use crate::cache::KeyRule;
use crate::telemetry::CacheCounters;

/// What a route keeps, and how.
#[derive(Debug)]
pub struct Cache {
    /// The policy.
    pub policy: Policy,
    /// How keys are made.
    pub rule: KeyRule,
    /// What its responses are marked with. A response is for requests of a route of the same mark alone, and that is one
    /// of the same configuration: another one might send, change or keep it otherwise. So what is kept goes on for a
    /// route that a new configuration leaves as it is, and for no other.
    pub scope: u64,
    /// What is counted.
    pub counters: Arc<CacheCounters>,
}

impl Cache {
    /// The cache of a route in the table called `table`.
    pub fn new(table: &str, route: &Model, policy: &Policy, counters: Arc<CacheCounters>) -> Self {
        // Its form for people has every field; two proxies of the same version write it alike.
        let digest = *blake3::hash(format!("{route:?}").as_bytes()).as_bytes();
        let scope = u64::from_le_bytes(std::array::from_fn(|index| digest[index]));
        Cache { policy: policy.clone(), rule: KeyRule::new(table, &policy.key), scope, counters }
    }

    /// One that is rehearsed beside the route's own: what it notes has keys of its own, and takes no place of what is
    /// served.
    pub fn rehearsed(table: &str, route: &Model, policy: &Policy, counters: Arc<CacheCounters>) -> Self {
        Cache::new(&format!("{table}\0rehearsed"), route, policy, counters)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_config::name::ResourceName;
    use outrigger_config::policy::{Cache as Policy, Origin};
    use outrigger_config::route::Route as Model;

    use super::Cache;

    #[test]
    fn a_route_that_stays_as_it_is_keeps_its_mark() {
        let scope =
            |route: &Model| Cache::new("t", route, &Policy::with_defaults(Origin::default()), Arc::default()).scope;
        let cluster = |name| ResourceName::try_new(name).expect("a name");
        let route = Model::forward("r", cluster("a"));
        assert_eq!(scope(&route), scope(&route.clone()));
        assert_ne!(scope(&route), scope(&Model::forward("r", cluster("b"))));
    }
}
