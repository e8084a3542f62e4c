//! How an endpoint is chosen (`Cluster.lb_policy`, `Cluster.load_balancing_policy`).
//!
//! Envoy gets the enum. gRPC gets the list, whose first known entry counts, and in the enum ROUND_ROBIN: it refuses the
//! others before it looks at the list. Peak EWMA exists nowhere else; least request is the closest to it.

use std::time::Duration;

use prost_xds::{Message, Name};
use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::value::{duration, required_duration, unsupported};
use super::wire::balancing::{HashFunction, LeastRequest, Random, RingHash, RoundRobin, WrrLocality};
use super::wire::{self, outrigger};
use crate::cluster::{Balancing, Cluster};
use crate::error::Problem;
use crate::resource::ClientKind;
use crate::value::Percent;

use xds::cluster::{LbConfig, LbPolicy, RingHashLbConfig, ring_hash_lb_config};

/// The sizes of a ring where nothing is said.
const DEFAULT_RING: (u64, u64) = (1024, 8_388_608);

/// The fields of a cluster that say how an endpoint is chosen.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) lb_policy: i32,
    pub(super) lb_config: Option<LbConfig>,
    pub(super) load_balancing_policy: Option<xds::LoadBalancingPolicy>,
}

/// Encodes for a client.
pub(super) fn encode(balancing: Balancing, client: ClientKind) -> Fields {
    if client == ClientKind::Grpc {
        return encode_list(balancing);
    }
    let (policy, lb_config) = match balancing {
        Balancing::RoundRobin => (LbPolicy::RoundRobin, None),
        Balancing::LeastRequest | Balancing::PeakEwma { .. } => (LbPolicy::LeastRequest, None),
        Balancing::Random => (LbPolicy::Random, None),
        Balancing::RingHash { min_size, max_size } => {
            let ring = RingHashLbConfig {
                minimum_ring_size: ring_size(min_size),
                maximum_ring_size: ring_size(max_size),
                hash_function: ring_hash_lb_config::HashFunction::XxHash.into(),
            };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(ring)))
        }
    };
    Fields { lb_policy: policy.into(), lb_config, load_balancing_policy: None }
}

fn encode_list(balancing: Balancing) -> Fields {
    let ring = match balancing {
        Balancing::RingHash { min_size, max_size } => Some(entry(&RingHash {
            hash_function: HashFunction::XxHash.into(),
            minimum_ring_size: ring_size(min_size),
            maximum_ring_size: ring_size(max_size),
        })),
        _ => None,
    };
    // gRPC refuses a locality policy around one it does not have, so that there is only round robin to offer.
    let turns = xds::LoadBalancingPolicy { policies: vec![entry(&RoundRobin {})] };
    let last = entry(&WrrLocality { endpoint_picking_policy: Some(turns) });
    Fields {
        lb_policy: LbPolicy::RoundRobin.into(),
        lb_config: None,
        load_balancing_policy: Some(xds::LoadBalancingPolicy { policies: ring.into_iter().chain([last]).collect() }),
    }
}

fn entry<M: Message + Name>(policy: &M) -> xds::load_balancing_policy::Policy {
    let config = core::TypedExtensionConfig { name: M::full_name(), typed_config: Some(wire::pack(policy)) };
    xds::load_balancing_policy::Policy { typed_extension_config: Some(config) }
}

fn ring_size(value: u32) -> Option<pb::UInt64Value> {
    Some(pb::UInt64Value { value: value.into() })
}

/// Decodes: the list where there is one, else the enum.
pub(super) fn decode(cluster: &xds::Cluster) -> Result<Balancing, Problem> {
    if let Some(list) = &cluster.load_balancing_policy {
        return decode_list(list)?.ok_or_else(|| {
            let known = "needs one of round_robin, least_request, random, ring_hash or wrr_locality around one";
            unsupported("load_balancing_policy", known)
        });
    }
    match LbPolicy::try_from(cluster.lb_policy) {
        Ok(LbPolicy::RoundRobin) => Ok(Balancing::RoundRobin),
        Ok(LbPolicy::LeastRequest) => Ok(Balancing::LeastRequest),
        Ok(LbPolicy::Random) => Ok(Balancing::Random),
        Ok(LbPolicy::RingHash) => match &cluster.lb_config {
            Some(LbConfig::RingHashLbConfig(ring)) => ring_hash(ring.minimum_ring_size, ring.maximum_ring_size)
                .map_err(|problem| problem.at_field("ring_hash_lb_config")),
            _ => ring_hash(None, None),
        },
        Ok(policy) => Err(unsupported("lb_policy", "is not supported").with_value(policy.as_str_name())),
        Err(_) => Err(unsupported("lb_policy", "is not known").with_value(cluster.lb_policy)),
    }
}

/// The first entry that is known, inside a locality policy or not.
fn decode_list(list: &xds::LoadBalancingPolicy) -> Result<Option<Balancing>, Problem> {
    for (index, policy) in list.policies.iter().enumerate() {
        let config = policy.typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref());
        let found = config.map_or(Ok(None), decode_entry).map_err(|problem| {
            problem.at_field("typed_config").at_field("typed_extension_config").at_index(index).at_field("policies")
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn decode_entry(any: &pb::Any) -> Result<Option<Balancing>, Problem> {
    Ok(if wire::is::<RoundRobin>(any) {
        Some(Balancing::RoundRobin)
    } else if wire::is::<LeastRequest>(any) {
        Some(Balancing::LeastRequest)
    } else if wire::is::<Random>(any) {
        Some(Balancing::Random)
    } else if wire::is::<RingHash>(any) {
        let ring: RingHash = wire::unpack(any)?;
        Some(ring_hash(ring.minimum_ring_size, ring.maximum_ring_size)?)
    } else if wire::is::<WrrLocality>(any) {
        // Nested messages are bounded by prost; a locality policy inside another only costs its own bytes.
        let outer: WrrLocality = wire::unpack(any)?;
        outer.endpoint_picking_policy.as_ref().map_or(Ok(None), decode_list)?
    } else {
        None
    })
}

fn ring_hash(min: Option<pb::UInt64Value>, max: Option<pb::UInt64Value>) -> Result<Balancing, Problem> {
    let size = |field: &str, given: Option<pb::UInt64Value>, default: u64| {
        let value = given.map_or(default, |given| given.value);
        u32::try_from(value).map_err(|_| Problem::invalid(value, "must be at most 8388608").at_field(field))
    };
    let max_size = size("maximum_ring_size", max, DEFAULT_RING.1)?;
    let min_size = size("minimum_ring_size", min, DEFAULT_RING.0.min(max_size.into()))?;
    Ok(Balancing::RingHash { min_size, max_size })
}

/// Encodes the panic threshold, unless it is what xDS has where nothing is said.
pub(super) fn encode_panic(threshold: Percent) -> Option<xds::cluster::CommonLbConfig> {
    let value = f64::from(threshold.millionths()) / 10_000.0;
    (threshold != Cluster::default_panic_threshold()).then(|| xds::cluster::CommonLbConfig {
        healthy_panic_threshold: Some(kinds::Percent { value }),
        ..Default::default()
    })
}

/// Decodes the panic threshold.
pub(super) fn decode_panic(cluster: &xds::Cluster) -> Result<Percent, Problem> {
    let given = cluster.common_lb_config.as_ref().and_then(|config| config.healthy_panic_threshold.as_ref());
    let read = |given: &kinds::Percent| {
        Percent::try_new(given.value).map_err(|problem| {
            problem.at_field("value").at_field("healthy_panic_threshold").at_field("common_lb_config")
        })
    };
    given.map_or(Ok(Cluster::default_panic_threshold()), read)
}

/// What xDS calls least request, in our own words.
pub(super) fn peak_ewma(balancing: Balancing) -> Option<outrigger::PeakEwma> {
    match balancing {
        Balancing::PeakEwma { decay, default_rtt } => {
            Some(outrigger::PeakEwma { decay: duration(decay), default_rtt: duration(default_rtt) })
        }
        _ => None,
    }
}

/// Reads our own words.
pub(super) fn read_peak_ewma(message: &outrigger::PeakEwma) -> Result<Balancing, Problem> {
    let decay = required_duration("decay", message.decay.as_ref())?;
    let default_rtt: Duration = required_duration("default_rtt", message.default_rtt.as_ref())?;
    Ok(Balancing::PeakEwma { decay, default_rtt })
}
