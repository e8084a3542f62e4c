//! The endpoints of an assignment as a cluster takes them in: known ones with their history, each with the limits and
//! checks of the cluster's configuration, in the order its balancing wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_config::cluster::{Balancing, Cluster as Model, Localities};
use outrigger_config::endpoint::{Endpoint as EndpointModel, LocalityWeight};
use outrigger_config::subset::{Criteria, PlaceWeights};

use super::Setting;
use crate::balance::{Picker, Subsets};
use crate::endpoint::{Endpoint, Latency};

/// What picks among them, and among parts of them for whoever asks so.
pub(super) fn picker(
    config: &Model,
    asked: &[Criteria],
    endpoints: Vec<Arc<Endpoint>>,
    overprovisioning: u32,
    weights: &[LocalityWeight],
    seed: u64,
) -> Picker {
    let make = |endpoints, zoned: bool, weights: &[LocalityWeight]| {
        let mut picker = Picker::new(config.balancing, endpoints, seed).bounded(config.balance_factor);
        if zoned {
            picker = picker.zoned(config.balancing, weights, seed);
        }
        picker.levelled(config.balancing, overprovisioning, seed)
    };
    let subsets = config.subsets.as_ref().map(|model| {
        let part = |own: Vec<Arc<Endpoint>>| match (config.localities, model.places) {
            (Localities::Ignored, _) | (Localities::Weighted, PlaceWeights::Ignored) => make(own, false, &[]),
            (Localities::ZoneAware { .. }, _) => make(own, true, weights),
            (Localities::Weighted, places) => {
                let weights = weights_of(&own, &endpoints, weights, places == PlaceWeights::Scaled);
                make(own, true, &weights)
            }
        };
        Subsets::new(model, asked, &endpoints, part)
    });
    make(endpoints, config.localities != Localities::Ignored, weights).divided(subsets)
}

/// The weights that places have in a subset: their own, or as much of it as of their endpoints are in the subset.
fn weights_of(
    own: &[Arc<Endpoint>],
    all: &[Arc<Endpoint>],
    weights: &[LocalityWeight],
    scaled: bool,
) -> Vec<LocalityWeight> {
    let mut found: Vec<LocalityWeight> = Vec::new();
    for one in own {
        let (priority, locality) = (one.priority(), &one.locality);
        let is_here = |other: &&Arc<Endpoint>| other.priority() == priority && other.locality == *locality;
        if found.iter().any(|known| known.priority == priority && known.locality == *locality) {
            continue;
        }
        let said = weights.iter().find(|one| one.priority == priority && one.locality == *locality);
        let sum = || all.iter().filter(is_here).fold(0_u32, |sum, one| sum.saturating_add(one.weight()));
        let whole = said.map_or_else(sum, |one| one.weight);
        let weight = if scaled && whole > 0 {
            let (part, of) = (own.iter().filter(is_here).count(), all.iter().filter(is_here).count());
            // In range: a part of a number of the same type.
            (f64::from(whole) * part as f64 / of.max(1) as f64).round().max(1.0) as u32
        } else {
            whole
        };
        found.push(LocalityWeight { priority, locality: locality.clone(), weight });
    }
    found
}

/// Gives an endpoint what the cluster says of each.
pub(super) fn tune(endpoint: &Endpoint, config: &Model) {
    endpoint.limits.tune_endpoint(config.limits.as_ref(), config.rehearsed.limits.as_ref());
    endpoint.check.tune(config.health_check.as_ref());
    endpoint.rehearsed_check.tune(config.rehearsed.health_check.as_ref());
}

/// What is expected of an endpoint that has not answered yet.
pub(super) fn latency(balancing: Balancing) -> Latency {
    match balancing {
        Balancing::PeakEwma { decay, default_rtt } => Latency { default: default_rtt, decay },
        _ => Latency::default(),
    }
}

/// The endpoints of an assignment, known ones with their history.
pub(super) fn adopt(
    known: &[Arc<Endpoint>],
    models: &[EndpointModel],
    latency: Latency,
    setting: Setting,
) -> Vec<Arc<Endpoint>> {
    let mut by_address: HashMap<SocketAddr, &Arc<Endpoint>> =
        known.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
    let endpoint = |model: &EndpointModel| match by_address.remove(&model.address).filter(|known| known.is(model)) {
        Some(known) => {
            known.update(model);
            Arc::clone(known)
        }
        None => {
            let endpoint = Endpoint::new(model, setting.workers, latency, setting.now);
            if !known.is_empty() {
                endpoint.ramp.begin(setting.now);
                endpoint.check.comes_later();
                endpoint.rehearsed_check.comes_later();
            }
            Arc::new(endpoint)
        }
    };
    models.iter().map(endpoint).collect()
}
