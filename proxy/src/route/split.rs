//! One of several, by weight (xDS `WeightedCluster`).
//!
//! Each part gets its share of the requests by chance, or by a key of theirs, so that equal ones go the same way; a part of weight 0 is drained and gets none. With a single part
//! no chance is asked.

use xxhash_rust::xxh3::xxh3_64;

/// Parts and the running sums of their weights.
#[derive(Clone, Debug)]
pub struct Split<T> {
    first: T,
    rest: Box<[T]>,
    /// For each part where its share ends; the last is the total. Empty where there is one part.
    ends: Box<[u64]>,
    /// Makes what it picks for a key independent of what other splits pick for it.
    salt: u64,
}

impl<T> Split<T> {
    /// Leaves out what has no weight. None if nothing is left, which validated weights never are.
    pub fn new(parts: impl IntoIterator<Item = (u32, T)>) -> Option<Self> {
        let mut ends = Vec::new();
        let mut total = 0;
        let mut weighed = parts.into_iter().filter(|(weight, _)| *weight > 0).map(|(weight, part)| {
            total += u64::from(weight);
            ends.push(total);
            part
        });
        let first = weighed.next()?;
        let rest: Box<[T]> = weighed.collect();
        let ends = if rest.is_empty() { Box::default() } else { ends.into() };
        Some(Split { first, rest, ends, salt: 0 })
    }

    /// Of the route `name`: a split behind another would otherwise only get keys of one range, and miss its weights.
    /// The same in every proxy, so that a key goes the same way wherever it is split.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Split { salt: xxh3_64(name.as_bytes()), ..self }
    }

    /// A point by chance, for [`Split::at`].
    pub fn roll(&self, rng: &mut fastrand::Rng) -> u64 {
        self.ends.last().map_or(0, |total| rng.u64(0..*total))
    }

    /// One part.
    pub fn pick(&self, rng: &mut fastrand::Rng) -> &T {
        self.at(self.roll(rng))
    }

    /// The part of whatever has this key: always the same, as long as the weights are. Where the weight of one of two
    /// parts grows, keys only move to it.
    pub fn pick_for(&self, key: u64) -> &T {
        self.at(self.roll_for(key))
    }

    /// The point of whatever has this key, for [`Split::at`].
    pub fn roll_for(&self, key: u64) -> u64 {
        let Some(total) = self.ends.last() else { return 0 };
        // A balancer behind the split hashes by the same key: without this its keys would all be of one range.
        let mixed = u128::from(mix(key ^ self.salt));
        ((mixed * u128::from(*total)) >> 64) as u64
    }

    /// A point of the part at `index`, for [`Split::at`].
    pub fn start_of(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }

    /// The part whose share has this point.
    pub fn at(&self, point: u64) -> &T {
        // Splits have a handful of parts, which a scan finds sooner than a search.
        let index = self.ends.iter().take_while(|end| **end <= point).count();
        index.checked_sub(1).and_then(|index| self.rest.get(index)).unwrap_or(&self.first)
    }

    /// Every part that gets requests.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// The finalizer of SplitMix64: every bit of the key counts for every bit of the outcome.
fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, proptest};

    use super::Split;

    #[test]
    fn nothing_is_picked_of_nothing() {
        assert!(Split::<u32>::new([]).is_none());
        assert!(Split::new([(0, "a"), (0, "b")]).is_none());
    }

    #[test]
    fn a_drained_part_gets_nothing() {
        let split = Split::new([(0, "a"), (1, "b"), (0, "c")]).expect("a part");
        let mut rng = fastrand::Rng::with_seed(1);
        assert!((0..100).all(|_| *split.pick(&mut rng) == "b"));
        assert_eq!(split.iter().collect::<Vec<_>>(), [&"b"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_part_gets_its_share(weights in prop::collection::vec(0_u32..100, 1..8), seed in 0_u64..u64::MAX) {
            const PICKS: u32 = 20_000;
            let total: u32 = weights.iter().sum();
            let split = Split::new(weights.iter().copied().zip(0_usize..));
            prop_assert_eq!(split.is_some(), total > 0);
            let Some(split) = split else { return Ok(()) };
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut seen = vec![0_u32; weights.len()];
            (0..PICKS).for_each(|_| seen[*split.pick(&mut rng)] += 1);
            for (seen, weight) in seen.into_iter().zip(&weights) {
                let share = f64::from(*weight) / f64::from(total);
                // Five standard deviations.
                let spread = 5.0 * (share * (1.0 - share) / f64::from(PICKS)).sqrt();
                prop_assert!((f64::from(seen) / f64::from(PICKS) - share).abs() <= spread, "{weights:?}");
            }
        }

        #[test]
        fn a_key_stays_with_its_part_and_moves_only_to_one_that_grows(
            keys in prop::collection::vec(0_u64..u64::MAX, 1..200),
            old in 1_u32..99,
            more in 0_u32..100,
        ) {
            let new = (old + more).min(99);
            let split = |second: u32| Split::new([(100 - second, "old"), (second, "new")]).expect("parts");
            let (before, after) = (split(old), split(new));
            for key in keys {
                prop_assert_eq!(before.pick_for(key), before.pick_for(key));
                prop_assert!(*before.pick_for(key) == "old" || *after.pick_for(key) == "new");
            }
        }

        #[test]
        fn a_split_behind_a_split_has_its_weights(
            names in ("[a-z]{1,9}/rule-[0-9]", "[a-z]{1,9}/rule-[0-9]").prop_filter("two routes", |(a, b)| a != b),
            first in 20_u32..80,
            second in 1_u32..100,
            start in 0_u64..u64::MAX / 2,
        ) {
            const KEYS: u64 = 20_000;
            let split = |name: &str, second| Split::new([(100 - second, 0_usize), (second, 1)]).map(|split| split.of(name));
            let (before, behind) = (split(&names.0, first).expect("parts"), split(&names.1, second).expect("parts"));
            let passed: Vec<u64> = (start..start + KEYS).filter(|key| *before.pick_for(*key) == 1).collect();
            let hits = passed.iter().filter(|key| *behind.pick_for(**key) == 1).count() as f64;
            let share = hits / passed.len() as f64;
            prop_assert!((share - f64::from(second) / 100.0).abs() <= 0.05, "{share} of {second}");
        }

        #[test]
        fn keys_spread_by_weight(second in 1_u32..100, start in 0_u64..u64::MAX / 2) {
            const KEYS: u64 = 20_000;
            let split = Split::new([(100 - second, 0_usize), (second, 1)]).expect("parts");
            let hits = (0..KEYS).filter(|key| *split.pick_for(start + key) == 1).count() as f64;
            let share = f64::from(second) / 100.0;
            // Five standard deviations; keys in a row are as good as any.
            let spread = 5.0 * (share * (1.0 - share) / KEYS as f64).sqrt();
            prop_assert!((hits / KEYS as f64 - share).abs() <= spread + 1e-9);
        }
    }
}
