//! Each in turn, by what endpoints report of their load (client-side weighted round robin, gRFC A58).
//!
//! About every second the reports are made into weights and the turns laid out anew. Whoever reports nothing that is to be
//! believed has the mean of those who do; with fewer than two of those there is nothing to compare, and all take equal
//! turns. No report makes an endpoint more than ten times heavier or lighter than the median: one that lies, or has gone
//! wrong, neither draws all requests nor starves.

use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_config::cluster::LoadReports;

use super::{Members, Turns};
use crate::endpoint::Endpoint;

/// How far from the median a weight may be.
const RANGE: f64 = 10.0;

/// The weight of the median; others are parts or multiples of it.
const MEDIAN: f64 = 1000.0;

/// Turns that are laid out again and again.
#[derive(Debug)]
pub struct ByReports {
    rules: LoadReports,
    turns: ArcSwap<Turns>,
}

impl ByReports {
    /// By the endpoints' own weights, until reports are looked at.
    pub fn new(members: &Members, rules: LoadReports, seed: u64) -> Self {
        ByReports { rules, turns: ArcSwap::from_pointee(Turns::new(members, seed)) }
    }

    /// Looks at the reports anew.
    pub fn weigh(&self, members: &Members, now: Instant) {
        let weights = weights(members, &self.rules, now);
        self.turns.store(Turns::laid_out(&weights, self.turns.load().turn()).into());
    }

    /// Whose turn it is.
    pub fn pick(&self, members: &Members, accept: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        self.turns.load().pick(members, accept)
    }
}

/// A weight for each endpoint; its own weight takes part, as everywhere.
fn weights(members: &Members, rules: &LoadReports, now: Instant) -> Vec<u32> {
    let reported: Vec<_> = members.endpoints().iter().map(|one| one.reported.weight(rules, now)).collect();
    level(&reported).into_iter().zip(members.weights()).map(|(level, own)| level.saturating_mul(*own)).collect()
}

fn level(reported: &[Option<f64>]) -> Vec<u32> {
    let mut known: Vec<f64> = reported.iter().flatten().copied().collect();
    if known.len() < 2 {
        return vec![1; reported.len()];
    }
    known.sort_unstable_by(f64::total_cmp);
    let median = known[known.len() / 2];
    let bounded = |weight: f64| (weight / median).clamp(1.0 / RANGE, RANGE);
    let mean = known.iter().map(|weight| bounded(*weight)).sum::<f64>() / known.len() as f64;
    let weight = |weight: &Option<f64>| (weight.map_or(mean, bounded) * MEDIAN).round();
    // In range: at most ten times a thousand.
    reported.iter().map(|one| weight(one) as u32).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::LoadReports;

    use super::{ByReports, level};
    use crate::balance::tests::{members, shares};

    #[test]
    fn weights_are_proportional_to_reported_capacity_and_bounded() {
        assert_eq!(level(&[Some(100.0), Some(200.0), Some(400.0)]), [500, 1000, 2000]);
        assert_eq!(level(&[Some(100.0), None, Some(300.0)]), [333, 667, 1000], "the mean for whoever is silent");
        assert_eq!(level(&[Some(100.0), None]), [1, 1], "one alone is compared with nobody");
        assert_eq!(level(&[Some(1e-9), Some(1.0), Some(1e18)]), [100, 1000, 10_000]);
    }

    #[test]
    fn requests_follow_the_reports_once_they_are_believed() {
        let (members, start) = (members(&[1, 1, 1]), Instant::now());
        let rules = LoadReports::default();
        let turns = ByReports::new(&members, rules, 0);
        for (endpoint, weight) in members.endpoints().iter().zip([100.0, 200.0, 300.0]) {
            endpoint.reported.report(weight, start);
        }
        let mut even = shares(3, 3000, || turns.pick(&members, |_| true));
        // Between two looks at nothing new, turns go on where they were.
        let before: Vec<_> = (0..2).map(|_| turns.pick(&members, |_| true)).collect();
        turns.weigh(&members, start + Duration::from_secs(5));
        let after = turns.pick(&members, |_| true);
        assert!(!before.contains(&after), "{before:?} {after:?}");
        even.extend(shares(3, 3000, || turns.pick(&members, |_| true)));
        assert!(even.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{even:?}");
        turns.weigh(&members, start + Duration::from_secs(11));
        let seen = shares(3, 6000, || turns.pick(&members, |_| true));
        for (share, part) in seen.iter().zip([1.0, 2.0, 3.0]) {
            assert!((share - part / 6.0).abs() < 0.01, "{seen:?}");
        }
    }
}
