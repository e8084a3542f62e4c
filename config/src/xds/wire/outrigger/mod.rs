//! Outrigger's own messages (`outrigger.config.v1alpha1`): what no standard field can say.
//!
//! They ride in `metadata.typed_filter_metadata["outrigger.dev"]` of a resource or of a part of one, where Envoy and
//! gRPC pass over them, and only our proxy is sent them. A policy, that is whatever has an origin and a mode, rides
//! here whole; then the standard field stays empty, so that each fact is said once.

use prost_xds::Name;

use super::adaptive::AdaptiveConcurrency;

mod limit;
mod route;
mod cluster;

pub use cluster::{
    AdmissionControl, Budget, Cluster, Comparison, HealthCheck, Limits, Outlier, PeakEwma, RehearsedCluster, Thresholds,
};
pub use limit::{GlobalLimit, Header, Per, PerKind, RateLimit, RateLimitRule, Scope, Tell};
pub use route::{Fault, Methods, RehearsedRoute, Retry, Route, Session};

/// The key of these messages in `typed_filter_metadata`.
pub const KEY: &str = "outrigger.dev";

const PACKAGE: &str = "outrigger.config.v1alpha1";

/// What a listener has beyond xDS.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Listener {
    /// Who the proxy stands beside.
    #[prost(message, optional, tag = "1")]
    pub identity: Option<Identity>,
    /// The share of traces begun here that is kept, in millionths.
    #[prost(uint32, tag = "2")]
    pub sample_millionths: u32,
    /// Whether each request is logged.
    #[prost(bool, tag = "3")]
    pub access_log: bool,
    /// As many requests at once as what is behind it bears.
    #[prost(message, optional, tag = "4")]
    pub adaptive: Option<Adaptive>,
    /// The same in Observe, beside one that acts.
    #[prost(message, optional, tag = "5")]
    pub rehearsed_adaptive: Option<Adaptive>,
}

/// An adaptive concurrency policy.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Adaptive {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// Its numbers.
    #[prost(message, optional, tag = "3")]
    pub concurrency: Option<AdaptiveConcurrency>,
    /// The status of a refusal: any, which xDS has no word for.
    #[prost(uint32, tag = "4")]
    pub status: u32,
}

impl Name for Listener {
    const NAME: &'static str = "Listener";
    const PACKAGE: &'static str = PACKAGE;
}

/// Who a proxy stands beside.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Identity {
    /// The workload, `NAMESPACE/NAME`.
    #[prost(string, tag = "1")]
    pub workload: String,
    /// The service's name.
    #[prost(string, tag = "2")]
    pub service: String,
    /// The service's version.
    #[prost(string, tag = "3")]
    pub version: String,
    /// The region where it stands.
    #[prost(string, tag = "4")]
    pub region: String,
    /// The zone inside the region.
    #[prost(string, tag = "5")]
    pub zone: String,
}

/// What an endpoint has beyond xDS.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Endpoint {
    /// The workload's name.
    #[prost(string, tag = "1")]
    pub workload: String,
    /// The workload's version.
    #[prost(string, tag = "2")]
    pub version: String,
}

impl Name for Endpoint {
    const NAME: &'static str = "Endpoint";
    const PACKAGE: &'static str = PACKAGE;
}
