//! Groups of endpoints by priority, and how much of all requests each gets.
//!
//! Envoy's rule: a group is as healthy as the share of its endpoints that are in, times the overprovisioning, and at most
//! wholly. Requests go to the first group as far as it is healthy, what is left over to the next, and so on; if all
//! together are less than healthy, their parts are scaled up to the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::endpoint::Endpoint;

/// The share of all requests of each group, in percent; the lowest priority number first.
#[derive(Debug)]
pub struct Levels {
    groups: Box<[Group]>,
    overprovisioning: u32,
}

#[derive(Debug)]
struct Group {
    endpoints: Box<[Arc<Endpoint>]>,
    load: AtomicU32,
}

impl Levels {
    /// The groups of `endpoints`; none where all have one priority.
    pub fn new(endpoints: &[Arc<Endpoint>], overprovisioning: u32) -> Option<Self> {
        let mut priorities: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.priority()).collect();
        priorities.sort_unstable();
        priorities.dedup();
        if priorities.len() < 2 {
            return None;
        }
        let group = |(index, priority): (usize, u32)| Group {
            endpoints: endpoints.iter().filter(|endpoint| endpoint.priority() == priority).map(Arc::clone).collect(),
            load: AtomicU32::new(if index == 0 { 100 } else { 0 }),
        };
        Some(Levels { groups: priorities.into_iter().enumerate().map(group).collect(), overprovisioning })
    }

    /// The endpoints of each group.
    pub fn groups(&self) -> impl Iterator<Item = &[Arc<Endpoint>]> {
        self.groups.iter().map(|group| &*group.endpoints)
    }

    /// Distributes the load anew. True if all groups together are wholly healthy.
    pub fn assess(&self, is_in: impl Fn(&Endpoint) -> bool) -> bool {
        let health: Vec<u32> = self
            .groups
            .iter()
            .map(|group| {
                let inside = group.endpoints.iter().filter(|endpoint| is_in(endpoint)).count();
                health(inside, group.endpoints.len(), self.overprovisioning)
            })
            .collect();
        for (group, load) in self.groups.iter().zip(loads(&health)) {
            // Relaxed: a request at the moment of change may meet either.
            group.load.store(load, Ordering::Relaxed);
        }
        health.iter().sum::<u32>() >= 100
    }

    /// The groups in the order they are asked for a request at `point`, 0 to 99: its own, then the others.
    pub fn order(&self, point: u32) -> impl Iterator<Item = usize> {
        let mut sum = 0;
        let own = self.groups.iter().position(|group| {
            sum += group.load.load(Ordering::Relaxed);
            point < sum
        });
        let own = own.unwrap_or(0);
        std::iter::once(own).chain((0..self.groups.len()).filter(move |index| *index != own))
    }
}

/// How healthy a group is, in percent.
fn health(inside: usize, all: usize, overprovisioning: u32) -> u32 {
    let percent = (inside as u64 * u64::from(overprovisioning)).checked_div(all as u64).unwrap_or(0);
    // In range: at most 100.
    percent.min(100) as u32
}

/// The loads of groups so healthy; their sum is 100. With nobody healthy all goes to the first.
fn loads(health: &[u32]) -> Vec<u32> {
    let total = health.iter().sum::<u32>().min(100);
    let mut left = 100;
    let mut loads: Vec<u32> = health
        .iter()
        .map(|health| {
            let load = (health * 100).checked_div(total).unwrap_or(0).min(left);
            left -= load;
            load
        })
        .collect();
    // What rounding left over goes to the first that is healthy at all.
    let first = health.iter().position(|health| *health > 0).unwrap_or(0);
    if let Some(load) = loads.get_mut(first) {
        *load += left;
    }
    loads
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

    use super::{health, loads};

    #[test]
    fn loads_are_those_of_envoys_tables() {
        // Envoy, "Priority levels": the share of healthy endpoints of each priority, and the traffic to each.
        for (healthy, expected) in [
            (vec![100, 100], vec![100, 0]),
            (vec![72, 72], vec![100, 0]),
            (vec![71, 71], vec![99, 1]),
            (vec![50, 50], vec![70, 30]),
            (vec![25, 100], vec![35, 65]),
            (vec![25, 25], vec![50, 50]),
            (vec![0, 100], vec![0, 100]),
            (vec![100, 100, 100], vec![100, 0, 0]),
            (vec![72, 72, 100], vec![100, 0, 0]),
            (vec![71, 71, 100], vec![99, 1, 0]),
            (vec![50, 50, 100], vec![70, 30, 0]),
            (vec![25, 100, 100], vec![35, 65, 0]),
            (vec![25, 25, 100], vec![35, 35, 30]),
        ] {
            let health: Vec<_> = healthy.iter().map(|percent| health(*percent, 100, 140)).collect();
            assert_eq!(loads(&health), expected, "{healthy:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn all_of_the_load_is_given_and_none_to_the_dead(health in prop::collection::vec(0_u32..=100, 1..8)) {
            let loads = loads(&health);
            prop_assert_eq!(loads.iter().sum::<u32>(), 100);
            if health.iter().any(|one| *one > 0) {
                prop_assert!(loads.iter().zip(&health).all(|(load, health)| *health > 0 || *load == 0));
            }
        }
    }
}
