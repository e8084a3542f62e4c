//! The local rate limit filter (`envoy.extensions.filters.http.local_ratelimit.v3`).

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::envoy::r#type::v3 as kinds;

use xds_api::pb::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;

/// The filter's settings, for a whole listener or, in `typed_per_filter_config`, for one route.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct LocalRateLimit {
    /// What its statistics are called; Envoy refuses an empty one.
    #[prost(string, tag = "1")]
    pub stat_prefix: String,
    /// The status of a refusal; 429 unless said otherwise.
    #[prost(message, optional, tag = "2")]
    pub status: Option<kinds::HttpStatus>,
    /// The bucket that every request draws from. Envoy wants one in each route's settings.
    #[prost(message, optional, tag = "3")]
    pub token_bucket: Option<kinds::TokenBucket>,
    /// The share of requests that are counted; none unless said otherwise.
    #[prost(message, optional, tag = "4")]
    pub filter_enabled: Option<core::RuntimeFractionalPercent>,
    /// The share of counted requests that may be refused; none unless said otherwise.
    #[prost(message, optional, tag = "5")]
    pub filter_enforced: Option<core::RuntimeFractionalPercent>,
    /// Header fields of a refusal, at most 10.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<core::HeaderValueOption>,
    /// Buckets for some requests only.
    #[prost(message, repeated, tag = "8")]
    pub descriptors: Vec<LocalRateLimitDescriptor>,
    /// Whether each connection of a caller has a bucket of its own.
    #[prost(bool, tag = "11")]
    pub local_rate_limit_per_downstream_connection: bool,
    /// Whether a gRPC caller is told RESOURCE_EXHAUSTED rather than UNAVAILABLE.
    #[prost(bool, tag = "15")]
    pub rate_limited_as_resource_exhausted: bool,
    /// Which requests fall under which descriptor.
    #[prost(message, repeated, tag = "17")]
    pub rate_limits: Vec<route::RateLimit>,
    /// Whether a refusal says when to come again.
    #[prost(bool, tag = "19")]
    pub enable_retry_after_header: bool,
}

impl LocalRateLimit {
    /// The filter's name, which is also its key in `typed_per_filter_config`.
    pub const FILTER: &'static str = "envoy.filters.http.local_ratelimit";
}

impl Name for LocalRateLimit {
    const NAME: &'static str = "LocalRateLimit";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.local_ratelimit.v3";
}
