//! The fault filter (`envoy.extensions.filters.http.fault.v3`).

use prost_xds::Name;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::envoy::r#type::v3 as kinds;

/// The filter's settings, for a whole listener or, in `typed_per_filter_config`, for one route.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct HttpFault {
    /// How requests are delayed.
    #[prost(message, optional, tag = "1")]
    pub delay: Option<FaultDelay>,
    /// How requests are aborted.
    #[prost(message, optional, tag = "2")]
    pub abort: Option<FaultAbort>,
    /// Only requests to this cluster.
    #[prost(string, tag = "3")]
    pub upstream_cluster: String,
    /// Only requests with these fields.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<route::HeaderMatcher>,
    /// Only requests of these nodes.
    #[prost(string, repeated, tag = "5")]
    pub downstream_nodes: Vec<String>,
    /// How many faults there may be at once.
    #[prost(message, optional, tag = "6")]
    pub max_active_faults: Option<xds_api::pb::google::protobuf::UInt32Value>,
    /// How slowly responses come.
    #[prost(message, optional, tag = "7")]
    pub response_rate_limit: Option<FaultRateLimit>,
}

impl HttpFault {
    /// The filter's name, which is also its key in `typed_per_filter_config`.
    pub const FILTER: &'static str = "envoy.filters.http.fault";
}

impl Name for HttpFault {
    const NAME: &'static str = "HTTPFault";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.fault.v3";
}

/// A message without fields, which is there or not.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct ByHeader {}

/// A delay (`extensions.filters.common.fault.v3.FaultDelay`).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct FaultDelay {
    /// How long it is.
    #[prost(message, optional, tag = "3")]
    pub fixed_delay: Option<xds_api::pb::google::protobuf::Duration>,
    /// The request says it.
    #[prost(message, optional, tag = "5")]
    pub header_delay: Option<ByHeader>,
    /// The share of requests.
    #[prost(message, optional, tag = "4")]
    pub percentage: Option<kinds::FractionalPercent>,
}

/// An abort.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct FaultAbort {
    /// With this HTTP status.
    #[prost(uint32, optional, tag = "2")]
    pub http_status: Option<u32>,
    /// With this gRPC status.
    #[prost(uint32, optional, tag = "5")]
    pub grpc_status: Option<u32>,
    /// The request says it.
    #[prost(message, optional, tag = "4")]
    pub header_abort: Option<ByHeader>,
    /// The share of requests.
    #[prost(message, optional, tag = "3")]
    pub percentage: Option<kinds::FractionalPercent>,
}

/// A limit of the response's rate (`extensions.filters.common.fault.v3.FaultRateLimit`).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct FaultRateLimit {
    /// It is this one.
    #[prost(message, optional, tag = "1")]
    pub fixed_limit: Option<FixedLimit>,
    /// The request says it.
    #[prost(message, optional, tag = "3")]
    pub header_limit: Option<ByHeader>,
    /// The share of requests.
    #[prost(message, optional, tag = "2")]
    pub percentage: Option<kinds::FractionalPercent>,
}

/// A rate.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct FixedLimit {
    /// KiB a second.
    #[prost(uint64, tag = "1")]
    pub limit_kbps: u64,
}
