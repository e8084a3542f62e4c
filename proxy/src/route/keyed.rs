//! Buckets by key, shared by all workers: exact for each key, and bounded in number (`config::policy::buckets`).
//!
//! Shards keep workers out of each other's way. A lock is held for a look-up and a few writes, never over an await.

use std::time::Duration;

use outrigger_config::policy::buckets::{Buckets, Key};
use outrigger_config::policy::gcra::{Gcra, Level};
use parking_lot::Mutex;

/// Over how many shards many keys are spread.
const SHARDS: u32 = 16;
/// Fewer keys than this stay together, so that their number is exact and their order of use is one.
const FEW: u32 = 1024;

/// The buckets of one rule.
#[derive(Debug)]
pub struct Keyed {
    shards: Box<[Mutex<Buckets>]>,
}

impl Keyed {
    /// Room for `most` buckets, which is taken as keys come.
    pub fn new(most: u32) -> Self {
        let shards = if most < FEW { 1 } else { SHARDS };
        let shard = |number: u32| Mutex::new(Buckets::new(most / shards + u32::from(number < most % shards)));
        Keyed { shards: (0..shards).map(shard).collect() }
    }

    /// Takes a token of the key's bucket.
    pub fn take(&self, key: Key, gcra: &Gcra, now: u64) -> Result<Level, Duration> {
        // The tables hash by other bits than these.
        let shard = (key >> 96) as usize % self.shards.len();
        self.shards[shard].lock().take(key, gcra, 1, now)
    }

    /// How many buckets there are.
    pub fn known(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// How many buckets made way before they were full again.
    pub fn forgotten(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().forgotten()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use outrigger_config::policy::buckets::Key;
    use outrigger_config::policy::gcra::Gcra;
    use outrigger_config::policy::rate_limit::Scope;
    use outrigger_config::policy::{Per, RateLimitRule};

    use super::Keyed;

    fn gcra(requests: u32, burst: u32) -> Gcra {
        Gcra::new(&RateLimitRule {
            name: "each".into(),
            matches: Vec::new(),
            requests,
            interval: Duration::from_secs(1),
            burst,
            per: Per::SourceIp,
            max_keys: 1,
            scope: Scope::Proxy,
        })
    }

    #[test]
    fn no_number_of_keys_takes_more_than_its_room() {
        for most in [1, 7, 1023, 1024, 10_000] {
            let (keyed, gcra) = (Keyed::new(most), gcra(1, 1));
            (0..30_000_u128).for_each(|key| assert!(keyed.take(key << 96 | key, &gcra, 0).is_ok()));
            assert_eq!(keyed.known(), most as usize);
        }
    }

    #[test]
    fn eight_threads_take_no_more_of_any_key_than_one() {
        let (keyed, gcra) = (Keyed::new(4096), gcra(1, 50));
        let taken: Vec<AtomicU32> = (0..100).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for turn in 0..10_000_usize {
                        let key = (turn * 7) % taken.len();
                        let ok = keyed.take((key as Key) << 96, &gcra, 5).is_ok();
                        taken[key].fetch_add(u32::from(ok), Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(taken.into_iter().all(|count| count.into_inner() == 50));
    }
}
