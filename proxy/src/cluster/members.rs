//! The endpoints of an assignment as a cluster takes them in: known ones with their history, each with the limits and
//! checks of the cluster's configuration, in the order its balancing wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_config::cluster::{Balancing, Cluster as Model, Localities};
use outrigger_config::endpoint::{Endpoint as EndpointModel, LocalityWeight};

use super::Setting;
use crate::balance::Picker;
use crate::endpoint::{Endpoint, Latency};

/// What picks among them.
pub(super) fn picker(
    config: &Model,
    endpoints: Vec<Arc<Endpoint>>,
    overprovisioning: u32,
    weights: &[LocalityWeight],
    seed: u64,
) -> Picker {
    let mut picker = Picker::new(config.balancing, endpoints, seed).bounded(config.balance_factor);
    if config.localities != Localities::Ignored {
        picker = picker.zoned(config.balancing, weights, seed);
    }
    picker.levelled(config.balancing, overprovisioning, seed)
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
