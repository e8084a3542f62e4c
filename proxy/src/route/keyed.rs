//! Buckets by key: one for each caller, address or header value, bounded in number and in memory.
//!
//! A key is 16 bytes, whatever it was made of: a hash under a secret of the process, so that nobody can choose values
//! that meet in one bucket. A bucket is 32 bytes and its place in a table. What is known stands in order of use; one
//! more than allowed, and the one used longest ago makes way. Mostly it is full by then, and nothing is lost; where it
//! is not, its key begins with a full bucket when it comes again, which is counted: `maxKeys` is too small then.
//!
//! Shards keep workers out of each other's way. A lock is held for a look-up and a few writes, never over an await.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::gcra::{Gcra, Level};
use super::hash::FastMap;

/// What requests that share a bucket have in common, hashed.
pub type Key = u128;

/// Over how many shards many keys are spread.
const SHARDS: u32 = 16;
/// Fewer keys than this stay together, so that their number is exact and their order of use is one.
const FEW: u32 = 1024;
/// No place.
const NONE: u32 = u32::MAX;

/// The buckets of one rule.
#[derive(Debug)]
pub struct Keyed {
    shards: Box<[Mutex<Shard>]>,
    forgotten: AtomicU64,
}

/// Some of the buckets, in order of use: a list through an array.
#[derive(Debug)]
struct Shard {
    places: FastMap<Key, u32>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    /// When the bucket is full.
    full: u64,
    newer: u32,
    older: u32,
}

impl Keyed {
    /// Room for `most` buckets, which is taken as keys come.
    pub fn new(most: u32) -> Self {
        let shards = if most < FEW { 1 } else { SHARDS };
        let shard = |number: u32| Mutex::new(Shard::new(most / shards + u32::from(number < most % shards)));
        Keyed { shards: (0..shards).map(shard).collect(), forgotten: AtomicU64::new(0) }
    }

    /// Takes a token of the key's bucket.
    pub fn take(&self, key: Key, gcra: &Gcra, now: u64) -> Result<Level, Duration> {
        // The table below hashes by the low bits.
        let shard = (key >> 64) as usize % self.shards.len();
        let mut shard = self.shards[shard].lock();
        let place = match shard.places.get(&key) {
            Some(place) => *place,
            None => {
                let (place, lost) = shard.admit(key, now);
                self.forgotten.fetch_add(u64::from(lost), Relaxed);
                place
            }
        };
        shard.touch(place);
        let entry = &mut shard.entries[place as usize];
        entry.full = gcra.take(entry.full, now)?;
        Ok(gcra.level(entry.full, now))
    }

    /// How many buckets there are.
    pub fn known(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }

    /// How many buckets made way before they were full again.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }
}

impl Shard {
    fn new(most: u32) -> Self {
        let places = FastMap::default();
        Shard { places, entries: Vec::new(), newest: NONE, oldest: NONE, most: most.max(1) as usize }
    }

    /// A full bucket for a new key, in the place of the one used longest ago where all are taken; and whether that one
    /// was not full.
    fn admit(&mut self, key: Key, now: u64) -> (u32, bool) {
        let mut lost = false;
        let place = if self.entries.len() < self.most {
            self.entries.push(Entry { key, full: 0, newer: NONE, older: NONE });
            self.entries.len() as u32 - 1
        } else {
            let place = self.oldest;
            self.unlink(place);
            let entry = &mut self.entries[place as usize];
            lost = entry.full > now;
            self.places.remove(&entry.key);
            (entry.key, entry.full) = (key, 0);
            place
        };
        self.link(place);
        self.places.insert(key, place);
        (place, lost)
    }

    fn touch(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Entry { newer, older, .. } = self.entries[place as usize];
        match self.entries.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let before = self.newest;
        (self.entries[place as usize].newer, self.entries[place as usize].older) = (NONE, before);
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use outrigger_config::policy::{Per, RateLimitRule};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::{Key, Keyed};
    use crate::route::gcra::Gcra;

    const SECOND: u64 = 1_000_000_000;

    fn gcra(requests: u32, burst: u32) -> Gcra {
        Gcra::new(&RateLimitRule {
            name: "each".into(),
            matches: Vec::new(),
            requests,
            interval: Duration::from_secs(1),
            burst,
            per: Per::SourceIp,
            max_keys: 1,
        })
    }

    #[test]
    fn each_key_has_its_own_bucket() {
        let (keyed, gcra) = (Keyed::new(10), gcra(1, 2));
        for key in 0..10 {
            assert_eq!((0..5).filter(|_| keyed.take(key, &gcra, SECOND).is_ok()).count(), 2, "{key}");
        }
        assert_eq!((keyed.known(), keyed.forgotten()), (10, 0));
    }

    #[test]
    fn the_key_used_longest_ago_makes_way_and_comes_again_with_a_full_bucket() {
        let (keyed, gcra) = (Keyed::new(2), gcra(1, 1));
        let takes = |key: Key, now: u64| keyed.take(key, &gcra, now).is_ok();
        assert!(takes(1, 0) && takes(2, 0) && !takes(1, 0));
        // 2 was used before 1.
        assert!(takes(3, 0) && !takes(1, 0));
        assert_eq!((keyed.known(), keyed.forgotten()), (2, 1));
        assert!(takes(2, 0), "forgotten, so that its bucket is full");
        // Full buckets lose nothing.
        assert!(takes(4, 10 * SECOND) && takes(5, 10 * SECOND));
        assert_eq!((keyed.known(), keyed.forgotten()), (2, 2));
    }

    #[test]
    fn no_number_of_keys_takes_more_than_its_room() {
        for most in [1, 7, 1023, 1024, 10_000] {
            let (keyed, gcra) = (Keyed::new(most), gcra(1, 1));
            (0..30_000_u128).for_each(|key| assert!(keyed.take(key << 64 | key, &gcra, 0).is_ok()));
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
                        let ok = keyed.take((key as Key) << 64, &gcra, 5).is_ok();
                        taken[key].fetch_add(u32::from(ok), Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(taken.into_iter().all(|count| count.into_inner() == 50));
    }

    proptest! {
        /// The list through the array is the order of use, for any use.
        #[test]
        fn it_remembers_what_a_plain_list_would(most in 1_u32..8, uses in prop::collection::vec(0_u128..12, 0..200)) {
            let (keyed, gcra) = (Keyed::new(most), gcra(1, 1));
            let mut order: VecDeque<Key> = VecDeque::new();
            for key in uses {
                let known = order.iter().position(|one| *one == key);
                known.map(|index| order.remove(index));
                // All at one time: a key that is known has taken its only token.
                prop_assert_eq!(keyed.take(key, &gcra, 7).is_ok(), known.is_none());
                order.push_front(key);
                order.truncate(most as usize);
                prop_assert_eq!(keyed.known(), order.len());
            }
        }

        #[test]
        fn no_key_gets_more_than_rate_times_time_plus_burst(
            requests in 1_u32..100,
            burst in 1_u32..20,
            uses in prop::collection::vec((0_u64..SECOND, 0_u128..5), 1..300),
        ) {
            let (keyed, gcra) = (Keyed::new(5), gcra(requests, burst));
            let (mut now, mut admitted) = (0, HashMap::<Key, u64>::new());
            for (wait, key) in uses {
                now += wait;
                let count = admitted.entry(key).or_default();
                *count += u64::from(keyed.take(key, &gcra, now).is_ok());
                let most = u64::from(requests) * now / SECOND + u64::from(burst);
                prop_assert!(*count <= most, "{count} of {most}");
            }
            prop_assert_eq!(keyed.forgotten(), 0);
        }
    }
}
