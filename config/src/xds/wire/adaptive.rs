//! The adaptive concurrency filter (`envoy.extensions.filters.http.adaptive_concurrency.v3`).

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf::{Duration, UInt32Value};

/// The filter's settings, for a whole listener.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct AdaptiveConcurrency {
    /// How the limit is found; the only controller there is.
    #[prost(message, optional, tag = "1")]
    pub gradient_controller_config: Option<GradientController>,
    /// Whether it is in force; it is where nothing is said.
    #[prost(message, optional, tag = "2")]
    pub enabled: Option<core::RuntimeFeatureFlag>,
    /// The status of a refusal; 503 unless said otherwise.
    #[prost(message, optional, tag = "3")]
    pub concurrency_limit_exceeded_status: Option<kinds::HttpStatus>,
}

impl AdaptiveConcurrency {
    /// The filter's name.
    pub const FILTER: &'static str = "envoy.filters.http.adaptive_concurrency";
}

impl Name for AdaptiveConcurrency {
    const NAME: &'static str = "AdaptiveConcurrency";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.adaptive_concurrency.v3";
}

/// The gradient controller (`GradientControllerConfig`).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct GradientController {
    /// Which percentile of a window's times speaks for it.
    #[prost(message, optional, tag = "1")]
    pub sample_aggregate_percentile: Option<kinds::Percent>,
    /// How the limit follows.
    #[prost(message, optional, tag = "2")]
    pub concurrency_limit_params: Option<LimitParams>,
    /// How the baseline is found.
    #[prost(message, optional, tag = "3")]
    pub min_rtt_calc_params: Option<MinRttParams>,
}

/// How the limit follows (`ConcurrencyLimitCalculationParams`).
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct LimitParams {
    /// The limit is never above it.
    #[prost(message, optional, tag = "2")]
    pub max_concurrency_limit: Option<UInt32Value>,
    /// How often it is found anew.
    #[prost(message, optional, tag = "3")]
    pub concurrency_update_interval: Option<Duration>,
    /// The limit is never below it.
    #[prost(message, optional, tag = "4")]
    pub min_concurrency_limit: Option<UInt32Value>,
}

/// How the baseline is found (`MinimumRTTCalculationParams`).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct MinRttParams {
    /// How often it is measured.
    #[prost(message, optional, tag = "1")]
    pub interval: Option<Duration>,
    /// Of how many answers.
    #[prost(message, optional, tag = "2")]
    pub request_count: Option<UInt32Value>,
    /// How much later than the interval, by chance.
    #[prost(message, optional, tag = "3")]
    pub jitter: Option<kinds::Percent>,
    /// How many requests there may be at once meanwhile.
    #[prost(message, optional, tag = "4")]
    pub min_concurrency: Option<UInt32Value>,
    /// How much longer an answer may take before the limit falls.
    #[prost(message, optional, tag = "5")]
    pub buffer: Option<kinds::Percent>,
    /// What it is, instead of being measured.
    #[prost(message, optional, tag = "6")]
    pub fixed_value: Option<Duration>,
}
