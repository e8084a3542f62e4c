//! The same key to the same endpoint, by a table (Maglev: Eisenbud and others, NSDI 2016, section 3.4).
//!
//! Each endpoint has an order of its own in which it would like the places of a table, and endpoints take turns to take
//! the next free one. With equal weights their parts differ by one place at most; a heavier endpoint takes more turns.
//! When one leaves, its places move, and a few besides.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Members;
use crate::endpoint::Endpoint;

/// A place that nobody took yet.
const FREE: u32 = u32::MAX;

/// The table: the index of an endpoint for each place.
#[derive(Debug)]
pub struct Maglev {
    places: Box<[u32]>,
}

impl Maglev {
    /// Fills the table; `size` must be prime. It is empty if there is no endpoint.
    pub fn new(members: &Members, size: u32) -> Self {
        let count = members.endpoints().len();
        if count == 0 || size < 2 {
            return Maglev { places: Box::default() };
        }
        let size = u64::from(size);
        // Where an endpoint begins, how far its steps are, and how many it made.
        let mut walks: Vec<(u64, u64)> = members
            .endpoints()
            .iter()
            .map(|endpoint| {
                let name = endpoint.address.to_string();
                let hash = |seed| xxh3_64_with_seed(name.as_bytes(), seed);
                (hash(0) % size, hash(1) % (size - 1) + 1)
            })
            .collect();
        let heaviest = members.weights().iter().copied().max().unwrap_or(1);
        let mut credits = vec![0_u64; count];
        // In range: at most 5,000,011 places.
        let mut places = vec![FREE; size as usize];
        let mut left = places.len();
        // By address, so that the table hangs on nothing else than who is there.
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|index| members.endpoints()[*index].address);
        while left > 0 {
            for index in &order {
                credits[*index] += u64::from(members.weights()[*index]);
                if credits[*index] < u64::from(heaviest) {
                    continue;
                }
                credits[*index] -= u64::from(heaviest);
                let (at, step) = &mut walks[*index];
                // A prime size: the walk comes by every place before it begins anew, and one is free.
                while places[*at as usize] != FREE {
                    *at = (*at + *step) % size;
                }
                places[*at as usize] = *index as u32;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Maglev { places: places.into() }
    }

    /// The endpoint of a key; the next in the table while it is not accepted.
    pub fn pick(&self, members: &Members, hash: u64, accept: impl Fn(usize, &Endpoint) -> bool) -> Option<usize> {
        let length = self.places.len();
        if length == 0 {
            return None;
        }
        // In range: a remainder of the table's length.
        let start = (hash % length as u64) as usize;
        let (before, after) = self.places.split_at(start);
        members.follow(hash, after.iter().chain(before).map(|index| *index as usize), accept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use super::super::Members;
    use super::super::tests::{endpoints, members};
    use super::Maglev;

    const KEYS: u64 = 4000;

    fn key(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
    }

    fn parts(maglev: &Maglev, count: usize) -> Vec<usize> {
        let mut parts = vec![0; count];
        maglev.places.iter().for_each(|index| parts[*index as usize] += 1);
        parts
    }

    #[test]
    fn the_table_is_as_even_as_the_paper_says() {
        // Section 5.3: with 65537 places the most loaded of 1000 backends is close to the mean; the algorithm gives
        // each the same number of turns, so that parts differ by one place.
        for count in [1, 2, 3, 7, 100, 1000] {
            let parts = parts(&Maglev::new(&members(&vec![1; count]), 65_537), count);
            let (least, most) = (parts.iter().min().expect("some"), parts.iter().max().expect("some"));
            assert!(most - least <= 1, "{count}: {least} to {most}");
            assert_eq!(parts.iter().sum::<usize>(), 65_537);
        }
    }

    #[test]
    fn heavier_endpoints_have_more_places() {
        let parts = parts(&Maglev::new(&members(&[1, 2, 5]), 65_537), 3);
        for (part, share) in parts.iter().zip([0.125, 0.25, 0.625]) {
            assert!((*part as f64 / 65_537.0 - share).abs() < 0.001, "{parts:?}");
        }
    }

    #[test]
    fn a_key_stays_with_its_endpoint_and_comes_back_to_it() {
        let members = Members::new(endpoints(&[1, 1, 1]));
        let maglev = Maglev::new(&members, 65_537);
        for number in 0..100 {
            let home = maglev.pick(&members, key(number), |_, _| true).expect("an endpoint");
            let other = maglev.pick(&members, key(number), |index, _| index != home);
            assert!(other.is_some_and(|other| other != home));
            assert_eq!(maglev.pick(&members, key(number), |_, _| true), Some(home));
        }
        assert_eq!(maglev.pick(&members, 0, |_, _| false), None);
        assert_eq!(Maglev::new(&Members::new(Vec::new()), 7).pick(&Members::new(Vec::new()), 0, |_, _| true), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn losing_one_of_n_moves_at_most_its_share_and_a_tenth(
            count in 2_usize..100,
            gone in proptest::prelude::any::<prop::sample::Index>(),
        ) {
            let before = members(&vec![1; count]);
            let mut left = before.endpoints().to_vec();
            let gone = left.remove(gone.index(count));
            let after = Members::new(left);
            let (old, new) = (Maglev::new(&before, 65_537), Maglev::new(&after, 65_537));
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
