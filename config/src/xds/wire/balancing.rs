//! Entries of `Cluster.load_balancing_policy` (`envoy.extensions.load_balancing_policies.*.v3`).
//!
//! Only the fields that Outrigger reads or writes; locality settings are skipped.

use prost_xds::Name;
use xds_api::pb::envoy::config::cluster::v3 as cluster;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf::{BoolValue, Duration, FloatValue, Struct, UInt32Value, UInt64Value};

use cluster::cluster::lb_subset_config::{LbSubsetFallbackPolicy, LbSubsetMetadataFallbackPolicy, LbSubsetSelector};

/// Each in turn, by weight.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RoundRobin {
    /// How a newcomer gets its load.
    #[prost(message, optional, tag = "1")]
    pub slow_start_config: Option<SlowStartConfig>,
}

impl Name for RoundRobin {
    const NAME: &'static str = "RoundRobin";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.round_robin.v3";
}

/// The one with the fewest requests under way among a few chosen at random.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct LeastRequest {
    /// How a newcomer gets its load.
    #[prost(message, optional, tag = "3")]
    pub slow_start_config: Option<SlowStartConfig>,
}

impl Name for LeastRequest {
    const NAME: &'static str = "LeastRequest";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.least_request.v3";
}

/// By chance.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Random {}

impl Name for Random {
    const NAME: &'static str = "Random";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.random.v3";
}

/// The same key to the same endpoint.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RingHash {
    /// How keys are hashed.
    #[prost(enumeration = "HashFunction", tag = "1")]
    pub hash_function: i32,
    /// The fewest points on the ring; 1,024 unless said otherwise.
    #[prost(message, optional, tag = "2")]
    pub minimum_ring_size: Option<UInt64Value>,
    /// The most points on the ring; 8,388,608 unless said otherwise.
    #[prost(message, optional, tag = "3")]
    pub maximum_ring_size: Option<UInt64Value>,
    /// What holds for every hash.
    #[prost(message, optional, tag = "6")]
    pub consistent_hashing_lb_config: Option<ConsistentHashing>,
}

impl Name for RingHash {
    const NAME: &'static str = "RingHash";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.ring_hash.v3";
}

/// The hash functions of [`RingHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[prost(prost_path = "prost_xds")]
#[repr(i32)]
pub enum HashFunction {
    /// Whatever the client prefers.
    DefaultHash = 0,
    /// xxHash, the only one that gRPC takes.
    XxHash = 1,
    /// Murmur 2.
    MurmurHash2 = 2,
}

/// The same key to the same endpoint, by a table.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Maglev {
    /// How many places the table has; 65,537 unless said otherwise.
    #[prost(message, optional, tag = "1")]
    pub table_size: Option<UInt64Value>,
    /// What holds for every hash.
    #[prost(message, optional, tag = "2")]
    pub consistent_hashing_lb_config: Option<ConsistentHashing>,
}

impl Name for Maglev {
    const NAME: &'static str = "Maglev";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.maglev.v3";
}

/// What holds for every hash (`common.v3.ConsistentHashingLbConfig`).
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct ConsistentHashing {
    /// How much of the mean load an endpoint may have, in percent.
    #[prost(message, optional, tag = "2")]
    pub hash_balance_factor: Option<UInt32Value>,
}

/// How a newcomer gets its load (`common.v3.SlowStartConfig`).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct SlowStartConfig {
    /// How long until it has its whole part.
    #[prost(message, optional, tag = "1")]
    pub slow_start_window: Option<Duration>,
    /// How steep it begins; 1 unless said otherwise.
    #[prost(message, optional, tag = "2")]
    pub aggression: Option<core::RuntimeDouble>,
    /// The least share of its part; 10 % unless said otherwise.
    #[prost(message, optional, tag = "3")]
    pub min_weight_percent: Option<kinds::Percent>,
}

/// Each in turn, by what endpoints report of their load.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct ClientSideWeightedRoundRobin {
    /// Whether reports are asked for beside requests.
    #[prost(message, optional, tag = "1")]
    pub enable_oob_load_report: Option<BoolValue>,
    /// How often they are asked for; 10 s unless said otherwise.
    #[prost(message, optional, tag = "2")]
    pub oob_reporting_period: Option<Duration>,
    /// How long an endpoint must have reported before its reports count; 10 s unless said otherwise.
    #[prost(message, optional, tag = "3")]
    pub blackout_period: Option<Duration>,
    /// After how long the last report counts no more; 3 min unless said otherwise.
    #[prost(message, optional, tag = "4")]
    pub weight_expiration_period: Option<Duration>,
    /// How often weights are reckoned; 1 s unless said otherwise.
    #[prost(message, optional, tag = "5")]
    pub weight_update_period: Option<Duration>,
    /// How much an error weighs; 1 unless said otherwise.
    #[prost(message, optional, tag = "6")]
    pub error_utilization_penalty: Option<FloatValue>,
    /// What utilization is, in the place of the application's.
    #[prost(string, repeated, tag = "7")]
    pub metric_names_for_computing_utilization: Vec<String>,
    /// How a newcomer gets its load.
    #[prost(message, optional, tag = "8")]
    pub slow_start_config: Option<SlowStartConfig>,
}

impl Name for ClientSideWeightedRoundRobin {
    const NAME: &'static str = "ClientSideWeightedRoundRobin";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3";
}

/// Localities in turn by weight, and another policy inside each.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct WrrLocality {
    /// The policy inside a locality.
    #[prost(message, optional, tag = "1")]
    pub endpoint_picking_policy: Option<cluster::LoadBalancingPolicy>,
}

impl Name for WrrLocality {
    const NAME: &'static str = "WrrLocality";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.wrr_locality.v3";
}

/// Parts of the endpoints by what is known of them, and another policy inside each: fields as in
/// `Cluster.lb_subset_config`, and two more.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Subset {
    /// What becomes of requests that ask for no subset.
    #[prost(enumeration = "LbSubsetFallbackPolicy", tag = "1")]
    pub fallback_policy: i32,
    /// The default subset.
    #[prost(message, optional, tag = "2")]
    pub default_subset: Option<Struct>,
    /// What makes subsets.
    #[prost(message, repeated, tag = "3")]
    pub subset_selectors: Vec<LbSubsetSelector>,
    /// Whether weights of places count in a subset.
    #[prost(bool, tag = "4")]
    pub locality_weight_aware: bool,
    /// Whether they count as far as the place is in it.
    #[prost(bool, tag = "5")]
    pub scale_locality_weight: bool,
    /// Whether any endpoint will do where the fallback finds none.
    #[prost(bool, tag = "6")]
    pub panic_mode_any: bool,
    /// Whether one of a list is enough.
    #[prost(bool, tag = "7")]
    pub list_as_any: bool,
    /// Whether what is asked says itself what to fall back to.
    #[prost(enumeration = "LbSubsetMetadataFallbackPolicy", tag = "8")]
    pub metadata_fallback_policy: i32,
    /// The policy inside a subset.
    #[prost(message, optional, tag = "9")]
    pub subset_lb_policy: Option<cluster::LoadBalancingPolicy>,
    /// Whether keys that no selector has are passed over.
    #[prost(bool, tag = "10")]
    pub allow_redundant_keys: bool,
}

impl Name for Subset {
    const NAME: &'static str = "Subset";
    const PACKAGE: &'static str = "envoy.extensions.load_balancing_policies.subset.v3";
}
