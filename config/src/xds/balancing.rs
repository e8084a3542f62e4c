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

use super::value::{duration, missing, number, refuse_all, refused, required_duration, unsupported};
use super::wire::balancing::{
    ClientSideWeightedRoundRobin, ConsistentHashing, HashFunction, LeastRequest, Maglev, Random, RingHash, RoundRobin,
    Subset, WrrLocality,
};
use super::wire::{self, outrigger};
use super::{locality, reports, subset};
use crate::cluster::{Balancing, Cluster, LoadReports, Localities, SlowStart};
use crate::error::Problem;
use crate::resource::ClientKind;
use crate::subset::Subsets;
use crate::value::Percent;

use xds::cluster::common_lb_config::ConsistentHashingLbConfig;
use xds::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig, ring_hash_lb_config,
};

/// The sizes of a ring where nothing is said.
const DEFAULT_RING: (u64, u64) = (1024, 8_388_608);

/// The largest ring that gRPC makes by itself.
const GRPC_RING: u32 = 4096;

/// How many policies may stand inside each other, as with gRPC (gRFC A52). Each is bytes in the one around it, so that
/// no decoder of messages counts them, and each takes a piece of the stack.
const MAX_DEPTH: usize = 16;

/// What a client that takes runtime keys is told; Envoy refuses an empty one.
const AGGRESSION_KEY: &str = "outrigger.slow_start.aggression";

/// The fields of a cluster that say how an endpoint is chosen.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) lb_policy: i32,
    pub(super) lb_config: Option<LbConfig>,
    pub(super) common_lb_config: Option<CommonLbConfig>,
    pub(super) load_balancing_policy: Option<xds::LoadBalancingPolicy>,
}

/// How an endpoint is chosen, and what holds with any algorithm.
pub(super) struct Choice {
    pub(super) balancing: Balancing,
    pub(super) balance_factor: Option<u32>,
    pub(super) slow_start: Option<SlowStart>,
    pub(super) localities: Localities,
    pub(super) subsets: Option<Subsets>,
}

impl Choice {
    fn of(balancing: Balancing) -> Self {
        Choice { balancing, balance_factor: None, slow_start: None, localities: Localities::Ignored, subsets: None }
    }
}

/// Encodes for a client.
pub(super) fn encode(cluster: &Cluster, client: ClientKind) -> Fields {
    if client == ClientKind::Grpc {
        return encode_list(cluster.balancing);
    }
    let slow_start_config = cluster.slow_start.map(encode_slow_start);
    if let Balancing::ClientSideWeightedRoundRobin(reports) = cluster.balancing {
        return encode_reports(reports, slow_start_config, cluster, client);
    }
    let (policy, lb_config) = match cluster.balancing {
        Balancing::RoundRobin | Balancing::ClientSideWeightedRoundRobin(_) => {
            let config = slow_start_config.is_some().then_some(RoundRobinLbConfig { slow_start_config });
            (LbPolicy::RoundRobin, config.map(LbConfig::RoundRobinLbConfig))
        }
        Balancing::LeastRequest | Balancing::PeakEwma { .. } => {
            let is_some = slow_start_config.is_some();
            let config = LeastRequestLbConfig { slow_start_config, ..Default::default() };
            (LbPolicy::LeastRequest, is_some.then_some(config).map(LbConfig::LeastRequestLbConfig))
        }
        Balancing::Random => (LbPolicy::Random, None),
        Balancing::RingHash { min_size, max_size } => {
            let ring = RingHashLbConfig {
                minimum_ring_size: size(min_size),
                maximum_ring_size: size(max_size),
                hash_function: ring_hash_lb_config::HashFunction::XxHash.into(),
            };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(ring)))
        }
        Balancing::Maglev { table_size } => {
            (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: size(table_size) })))
        }
    };
    Fields {
        lb_policy: policy.into(),
        lb_config,
        common_lb_config: encode_common(cluster),
        load_balancing_policy: None,
    }
}

/// An Envoy that does not know it takes turns.
fn encode_reports(
    reports: LoadReports,
    slow_start: Option<SlowStartConfig>,
    cluster: &Cluster,
    client: ClientKind,
) -> Fields {
    let slow_start = slow_start.map(|config| wire::balancing::SlowStartConfig {
        slow_start_window: config.slow_start_window,
        aggression: config.aggression,
        min_weight_percent: config.min_weight_percent,
    });
    let first = entry(&reports::encode(reports, slow_start));
    let last = (client == ClientKind::Envoy).then(|| entry(&RoundRobin::default()));
    let list = xds::LoadBalancingPolicy { policies: Some(first).into_iter().chain(last).collect() };
    // Envoy takes no subsets beside a list, but as an entry of it.
    let list = match &cluster.subsets {
        None => list,
        Some(subsets) => xds::LoadBalancingPolicy { policies: vec![entry(&subset::encode_around(subsets, list))] },
    };
    Fields {
        lb_policy: LbPolicy::RoundRobin.into(),
        common_lb_config: encode_common(cluster),
        load_balancing_policy: Some(list),
        ..Fields::default()
    }
}

/// What is not as xDS has it where nothing is said.
fn encode_common(cluster: &Cluster) -> Option<CommonLbConfig> {
    let value = f64::from(cluster.panic_threshold.millionths()) / 10_000.0;
    let panic = (cluster.panic_threshold != Cluster::default_panic_threshold()).then_some(kinds::Percent { value });
    let hashing = cluster
        .balance_factor
        .filter(|_| cluster.balancing.is_hash())
        .map(|factor| ConsistentHashingLbConfig { hash_balance_factor: number(factor), ..Default::default() });
    let places = locality::encode(cluster.localities);
    (panic.is_some() || hashing.is_some() || places.is_some()).then(|| CommonLbConfig {
        locality_config_specifier: places,
        healthy_panic_threshold: panic,
        consistent_hashing_lb_config: hashing,
        ..Default::default()
    })
}

fn encode_slow_start(slow: SlowStart) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: duration(slow.window),
        aggression: Some(core::RuntimeDouble {
            default_value: f64::from(slow.aggression_thousandths) / 1000.0,
            runtime_key: AGGRESSION_KEY.to_owned(),
        }),
        min_weight_percent: Some(kinds::Percent { value: f64::from(slow.min_weight.millionths()) / 10_000.0 }),
    }
}

fn encode_list(balancing: Balancing) -> Fields {
    let ring = match balancing {
        Balancing::RingHash { min_size, max_size } => Some((min_size, max_size)),
        // gRPC has no table; a ring keeps keys as well.
        Balancing::Maglev { .. } => Some((DEFAULT_RING.0 as u32, GRPC_RING)),
        _ => None,
    };
    let ring = ring.map(|(min_size, max_size)| {
        entry(&RingHash {
            hash_function: HashFunction::XxHash.into(),
            minimum_ring_size: size(min_size),
            maximum_ring_size: size(max_size),
            consistent_hashing_lb_config: None,
        })
    });
    // gRPC refuses a locality policy around one it does not have, so that there is only round robin to offer.
    let turns = xds::LoadBalancingPolicy { policies: vec![entry(&RoundRobin::default())] };
    let last = entry(&WrrLocality { endpoint_picking_policy: Some(turns) });
    Fields {
        lb_policy: LbPolicy::RoundRobin.into(),
        load_balancing_policy: Some(xds::LoadBalancingPolicy { policies: ring.into_iter().chain([last]).collect() }),
        ..Fields::default()
    }
}

fn entry<M: Message + Name>(policy: &M) -> xds::load_balancing_policy::Policy {
    let config = core::TypedExtensionConfig { name: M::full_name(), typed_config: Some(wire::pack(policy)) };
    xds::load_balancing_policy::Policy { typed_extension_config: Some(config) }
}

fn size(value: u32) -> Option<pb::UInt64Value> {
    Some(pb::UInt64Value { value: value.into() })
}

/// Decodes: the list where there is one, else the enum.
pub(super) fn decode(cluster: &xds::Cluster) -> Result<Choice, Problem> {
    if let Some(list) = &cluster.load_balancing_policy {
        let mut choice = decode_list(list, MAX_DEPTH)?.ok_or_else(|| {
            let known = "needs one of round_robin, least_request, random, ring_hash, maglev, \
                         client_side_weighted_round_robin, or subset or wrr_locality around one";
            unsupported("load_balancing_policy", known)
        })?;
        if choice.localities == Localities::Ignored {
            choice.localities = locality::decode(cluster.common_lb_config.as_ref())?;
        }
        return Ok(choice);
    }
    let slow = |field: &str, given: &Option<SlowStartConfig>| {
        given
            .as_ref()
            .map(decode_slow_start)
            .transpose()
            .map_err(|problem| problem.at_field("slow_start_config").at_field(field))
    };
    let (balancing, slow_start) = match (LbPolicy::try_from(cluster.lb_policy), &cluster.lb_config) {
        (Ok(LbPolicy::RoundRobin), Some(LbConfig::RoundRobinLbConfig(config))) => {
            (Balancing::RoundRobin, slow("round_robin_lb_config", &config.slow_start_config)?)
        }
        (Ok(LbPolicy::RoundRobin), _) => (Balancing::RoundRobin, None),
        (Ok(LbPolicy::LeastRequest), Some(LbConfig::LeastRequestLbConfig(config))) => {
            (Balancing::LeastRequest, slow("least_request_lb_config", &config.slow_start_config)?)
        }
        (Ok(LbPolicy::LeastRequest), _) => (Balancing::LeastRequest, None),
        (Ok(LbPolicy::Random), _) => (Balancing::Random, None),
        (Ok(LbPolicy::RingHash), Some(LbConfig::RingHashLbConfig(ring))) => {
            let ring = ring_hash(ring.minimum_ring_size, ring.maximum_ring_size);
            (ring.map_err(|problem| problem.at_field("ring_hash_lb_config"))?, None)
        }
        (Ok(LbPolicy::RingHash), _) => (ring_hash(None, None)?, None),
        (Ok(LbPolicy::Maglev), Some(LbConfig::MaglevLbConfig(table))) => {
            (maglev(table.table_size).map_err(|problem| problem.at_field("maglev_lb_config"))?, None)
        }
        (Ok(LbPolicy::Maglev), _) => (maglev(None)?, None),
        (Ok(policy), _) => {
            return Err(unsupported("lb_policy", "is not supported").with_value(policy.as_str_name()));
        }
        (Err(_), _) => return Err(unsupported("lb_policy", "is not known").with_value(cluster.lb_policy)),
    };
    let hashing = cluster.common_lb_config.as_ref().and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let factor = hashing.and_then(|hashing| hashing.hash_balance_factor);
    let localities = locality::decode(cluster.common_lb_config.as_ref())?;
    let balance_factor = balance_factor(factor, balancing);
    Ok(Choice { balancing, balance_factor, slow_start, localities, subsets: None })
}

/// Zero is no bound, as with Envoy; and without a hash it means nothing.
fn balance_factor(given: Option<pb::UInt32Value>, balancing: Balancing) -> Option<u32> {
    given.map(|factor| factor.value).filter(|factor| *factor > 0 && balancing.is_hash())
}

fn decode_slow_start(message: &SlowStartConfig) -> Result<SlowStart, Problem> {
    let window = required_duration("slow_start_window", message.slow_start_window.as_ref())?;
    let mut slow = SlowStart::with_defaults(window);
    if let Some(aggression) = &message.aggression {
        let thousandths = aggression.default_value * 1000.0;
        if !(1.0..=1_000_000.0).contains(&thousandths) {
            return Err(Problem::invalid(aggression.default_value, "must be between 0.001 and 1000")
                .at_field("default_value")
                .at_field("aggression"));
        }
        // In range: just checked.
        slow.aggression_thousandths = thousandths.round() as u32;
    }
    if let Some(percent) = &message.min_weight_percent {
        slow.min_weight = Percent::try_new(percent.value)
            .map_err(|problem| problem.at_field("value").at_field("min_weight_percent"))?;
    }
    Ok(slow)
}

/// The first entry that is known, inside a locality policy or not; `depth` more lists may stand in it.
fn decode_list(list: &xds::LoadBalancingPolicy, depth: usize) -> Result<Option<Choice>, Problem> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(unsupported("policies", "stands too deep: 16 policies may stand inside each other"));
    };
    for (index, policy) in list.policies.iter().enumerate() {
        let config = policy.typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref());
        let found = config.map_or(Ok(None), |any| decode_entry(any, depth)).map_err(|problem| {
            problem.at_field("typed_config").at_field("typed_extension_config").at_index(index).at_field("policies")
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn decode_entry(any: &pb::Any, depth: usize) -> Result<Option<Choice>, Problem> {
    let slow = |given: Option<wire::balancing::SlowStartConfig>| {
        // The same message under another name.
        given.map(|config| {
            decode_slow_start(&SlowStartConfig {
                slow_start_window: config.slow_start_window,
                aggression: config.aggression,
                min_weight_percent: config.min_weight_percent,
            })
            .map_err(|problem| problem.at_field("slow_start_config"))
        })
    };
    let hash = |balancing: Balancing, hashing: Option<ConsistentHashing>| {
        let factor = hashing.and_then(|hashing| hashing.hash_balance_factor);
        Choice { balance_factor: balance_factor(factor, balancing), ..Choice::of(balancing) }
    };
    let plain = |balancing, slow_start| Choice { slow_start, ..Choice::of(balancing) };
    Ok(if wire::is::<RoundRobin>(any) {
        let message: RoundRobin = wire::unpack(any)?;
        Some(plain(Balancing::RoundRobin, slow(message.slow_start_config).transpose()?))
    } else if wire::is::<LeastRequest>(any) {
        let message: LeastRequest = wire::unpack(any)?;
        Some(plain(Balancing::LeastRequest, slow(message.slow_start_config).transpose()?))
    } else if wire::is::<ClientSideWeightedRoundRobin>(any) {
        let message: ClientSideWeightedRoundRobin = wire::unpack(any)?;
        let reports = reports::decode(&message)?;
        Some(plain(Balancing::ClientSideWeightedRoundRobin(reports), slow(message.slow_start_config).transpose()?))
    } else if wire::is::<Random>(any) {
        Some(plain(Balancing::Random, None))
    } else if wire::is::<RingHash>(any) {
        let ring: RingHash = wire::unpack(any)?;
        let balancing = ring_hash(ring.minimum_ring_size, ring.maximum_ring_size)?;
        Some(hash(balancing, ring.consistent_hashing_lb_config))
    } else if wire::is::<Maglev>(any) {
        let table: Maglev = wire::unpack(any)?;
        Some(hash(maglev(table.table_size)?, table.consistent_hashing_lb_config))
    } else if wire::is::<WrrLocality>(any) {
        let outer: WrrLocality = wire::unpack(any)?;
        let inner = outer.endpoint_picking_policy.as_ref().map_or(Ok(None), |list| decode_list(list, depth))?;
        inner.map(|choice| Choice { localities: Localities::Weighted, ..choice })
    } else if wire::is::<Subset>(any) {
        let outer: Subset = wire::unpack(any)?;
        refuse_all([("allow_redundant_keys", outer.allow_redundant_keys)])?;
        let list = outer.subset_lb_policy.as_ref().ok_or_else(|| missing("subset_lb_policy"))?;
        let inner = decode_list(list, depth).map_err(|problem| problem.at_field("subset_lb_policy"))?;
        match inner {
            None => return Err(unsupported("subset_lb_policy", "none of its policies is supported")),
            Some(Choice { subsets: Some(_), .. }) => return Err(refused("subset_lb_policy")),
            Some(choice) => Some(Choice { subsets: Some(subset::decode_entry(outer)?), ..choice }),
        }
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

fn maglev(size: Option<pb::UInt64Value>) -> Result<Balancing, Problem> {
    let value = size.map_or(Balancing::DEFAULT_TABLE.into(), |size| size.value);
    let refuse = |_| Problem::invalid(value, "must be a prime of at most 5000011").at_field("table_size");
    Ok(Balancing::Maglev { table_size: u32::try_from(value).map_err(refuse)? })
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
