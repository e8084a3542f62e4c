//! Token buckets by key, bounded in number and in memory: one for each caller, address or header value.
//!
//! A key is 16 bytes, whatever it was made of. A bucket is 32 bytes and its place in a table. What is known stands in
//! order of use; one more than allowed, and the one used longest ago makes way. Mostly it is full by then, and nothing is
//! lost; where it is not, its key begins with a full bucket when it comes again, which is counted.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::gcra::{Gcra, Level};

/// What requests that share a bucket have in common, hashed; a proxy does so under a secret, so that nobody can choose
/// values that meet in its tables. Control planes that count together need one hash without.
pub type Key = u128;

/// No place.
const NONE: u32 = u32::MAX;

/// Buckets in order of use: a list through an array.
#[derive(Debug)]
pub struct Buckets {
    places: HashMap<Key, u32, BuildHasherDefault<KeyHasher>>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
    most: usize,
    forgotten: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    /// When the bucket is full.
    full: u64,
    newer: u32,
    older: u32,
}

/// A key is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64 ^ key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Buckets {
    /// Room for `most` buckets, at least one, which is taken as keys come.
    pub fn new(most: u32) -> Self {
        let places = HashMap::default();
        let most = most.clamp(1, NONE - 1) as usize;
        Buckets { places, entries: Vec::new(), newest: NONE, oldest: NONE, most, forgotten: 0 }
    }

    /// Takes `hits` tokens of the key's bucket: what is left then. Without so many, says when there will be.
    pub fn take(&mut self, key: Key, gcra: &Gcra, hits: u32, now: u64) -> Result<Level, Duration> {
        let place = self.places.get(&key).copied();
        let place = place.unwrap_or_else(|| self.admit(key, now));
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
        let entry = &mut self.entries[place as usize];
        entry.full = gcra.take(entry.full, hits, now)?;
        Ok(gcra.level(entry.full, now))
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many buckets made way before they were full again.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A full bucket for a new key, in the place of the one used longest ago where all are taken.
    fn admit(&mut self, key: Key, now: u64) -> u32 {
        let place = if self.entries.len() < self.most {
            self.entries.push(Entry { key, full: 0, newer: NONE, older: NONE });
            self.entries.len() as u32 - 1
        } else {
            let place = self.oldest;
            self.unlink(place);
            let entry = &mut self.entries[place as usize];
            self.forgotten += u64::from(entry.full > now);
            self.places.remove(&entry.key);
            (entry.key, entry.full) = (key, 0);
            place
        };
        self.link(place);
        self.places.insert(key, place);
        place
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
    use std::time::Duration;

    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::{Buckets, Key};
    use crate::policy::gcra::Gcra;
    use crate::policy::rate_limit::Scope;
    use crate::policy::{Per, RateLimitRule};

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
            scope: Scope::Proxy,
        })
    }

    #[test]
    fn each_key_has_its_own_bucket() {
        let (mut buckets, gcra) = (Buckets::new(10), gcra(1, 2));
        for key in 0..10 {
            assert_eq!((0..5).filter(|_| buckets.take(key, &gcra, 1, SECOND).is_ok()).count(), 2, "{key}");
        }
        assert_eq!((buckets.len(), buckets.forgotten()), (10, 0));
    }

    #[test]
    fn the_key_used_longest_ago_makes_way_and_comes_again_with_a_full_bucket() {
        let (mut buckets, gcra) = (Buckets::new(2), gcra(1, 1));
        let takes = |buckets: &mut Buckets, key: Key, now: u64| buckets.take(key, &gcra, 1, now).is_ok();
        let (one, two) = (takes(&mut buckets, 1, 0), takes(&mut buckets, 2, 0));
        assert!(one && two && !takes(&mut buckets, 1, 0));
        // 2 was used before 1.
        assert!(takes(&mut buckets, 3, 0) && !takes(&mut buckets, 1, 0));
        assert_eq!((buckets.len(), buckets.forgotten()), (2, 1));
        assert!(takes(&mut buckets, 2, 0), "forgotten, so that its bucket is full");
        // Full buckets lose nothing.
        assert!(takes(&mut buckets, 4, 10 * SECOND) && takes(&mut buckets, 5, 10 * SECOND));
        assert_eq!((buckets.len(), buckets.forgotten()), (2, 2));
    }

    proptest! {
        /// The list through the array is the order of use, for any use.
        #[test]
        fn it_remembers_what_a_plain_list_would(most in 1_u32..8, uses in prop::collection::vec(0_u128..12, 0..200)) {
            let (mut buckets, gcra) = (Buckets::new(most), gcra(1, 1));
            let mut order: VecDeque<Key> = VecDeque::new();
            for key in uses {
                let known = order.iter().position(|one| *one == key);
                known.map(|index| order.remove(index));
                // All at one time: a key that is known has taken its only token.
                prop_assert_eq!(buckets.take(key, &gcra, 1, 7).is_ok(), known.is_none());
                order.push_front(key);
                order.truncate(most as usize);
                prop_assert_eq!(buckets.len(), order.len());
            }
        }

        #[test]
        fn no_key_gets_more_than_rate_times_time_plus_burst(
            requests in 1_u32..100,
            burst in 1_u32..20,
            uses in prop::collection::vec((0_u64..SECOND, 0_u128..5), 1..300),
        ) {
            let (mut buckets, gcra) = (Buckets::new(5), gcra(requests, burst));
            let (mut now, mut admitted) = (0, HashMap::<Key, u64>::new());
            for (wait, key) in uses {
                now += wait;
                let count = admitted.entry(key).or_default();
                *count += u64::from(buckets.take(key, &gcra, 1, now).is_ok());
                let most = u64::from(requests) * now / SECOND + u64::from(burst);
                prop_assert!(*count <= most, "{count} of {most}");
            }
            prop_assert_eq!(buckets.forgotten(), 0);
        }
    }
}
