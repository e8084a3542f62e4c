//! The filter that asks a rate limit service (`envoy.extensions.filters.http.ratelimit.v3`).

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3::{HeaderValueOption, RuntimeFractionalPercent};
use xds_api::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::envoy::r#type::v3::HttpStatus;
use xds_api::pb::google::protobuf::Duration;

/// The filter's settings. Which requests are asked about, routes say.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RateLimit {
    /// Whose limits.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Which descriptors it asks about.
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    /// Requests from where: `internal`, `external` or `both`.
    #[prost(string, tag = "3")]
    pub request_type: String,
    /// How long an answer may take.
    #[prost(message, optional, tag = "4")]
    pub timeout: Option<Duration>,
    /// Whether a request that there is no answer about is refused.
    #[prost(bool, tag = "5")]
    pub failure_mode_deny: bool,
    /// Whether a gRPC caller is told RESOURCE_EXHAUSTED rather than UNAVAILABLE.
    #[prost(bool, tag = "6")]
    pub rate_limited_as_resource_exhausted: bool,
    /// Who is asked.
    #[prost(message, optional, tag = "7")]
    pub rate_limit_service: Option<RateLimitServiceConfig>,
    /// Whether answers say what is left, in which way.
    #[prost(int32, tag = "8")]
    pub enable_x_ratelimit_headers: i32,
    /// Whether refusals do not say that they are.
    #[prost(bool, tag = "9")]
    pub disable_x_envoy_ratelimited_header: bool,
    /// The status of a refusal.
    #[prost(message, optional, tag = "10")]
    pub rate_limited_status: Option<HttpStatus>,
    /// Fields added to a refusal.
    #[prost(message, repeated, tag = "11")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// The status where there is no answer and that refuses.
    #[prost(message, optional, tag = "12")]
    pub status_on_error: Option<HttpStatus>,
    /// Which share is asked about.
    #[prost(message, optional, tag = "14")]
    pub filter_enabled: Option<RuntimeFractionalPercent>,
    /// Which share is refused if it must be.
    #[prost(message, optional, tag = "15")]
    pub filter_enforced: Option<RuntimeFractionalPercent>,
    /// Which share is refused where there is no answer.
    #[prost(message, optional, tag = "16")]
    pub failure_mode_deny_percent: Option<RuntimeFractionalPercent>,
    /// What is asked of every route.
    #[prost(message, repeated, tag = "17")]
    pub rate_limits: Vec<route::RateLimit>,
}

impl RateLimit {
    /// The filter's name.
    pub const FILTER: &'static str = "envoy.filters.http.ratelimit";
}

impl Name for RateLimit {
    const NAME: &'static str = "RateLimit";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.ratelimit.v3";
}
