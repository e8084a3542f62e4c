//! Each in turn, by weight, smoothly.
//!
//! The turns of one cycle are laid out when the picker is built, by nginx's smooth weighted round robin. An endpoint
//! that is not accepted passes its turn on, and the turn moves with it, so that the others share its part evenly. The
//! only thing that changes is the number of the next turn.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Members;
use crate::endpoint::Endpoint;

/// The longest cycle that is laid out; weights whose cycle is longer are rounded to fit it.
const LONGEST: u64 = 4096;

/// The turns of one cycle.
#[derive(Debug)]
pub struct Turns {
    /// Indexes of endpoints; empty where each has one turn, in order.
    order: Box<[u32]>,
    next: AtomicUsize,
}

impl Turns {
    /// Lays the cycle out and begins anywhere in it.
    pub fn new(members: &Members, seed: u64) -> Self {
        Turns::laid_out(members.weights(), seed)
    }

    /// Lays a cycle of these weights out, one for each endpoint.
    pub fn laid_out(weights: &[u32], seed: u64) -> Self {
        let uniform = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let order = if uniform { Box::default() } else { lay_out(&reduce(weights)) };
        let length = if order.is_empty() { weights.len() } else { order.len() };
        // In range: a remainder of a length.
        Turns { order, next: AtomicUsize::new((seed % length.max(1) as u64) as usize) }
    }

    /// Where one that is laid out anew goes on: with the same weights, at the next turn.
    pub fn turn(&self) -> u64 {
        self.next.load(Ordering::Relaxed) as u64
    }

    /// Whose turn it is. If everyone was passed over, because other workers took the turns between, whoever is
    /// accepted gets it.
    pub fn pick(&self, members: &Members, accept: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        let endpoints = members.endpoints();
        let length = if self.order.is_empty() { endpoints.len() } else { self.order.len() };
        for look in 0..length {
            // A long cycle is gone through only if it leads to somebody: whose turn comes first keeps parts exact.
            if look == members.few_looks() && !endpoints.iter().any(|endpoint| accept(endpoint)) {
                return None;
            }
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % length;
            let index = self.order.get(turn).map_or(turn, |index| *index as usize);
            if accept(&endpoints[index]) {
                return Some(index);
            }
        }
        endpoints.iter().position(|endpoint| accept(endpoint))
    }
}

/// Smaller weights of the same proportions: exactly, if a cycle fits, else rounded.
fn reduce(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    if total <= LONGEST {
        return weights.iter().map(|weight| weight / divisor).collect();
    }
    let scale = LONGEST as f64 / total as f64;
    // In range: each is at most LONGEST.
    weights.iter().map(|weight| ((f64::from(weight / divisor) * scale).round() as u32).max(1)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The smooth order: in each turn everyone gains its weight, and the richest pays the total for the turn.
fn lay_out(weights: &[u32]) -> Box<[u32]> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut purses = vec![0_i64; weights.len()];
    let mut turn = || {
        purses.iter_mut().zip(weights).for_each(|(purse, weight)| *purse += i64::from(*weight));
        let (index, purse) =
            (0_u32..).zip(purses.iter_mut()).max_by_key(|(index, purse)| (**purse, Reverse(*index)))?;
        *purse -= total;
        Some(index)
    };
    (0..total).map_while(|_| turn()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

    use super::super::Members;
    use super::super::tests::{endpoints, members, shares};
    use super::{LONGEST, Turns, reduce};

    fn cycle(weights: &[u32], count: usize) -> Vec<usize> {
        let members = members(weights);
        let turns = Turns::new(&members, 0);
        (0..count).map(|_| turns.pick(&members, |_| true).expect("an endpoint")).collect()
    }

    #[test]
    fn equal_weights_take_strict_turns_from_anywhere() {
        assert_eq!(cycle(&[7, 7, 7], 7), [0, 1, 2, 0, 1, 2, 0]);
        let members = members(&[1, 1, 1]);
        let turns = Turns::new(&members, 5);
        assert_eq!(turns.pick(&members, |_| true), Some(2));
    }

    #[test]
    fn the_light_ones_take_their_turns_between_those_of_the_heavy() {
        assert_eq!(cycle(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(cycle(&[20, 10], 6), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn the_turns_of_an_absent_one_are_shared_evenly() {
        let endpoints = endpoints(&[1, 1, 1, 1]);
        let absent = endpoints[1].address;
        let members = Members::new(endpoints);
        let turns = Turns::new(&members, 0);
        let seen = shares(4, 3000, || turns.pick(&members, |endpoint| endpoint.address != absent));
        assert!(
            seen.iter().zip([1.0, 0.0, 1.0, 1.0]).all(|(seen, part)| (seen - part / 3.0).abs() < 0.001),
            "{seen:?}"
        );
    }

    #[test]
    fn nobody_accepted_costs_a_few_looks_and_the_light_ones_keep_their_parts() {
        let endpoints = endpoints(&[4000, 2, 1]);
        let heavy = endpoints[0].address;
        let members = Members::new(endpoints);
        let turns = Turns::new(&members, 0);
        let looks = std::cell::Cell::new(0);
        let nobody = turns.pick(&members, |_| {
            looks.set(looks.get() + 1);
            false
        });
        assert_eq!((nobody, looks.get()), (None, 15));
        let seen = shares(3, 300, || turns.pick(&members, |endpoint| endpoint.address != heavy));
        assert!((seen[1] - 2.0 / 3.0).abs() < 0.01 && (seen[2] - 1.0 / 3.0).abs() < 0.01, "{seen:?}");
    }

    #[test]
    fn huge_weights_keep_their_proportions() {
        let weights = reduce(&[4_000_000_000, 2_000_000_001, 1]);
        assert!(weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() <= LONGEST + 3);
        assert!((f64::from(weights[0]) / f64::from(weights[1]) - 2.0).abs() < 0.01 && weights[2] == 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn each_cycle_is_exact_and_every_part_of_it_smooth(weights in prop::collection::vec(1_u32..50, 1..12)) {
            let total: u32 = weights.iter().sum();
            let picks = cycle(&weights, total as usize);
            let mut seen = vec![0_u32; weights.len()];
            for (turn, index) in picks.into_iter().enumerate() {
                seen[index] += 1;
                for (seen, weight) in seen.iter().zip(&weights) {
                    let due = f64::from(*weight) * (turn + 1) as f64 / f64::from(total);
                    prop_assert!((f64::from(*seen) - due).abs() < 1.5 + weights.len() as f64 / 4.0, "{weights:?}");
                }
            }
            prop_assert_eq!(seen, weights);
        }
    }
}
