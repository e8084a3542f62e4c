//! Groups of endpoints by where they stand, and how much of all requests each gets.
//!
//! Weighted is Envoy's locality weighting: a group's weight, lessened as far as its health is below what the
//! overprovisioning bears. Zone-aware is Envoy's zone-aware routing: if the caller's own zone has as large a part of the
//! endpoints as it has of the callers, all of its requests stay there; else as many as its endpoints are for, and the rest
//! goes to zones that have more endpoints than callers, in proportion to that surplus. So every endpoint is asked alike
//! often whatever zone it stands in, as long as callers are asked alike.
//!
//! A group never is a trap: whoever finds nobody there looks everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use outrigger_config::cluster::Localities;
use outrigger_config::endpoint::Locality;

use super::Picker;
use crate::endpoint::Endpoint;

/// Into how many parts all requests are divided.
pub const PARTS: u32 = 10_000;

/// Who calls: where this proxy stands, and how many callers like it there are in each place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Where this proxy stands.
    pub home: Locality,
    /// How many callers stand where; empty where that is not known.
    pub counts: Vec<(Locality, u64)>,
}

/// The groups of one priority.
#[derive(Debug)]
pub struct Zones {
    zones: Box<[Zone]>,
    /// Whether requests go by groups at the moment.
    active: AtomicBool,
}

#[derive(Debug)]
struct Zone {
    locality: Locality,
    picker: Picker,
    weight: u32,
    /// Where its share of the parts ends.
    end: AtomicU32,
}

impl Zones {
    /// The groups of `endpoints`, each with a picker; none where all stand in one place.
    pub fn new(
        endpoints: &[Arc<Endpoint>],
        picker: impl Fn(Vec<Arc<Endpoint>>) -> Picker,
        weight: impl Fn(&Locality) -> Option<u32>,
    ) -> Option<Self> {
        let mut localities: Vec<&Locality> = endpoints.iter().map(|endpoint| &endpoint.locality).collect();
        localities.sort_unstable();
        localities.dedup();
        if localities.len() < 2 {
            return None;
        }
        let zone = |locality: &Locality| {
            let own: Vec<_> = endpoints.iter().filter(|one| one.locality == *locality).map(Arc::clone).collect();
            let sum = own.iter().fold(0_u32, |sum, one| sum.saturating_add(one.weight()));
            Zone {
                locality: locality.clone(),
                weight: weight(locality).unwrap_or(sum),
                picker: picker(own),
                end: AtomicU32::new(0),
            }
        };
        Some(Zones { zones: localities.into_iter().map(zone).collect(), active: AtomicBool::new(false) })
    }

    /// Distributes requests anew, as the policy says, and by whoever is in.
    pub fn assess(
        &self,
        policy: Localities,
        overprovisioning: u32,
        callers: Option<&Callers>,
        is_in: impl Fn(&Endpoint) -> bool,
    ) {
        let inside = |zone: &Zone| zone.picker.endpoints().iter().filter(|one| is_in(one)).count() as u64;
        let loads = match policy {
            Localities::Ignored => None,
            Localities::Weighted => {
                let zones: Vec<_> = self
                    .zones
                    .iter()
                    .map(|zone| (zone.weight, inside(zone), zone.picker.endpoints().len() as u64))
                    .collect();
                weighted(&zones, overprovisioning)
            }
            Localities::ZoneAware { percent, min_endpoints } => callers.and_then(|callers| {
                let there: Vec<u64> = self.zones.iter().map(inside).collect();
                if there.iter().sum::<u64>() < u64::from(min_endpoints) {
                    return None;
                }
                let of = |zone: &Zone| {
                    let here = callers.counts.iter().find(|(place, _)| *place == zone.locality);
                    match callers.counts.is_empty() {
                        // Nobody knows: as if callers stood alike in every place.
                        true => 1,
                        false => here.map_or(0, |(_, count)| *count),
                    }
                };
                let here: Vec<u64> = self.zones.iter().map(of).collect();
                let known = |place: &Locality| self.zones.iter().any(|zone| zone.locality == *place);
                let elsewhere = callers.counts.iter().filter(|(place, _)| !known(place)).map(|(_, count)| count).sum();
                let home = self.zones.iter().position(|zone| zone.locality == callers.home);
                zone_aware(&here, elsewhere, &there, home, percent.ratio())
            }),
        };
        let Some(loads) = loads else {
            self.active.store(false, Ordering::Relaxed);
            return;
        };
        // Relaxed: a request at the moment of change may meet a share of before beside one of after, and goes either way.
        let mut sum = 0.0;
        for (zone, load) in self.zones.iter().zip(&loads) {
            sum += load;
            // In range: a part of the whole.
            zone.end.store((sum * f64::from(PARTS)).round() as u32, Ordering::Relaxed);
        }
        self.active.store(true, Ordering::Relaxed);
    }

    /// The picker of each group.
    pub fn pickers(&self) -> impl Iterator<Item = &Picker> {
        self.zones.iter().map(|zone| &zone.picker)
    }

    /// Where a request at `point`, below [`PARTS`], goes first; none where requests do not go by groups.
    pub fn choose(&self, point: u32) -> Option<&Picker> {
        if !self.active.load(Ordering::Relaxed) {
            return None;
        }
        self.zones.iter().find(|zone| point < zone.end.load(Ordering::Relaxed)).map(|zone| &zone.picker)
    }
}

/// The shares of groups by weight, in and all; they add up to 1. None if nobody has any weight.
fn weighted(zones: &[(u32, u64, u64)], overprovisioning: u32) -> Option<Vec<f64>> {
    let effective = |(weight, inside, all): &(u32, u64, u64)| {
        let health = *inside as f64 / (*all).max(1) as f64 * f64::from(overprovisioning) / 100.0;
        f64::from(*weight) * health.min(1.0)
    };
    let weights: Vec<f64> = zones.iter().map(effective).collect();
    let total: f64 = weights.iter().sum();
    (total > 0.0).then(|| weights.iter().map(|weight| weight / total).collect())
}

/// The shares of zones with so many callers and so many endpoints in each, for a caller of zone `home`; they add up to 1.
/// `elsewhere` callers stand where no endpoint does. None if nobody is there.
fn zone_aware(here: &[u64], elsewhere: u64, there: &[u64], home: Option<usize>, enabled: f64) -> Option<Vec<f64>> {
    let endpoints: u64 = there.iter().sum();
    if endpoints == 0 {
        return None;
    }
    let callers = (here.iter().sum::<u64>() + elsewhere).max(1);
    let calls = |zone: usize| here[zone] as f64 / callers as f64;
    let bears = |zone: usize| there[zone] as f64 / endpoints as f64;
    // A caller that is not counted among its own is one all the same.
    let own = home.filter(|home| here[*home] > 0);
    let stays = match (home, own) {
        (_, Some(home)) => (bears(home) / calls(home)).min(1.0),
        // Its part of the callers is next to none, which any endpoint in its zone bears.
        (Some(home), None) if there[home] > 0 => 1.0,
        _ => 0.0,
    };
    let surplus: Vec<f64> = (0..there.len())
        .map(|zone| if home == Some(zone) { 0.0 } else { (bears(zone) - calls(zone)).max(0.0) })
        .collect();
    let total: f64 = surplus.iter().sum();
    let share = |zone: usize| {
        let rest = if total > 0.0 { surplus[zone] / total } else { bears(zone) };
        let zoned = if home == Some(zone) { stays } else { 0.0 } + (1.0 - stays) * rest;
        enabled * zoned + (1.0 - enabled) * bears(zone)
    };
    Some((0..there.len()).map(share).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert, proptest};

    use super::{weighted, zone_aware};

    fn near(seen: Option<Vec<f64>>, expected: &[f64]) {
        let seen = seen.expect("shares");
        let close = seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 1e-9);
        assert!(close && seen.len() == expected.len(), "{seen:?} is not {expected:?}");
    }

    #[test]
    fn shares_are_those_of_envoys_zone_aware_formula() {
        // Envoy, "Zone aware routing": all directly where the zone has as large a part of the upstream as of the callers.
        near(zone_aware(&[1, 1, 1], 0, &[2, 2, 2], Some(0), 1.0), &[1.0, 0.0, 0.0]);
        near(zone_aware(&[1, 3], 0, &[2, 2], Some(0), 1.0), &[1.0, 0.0]);
        // Else upstream part over callers' part: 25 % over 50 %, and the rest by what the others have to spare.
        near(zone_aware(&[2, 1, 1], 0, &[1, 1, 2], Some(0), 1.0), &[0.5, 0.0, 0.5]);
        // 10 % over 60 % stay; 30 and 20 points to spare elsewhere take the other five sixths by 3 to 2.
        near(zone_aware(&[6, 2, 2], 0, &[1, 5, 4], Some(0), 1.0), &[1.0 / 6.0, 0.5, 1.0 / 3.0]);
        // Nobody in the zone is in: all goes to where there is room.
        near(zone_aware(&[1, 1, 1], 0, &[0, 3, 3], Some(0), 1.0), &[0.0, 0.5, 0.5]);
        // A zone of callers alone takes part in the reckoning.
        near(zone_aware(&[1, 0], 1, &[1, 1], Some(0), 1.0), &[1.0, 0.0]);
        near(zone_aware(&[0, 1], 1, &[1, 1], None, 1.0), &[1.0, 0.0]);
        // Enabled for half: the other half is spread by endpoints.
        near(zone_aware(&[1, 1], 0, &[2, 2], Some(0), 0.5), &[0.75, 0.25]);
        assert_eq!(zone_aware(&[1, 1], 0, &[0, 0], Some(0), 1.0), None);
    }

    #[test]
    fn weights_fall_with_health_as_envoys_table_says() {
        // Envoy, "Locality weighted load balancing": weights 1 and 2, and the share of localities X and Y by X's health.
        for (health, expected) in [
            (100, [1.0 / 3.0, 2.0 / 3.0]),
            (72, [1.0 / 3.0, 2.0 / 3.0]),
            (50, [0.7 / 2.7, 2.0 / 2.7]),
            (25, [0.35 / 2.35, 2.0 / 2.35]),
            (0, [0.0, 1.0]),
        ] {
            near(weighted(&[(1, health, 100), (2, 100, 100)], 140), &expected);
        }
        assert_eq!(weighted(&[(0, 1, 1), (3, 0, 1)], 140), None, "nobody with a weight is in");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn everything_goes_somewhere_nothing_to_the_dead_and_no_endpoint_is_asked_more_than_its_part(
            zones in prop::collection::vec((1_u64..20, 0_u64..20), 2..6)
                .prop_filter("somebody is in", |zones| zones.iter().any(|(_, there)| *there > 0)),
        ) {
            let (here, there): (Vec<u64>, Vec<u64>) = zones.iter().copied().unzip();
            let (callers, endpoints) = (here.iter().sum::<u64>() as f64, there.iter().sum::<u64>() as f64);
            let mut asked = vec![0.0; zones.len()];
            for home in 0..zones.len() {
                let shares = zone_aware(&here, 0, &there, Some(home), 1.0).expect("shares");
                prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
                for (zone, share) in shares.iter().enumerate() {
                    prop_assert!(there[zone] > 0 || *share < 1e-9, "{shares:?}");
                    asked[zone] += share * here[home] as f64 / callers;
                }
            }
            // What all callers together send to a zone is what its endpoints are for.
            for (zone, asked) in asked.iter().enumerate() {
                prop_assert!((asked - there[zone] as f64 / endpoints).abs() < 1e-6, "{zones:?}: {asked}");
            }
        }
    }
}
