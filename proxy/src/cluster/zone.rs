//! Where a destination's callers stand, for balancing that keeps requests in their zone.
//!
//! A proxy knows where it stands from its own identity, and where others like it stand from the endpoints of its own
//! service. It looks at them anew each time it looks at its destinations, about every second. One that belongs to no
//! service that is called reckons as if its like stood in every zone alike.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use outrigger_config::cluster::Localities;
use outrigger_config::endpoint::{Health, Locality};

use super::Cluster;
use crate::balance::{Callers, Picker, Subsets};
use crate::endpoint::Endpoint;

/// Where this proxy stands, as one destination sees it.
#[derive(Debug, Default)]
pub struct Place {
    standing: ArcSwapOption<Standing>,
    local: AtomicU64,
    cross: AtomicU64,
}

/// Where a proxy stands.
#[derive(Debug)]
struct Standing {
    home: Locality,
    /// The destination whose endpoints are its like.
    own: Weak<Cluster>,
}

impl Place {
    /// Requests that stayed in the caller's place, and that left it; neither is counted where places do not count.
    pub fn counts(&self) -> (u64, u64) {
        (self.local.load(Ordering::Relaxed), self.cross.load(Ordering::Relaxed))
    }
}

impl Cluster {
    /// Says where this proxy stands, and which destination is that of its like.
    pub fn stand(&self, home: &Locality, own: Option<&Arc<Cluster>>, now: Instant) {
        if !matches!(self.config.localities, Localities::ZoneAware { .. }) {
            return;
        }
        let own = own.map(Arc::downgrade).unwrap_or_default();
        let standing = Standing { home: home.clone(), own };
        self.place.standing.store((*home != Locality::default()).then(|| Arc::new(standing)));
        self.assess(now);
    }

    /// Distributes the load among places anew.
    pub(super) fn spread(&self, picker: &Picker, is_in: impl Fn(&Endpoint) -> bool) {
        if self.config.localities == Localities::Ignored {
            return;
        }
        let callers = self.place.standing.load().as_ref().map(|standing| {
            let own = standing.own.upgrade().map(|own| own.picker());
            let mut counts: Vec<(Locality, u64)> = Vec::new();
            let takes = |one: &&Arc<Endpoint>| one.health() == Health::Healthy;
            for endpoint in own.iter().flat_map(|picker| picker.endpoints()).filter(takes) {
                match counts.iter_mut().find(|(place, _)| *place == endpoint.locality) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((endpoint.locality.clone(), 1)),
                }
            }
            Callers { home: standing.home.clone(), counts }
        });
        let overprovisioning = self.overprovisioning.load(Ordering::Relaxed);
        let subsets = picker.subsets().into_iter().flat_map(Subsets::each).map(|subset| &subset.picker);
        for picker in subsets.chain([picker]) {
            picker.spread(self.config.localities, overprovisioning, callers.as_ref(), &is_in);
        }
    }

    /// Counts a request by whether it stays where it comes from.
    pub(super) fn count_place(&self, endpoint: &Endpoint) {
        if let Some(standing) = &*self.place.standing.load() {
            let counter = if endpoint.locality == standing.home { &self.place.local } else { &self.place.cross };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery, Localities};
    use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Locality, LocalityWeight};
    use outrigger_config::name::ResourceName;
    use outrigger_config::value::Percent;

    use crate::cluster::{Cluster, Setting};

    fn place(zone: &str) -> Locality {
        Locality { region: "r".into(), zone: zone.into() }
    }

    fn assignment(zones: &[&str]) -> Assignment {
        let endpoint = |(index, zone): (usize, &&str)| EndpointModel {
            locality: place(zone),
            ..EndpointModel::at(([10, 0, 0, index as u8], 80).into())
        };
        let name = ResourceName::try_new("catalog").expect("a name");
        Assignment::try_new(name, zones.iter().enumerate().map(endpoint).collect()).expect("valid")
    }

    fn cluster(assignment: &Assignment, localities: Localities, now: Instant) -> Arc<Cluster> {
        let mut model = Model::new(assignment.name.clone(), Discovery::Eds(assignment.name.clone()));
        (model.balancing, model.localities) = (Balancing::RoundRobin, localities);
        Arc::new(Cluster::new(model, Some(assignment), None, Setting { workers: 1, seed: 0, now }))
    }

    const AWARE: Localities = Localities::ZoneAware { percent: Percent::HUNDRED, min_endpoints: 2 };

    /// The shares of these zones in many picks.
    fn shares(cluster: &Cluster, zones: &[&str], now: Instant) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut counts = vec![0.0; zones.len()];
        for _ in 0..20_000 {
            let seat = cluster.pick(None, &[], now, &mut rng).expect("a seat");
            let zone = zones.iter().position(|zone| place(zone) == seat.endpoint().locality).expect("a zone");
            counts[zone] += 1.0 / 20_000.0;
        }
        counts
    }

    fn near(seen: &[f64], expected: &[f64]) {
        let close = seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 0.02);
        assert!(close, "{seen:?} is not {expected:?}");
    }

    #[test]
    fn requests_stay_as_far_as_the_zone_bears_them_and_follow_the_endpoints() {
        let now = Instant::now();
        let own = cluster(&assignment(&["a", "a", "b", "c"]), Localities::Ignored, now);
        let zones = ["a", "b", "c"];
        let destination = cluster(&assignment(&["a", "b", "c", "c"]), AWARE, now);
        near(&shares(&destination, &zones, now), &[0.25, 0.25, 0.5]);
        destination.stand(&place("a"), Some(&own), now);
        near(&shares(&destination, &zones, now), &[0.5, 0.0, 0.5]);
        // Another comes to the zone of half the callers: two of five, and still not all.
        destination.set_assignment(&assignment(&["a", "a", "b", "c", "c"]), now);
        near(&shares(&destination, &zones, now), &[0.8, 0.0, 0.2]);
        destination.set_assignment(&assignment(&["a"]), now);
        near(&shares(&destination, &zones, now), &[1.0, 0.0, 0.0]);
        assert!(destination.place.counts().0 > 0 && destination.place.counts().1 > 0);
    }

    #[test]
    fn a_zone_whose_endpoints_are_out_is_no_trap() {
        let now = Instant::now();
        let destination = cluster(&assignment(&["a", "b", "b"]), AWARE, now);
        destination.stand(&place("a"), None, now);
        let home = destination.picker().endpoints()[0].clone();
        home.outlier.eject(now, Duration::from_secs(30), 0);
        // Before anybody has looked anew, and after.
        near(&shares(&destination, &["a", "b"], now), &[0.0, 1.0]);
        destination.sweep(now);
        near(&shares(&destination, &["a", "b"], now), &[0.0, 1.0]);
        // Nowhere in particular: as if there were no zones.
        destination.stand(&Locality::default(), None, now);
        let later = now + Duration::from_secs(31);
        destination.sweep(later);
        near(&shares(&destination, &["a", "b"], later), &[1.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn weighed_places_get_their_weight_and_one_of_none_gets_nothing() {
        let now = Instant::now();
        let weight = |zone, weight| LocalityWeight { priority: 0, locality: place(zone), weight };
        let weighed = |weights| assignment(&["a", "b", "b", "c"]).weighing(weights);
        let destination =
            cluster(&weighed(vec![weight("a", 3), weight("b", 1), weight("c", 0)]), Localities::Weighted, now);
        near(&shares(&destination, &["a", "b", "c"], now), &[0.75, 0.25, 0.0]);
        destination.set_assignment(&weighed(vec![weight("a", 1), weight("b", 1), weight("c", 2)]), now);
        near(&shares(&destination, &["a", "b", "c"], now), &[0.25, 0.25, 0.5]);
    }
}
