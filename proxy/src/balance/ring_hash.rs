//! The same key to the same endpoint (Ketama).
//!
//! Each endpoint has points on a ring of 64-bit hashes, in number by weight; a key belongs to the first point at or
//! after its own hash whose endpoint is accepted. Points depend on nothing but the endpoint's address, so that when one
//! comes or goes only its own keys move. For that the number of points must not change with the number of endpoints
//! either, as it would if `min_size` were divided among them: each has half of `min_size`, which satisfies it as soon
//! as there is a choice. Only from 64 endpoints on is a fixed size divided, where one more changes it by little.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Members;
use crate::endpoint::Endpoint;

/// From so many endpoints on the ring grows no further.
const FULL: f64 = 64.0;

/// The ring: points in the order of their hashes.
#[derive(Debug)]
pub struct Ring {
    points: Box<[(u64, u32)]>,
}

impl Ring {
    /// Places the points: at least one for each endpoint, in all at most `max_size` if there are fewer endpoints.
    pub fn new(members: &Members, min_size: u32, max_size: u32) -> Self {
        let count = members.endpoints().len() as f64;
        let full = f64::from(min_size) / 2.0 * count.min(FULL);
        let each = full.min(f64::from(max_size)).max(1.0) / count.max(1.0);
        let mut points = Vec::new();
        for (index, endpoint) in (0_u32..).zip(members.endpoints()) {
            let name = endpoint.address.to_string();
            // Rounded down, so that the sum stays within the bound. In range: at most `max_size`.
            let own = ((each / f64::from(members.share(index as usize))) as u64).max(1);
            points.extend((0..own).map(|point| (xxh3_64_with_seed(name.as_bytes(), point), index)));
        }
        points.sort_unstable();
        Ring { points: points.into() }
    }

    /// The endpoint of a key; the next on the ring while it is not accepted.
    pub fn pick(&self, members: &Members, hash: u64, accept: impl Fn(usize, &Endpoint) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(start);
        members.follow(hash, after.iter().chain(before).map(|(_, index)| *index as usize), accept)
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point, because there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use super::super::Members;
    use super::super::tests::{endpoints, members, shares};
    use super::Ring;

    const KEYS: u64 = 4000;

    fn key(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
    }

    #[test]
    fn a_key_stays_with_its_endpoint_and_comes_back_to_it() {
        let endpoints = endpoints(&[1, 1, 1]);
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let members = Members::new(endpoints);
        let ring = Ring::new(&members, 1024, 8192);
        for number in 0..100 {
            let home = ring.pick(&members, key(number), |_, _| true).expect("an endpoint");
            let other = ring.pick(&members, key(number), |_, endpoint| endpoint.address != addresses[home]);
            assert!(other.is_some_and(|other| other != home));
            assert_eq!(ring.pick(&members, key(number), |_, _| true), Some(home));
        }
        assert_eq!(ring.pick(&members, 0, |_, _| false), None);
    }

    #[test]
    fn nobody_accepted_costs_a_few_looks_and_anybody_is_found() {
        let members = members(&[1, 1, 1_000_000]);
        let ring = Ring::new(&members, 1 << 20, 1 << 20);
        let looks = std::cell::Cell::new(0);
        let pick = |number, accepted: &[usize]| {
            ring.pick(&members, key(number), |index, _| {
                looks.set(looks.get() + 1);
                accepted.contains(&index)
            })
        };
        for number in 0..100 {
            assert_eq!((pick(number, &[]), looks.take()), (None, 15));
            assert_eq!(pick(number, &[0]), Some(0));
            assert_eq!(pick(number, &[0, 1]), pick(number, &[0, 1]));
            looks.set(0);
        }
        let seen = shares(3, 1000, {
            let mut number = 0;
            move || {
                number += 1;
                ring.pick(&members, key(number), |index, _| index < 2)
            }
        });
        assert!(seen[0] > 0.25 && seen[1] > 0.25, "keys do not all go to the same one: {seen:?}");
    }

    #[test]
    fn the_size_is_bounded() {
        for (count, min, max, expected) in
            [(0, 8, 8, 0..=0), (2, 1024, 8192, 1024..=1024), (50, 1024, 2048, 1950..=2048), (10, 4, 4, 10..=10)]
        {
            let members = members(&vec![1; count]);
            let length = Ring::new(&members, min, max).len();
            assert!(expected.contains(&length), "{count} {min} {max}: {length}");
        }
    }

    #[test]
    fn keys_follow_the_weights() {
        let members = members(&[1, 3]);
        let ring = Ring::new(&members, 1024, 8192);
        let mut number = 0;
        let seen = shares(2, 20_000, || {
            number += 1;
            ring.pick(&members, key(number), |_, _| true)
        });
        assert!((seen[0] - 0.25).abs() < 0.05, "{seen:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn losing_one_of_n_moves_at_most_its_share_and_a_tenth(count in 2_usize..100, gone in proptest::prelude::any::<prop::sample::Index>()) {
            let before = members(&vec![1; count]);
            let mut left = before.endpoints().to_vec();
            let gone = left.remove(gone.index(count));
            let after = Members::new(left);
            let (old, new) = (Ring::new(&before, 1024, 8192), Ring::new(&after, 1024, 8192));
            let mut moved = 0;
            for number in 0..KEYS {
                let home = old.pick(&before, key(number), |_, _| true).map(|index| before.endpoints()[index].address);
                let now = new.pick(&after, key(number), |_, _| true).map(|index| after.endpoints()[index].address);
                moved += u64::from(home != now);
                prop_assert!(now != Some(gone.address));
            }
            prop_assert!(moved as f64 / KEYS as f64 <= 1.0 / count as f64 + 0.1, "{moved} of {KEYS} with {count}");
        }
    }
}
