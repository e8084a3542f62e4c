//! What the cache did for the requests of a route.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// The most routes that are told apart.
const MAX_ROUTES: usize = 1024;

/// What the cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// It was answered from what is kept.
    Hit,
    /// It was answered from what is kept, though that was stale.
    Stale,
    /// It was answered from what is kept, which the service confirmed.
    Revalidated,
    /// It shared the answer to another request.
    Collapsed,
    /// It was sent on, since nothing was kept that could answer it.
    Miss,
    /// It is of a kind that is always sent on.
    Bypass,
    /// It was answered from what another proxy keeps too.
    Shared,
}

impl CacheResult {
    /// All there are.
    pub const ALL: [CacheResult; 7] = [
        CacheResult::Hit,
        CacheResult::Stale,
        CacheResult::Revalidated,
        CacheResult::Collapsed,
        CacheResult::Miss,
        CacheResult::Bypass,
        CacheResult::Shared,
    ];

    /// Its word in metrics, spans and the access log.
    pub fn word(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Stale => "stale",
            CacheResult::Revalidated => "revalidated",
            CacheResult::Collapsed => "collapsed",
            CacheResult::Miss => "miss",
            CacheResult::Bypass => "bypass",
            CacheResult::Shared => "shared",
        }
    }
}

/// The counters of a route.
#[derive(Debug, Default)]
pub struct CacheCounters([AtomicU64; CacheResult::ALL.len()]);

impl CacheCounters {
    /// Counts a request.
    pub fn count(&self, result: CacheResult) {
        self.0[result as usize].fetch_add(1, Relaxed);
    }

    /// How many requests had this result.
    pub fn read(&self, result: CacheResult) -> u64 {
        self.0[result as usize].load(Relaxed)
    }
}

/// The counters of all routes that keep responses.
#[derive(Debug, Default)]
pub struct CacheMetrics(Mutex<HashMap<Arc<str>, Arc<CacheCounters>>>);

impl CacheMetrics {
    /// The counters of the route called `name`; the same ones whenever it is asked for. Beyond a thousand routes those
    /// that no configuration uses any more make room, or else new ones are counted together as `other`.
    pub fn of(&self, name: &Arc<str>) -> Arc<CacheCounters> {
        let mut routes = self.0.lock();
        if !routes.contains_key(name) && routes.len() >= MAX_ROUTES {
            routes.retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        let name = match routes.len() < MAX_ROUTES || routes.contains_key(name) {
            true => Arc::clone(name),
            false => "other".into(),
        };
        Arc::clone(routes.entry(name).or_default())
    }

    /// The counters of every route, by name.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<CacheCounters>)> {
        let mut all: Vec<_> = self.0.lock().iter().map(|(name, one)| (Arc::clone(name), Arc::clone(one))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CacheMetrics, CacheResult, MAX_ROUTES};

    #[test]
    fn counts_go_on_for_a_route_of_the_same_name() {
        let metrics = CacheMetrics::default();
        metrics.of(&"a".into()).count(CacheResult::Hit);
        let again = metrics.of(&"a".into());
        again.count(CacheResult::Hit);
        assert_eq!((again.read(CacheResult::Hit), again.read(CacheResult::Miss)), (2, 0));
    }

    #[test]
    fn routes_are_bounded() {
        let metrics = CacheMetrics::default();
        let held: Vec<_> = (0..MAX_ROUTES).map(|number| metrics.of(&format!("{number}").into())).collect();
        assert!(Arc::ptr_eq(&metrics.of(&"x".into()), &metrics.of(&"y".into())));
        assert_eq!(metrics.all().len(), MAX_ROUTES + 1);
        drop(held);
        metrics.of(&"z".into());
        assert!(metrics.all().len() < 3);
    }

    #[test]
    fn every_result_has_its_place() {
        for (index, result) in CacheResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
    }
}
