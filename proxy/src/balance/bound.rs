//! How many requests under way a hash gives an endpoint at most (consistent hashing with bounded loads: Mirrokni,
//! Thorup and Zadimoghaddam, 2016; Envoy's `hash_balance_factor`).
//!
//! With so many requests under way, the one to come included, each endpoint may have its part of them by weight times
//! the factor, rounded up. The parts add up to more than there are, so that somebody always has room. Endpoints that
//! are not accepted have no part. Whoever takes a place looks at the bound once more, so that workers that choose at the
//! same moment do not go beyond it together.

use super::Members;
use crate::endpoint::Endpoint;

/// The bound of this moment.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Requests each unit of weight may have under way.
    each: f64,
}

impl Bound {
    /// Adds up what is under way.
    pub fn new(members: &Members, factor: u32, accept: impl Fn(&Endpoint) -> bool) -> Self {
        let accepted = members.endpoints().iter().zip(members.weights()).filter(|(endpoint, _)| accept(endpoint));
        let (active, weight) = accepted.fold((1_u64, 0_u64), |(active, total), (endpoint, weight)| {
            (active + u64::from(endpoint.load.active()), total + u64::from(*weight))
        });
        Bound { each: active as f64 * f64::from(factor) / 100.0 / weight.max(1) as f64 }
    }

    /// How many the endpoint at `index` may have.
    pub fn most(&self, members: &Members, index: usize) -> u32 {
        // The cast stops at the ends of the range.
        (self.each * f64::from(members.weights()[index])).ceil() as u32
    }

    /// Whether the endpoint at `index` may have another.
    pub fn leaves_room(&self, members: &Members, index: usize) -> bool {
        members.endpoints()[index].load.active() < self.most(members, index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use super::super::tests::members;
    use super::Bound;

    #[test]
    fn the_bound_is_that_of_the_published_example() {
        // Envoy's documentation: with a factor of 150 no host gets more than 1.5 times the mean.
        let members = members(&[1, 1, 1, 1]);
        (0..6).for_each(|_| members.endpoints()[0].load.begin());
        (0..5).for_each(|_| members.endpoints()[1].load.begin());
        (0..4).for_each(|_| members.endpoints()[2].load.begin());
        // 16 with the one to come: a mean of 4, and 6 at most.
        let bound = Bound::new(&members, 150, |_| true);
        let room: Vec<_> = (0..4).map(|index| bound.leaves_room(&members, index)).collect();
        assert_eq!(room, [false, true, true, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn somebody_always_has_room_and_nobody_goes_beyond(
            many in prop::collection::vec((1_u32..20, 0_u32..20, prop::bool::weighted(0.8)), 1..20),
            factor in 100_u32..300,
        ) {
            let weights: Vec<_> = many.iter().map(|one| one.0).collect();
            let members = members(&weights);
            for (endpoint, (_, active, _)) in members.endpoints().iter().zip(&many) {
                (0..*active).for_each(|_| endpoint.load.begin());
            }
            let index = |one: &crate::endpoint::Endpoint| {
                members.endpoints().iter().position(|other| std::ptr::eq(&raw const **other, one)).expect("a member")
            };
            let accepted = |one: &crate::endpoint::Endpoint| many[index(one)].2;
            let bound = Bound::new(&members, factor, accepted);
            let room = |at: usize| many[at].2 && bound.leaves_room(&members, at);
            prop_assert!((0..many.len()).any(room) || !many.iter().any(|one| one.2));
            let all: u32 = many.iter().filter(|one| one.2).map(|one| one.1).sum::<u32>() + 1;
            let total: u32 = many.iter().filter(|one| one.2).map(|one| one.0).sum();
            for at in (0..many.len()).filter(|at| room(*at)) {
                let part = f64::from(all) * f64::from(many[at].0) / f64::from(total);
                prop_assert!(f64::from(many[at].1 + 1) < part * f64::from(factor) / 100.0 + 1.0 + 1e-6);
            }
        }
    }
}
