//! What clusters have beyond xDS: balancing, and the policies that hold for a destination.

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::google::protobuf::Duration;

use super::PACKAGE;

/// What a cluster has beyond xDS.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Cluster {
    /// The service behind it, `NAMESPACE/NAME`; empty where there is none.
    #[prost(string, tag = "1")]
    pub service: String,
    /// What the service is called.
    #[prost(string, tag = "2")]
    pub host: String,
    /// Present where endpoints are chosen by peak EWMA, which xDS calls least request.
    #[prost(message, optional, tag = "3")]
    pub peak_ewma: Option<PeakEwma>,
    /// How much of it may be used at once.
    #[prost(message, optional, tag = "4")]
    pub limits: Option<Limits>,
    /// When a failing endpoint is left out.
    #[prost(message, optional, tag = "5")]
    pub outlier: Option<Outlier>,
    /// How many retries it bears.
    #[prost(message, optional, tag = "6")]
    pub budget: Option<Budget>,
    /// What is only observed beside the policies above.
    #[prost(message, optional, tag = "15")]
    pub rehearsed: Option<RehearsedCluster>,
    /// How each endpoint is asked whether it is well.
    #[prost(message, optional, tag = "20")]
    pub health_check: Option<HealthCheck>,
    /// Whether its callers' proxies say whom they stand beside.
    #[prost(bool, tag = "25")]
    pub names_caller: bool,
    /// How much is given up at once while it fails.
    #[prost(message, optional, tag = "26")]
    pub admission: Option<AdmissionControl>,
}

/// Admission control.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct AdmissionControl {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// How far it looks back.
    #[prost(message, optional, tag = "3")]
    pub window: Option<Duration>,
    /// With a smaller share of successes it begins to refuse, in millionths.
    #[prost(uint32, tag = "4")]
    pub success_threshold_millionths: u32,
    /// How fast the share of refusals grows, in thousandths.
    #[prost(uint32, tag = "5")]
    pub aggression_thousandths: u32,
    /// With fewer requests a second nothing is refused.
    #[prost(uint32, tag = "6")]
    pub min_per_second: u32,
    /// No greater share is refused, in millionths.
    #[prost(uint32, tag = "7")]
    pub max_rejection_millionths: u32,
}

impl Name for Cluster {
    const NAME: &'static str = "Cluster";
    const PACKAGE: &'static str = PACKAGE;
}

/// Policies of a cluster in Observe beside ones that act.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RehearsedCluster {
    /// How much might be used at once.
    #[prost(message, optional, tag = "1")]
    pub limits: Option<Limits>,
    /// When a failing endpoint would be left out.
    #[prost(message, optional, tag = "2")]
    pub outlier: Option<Outlier>,
    /// How each endpoint is asked, though nobody leaves for it.
    #[prost(message, optional, tag = "3")]
    pub health_check: Option<HealthCheck>,
    /// How much would be given up at once while it fails.
    #[prost(message, optional, tag = "4")]
    pub admission: Option<AdmissionControl>,
}

/// The settings of peak EWMA.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct PeakEwma {
    /// How fast an old latency is forgotten.
    #[prost(message, optional, tag = "1")]
    pub decay: Option<Duration>,
    /// What is expected of a newcomer.
    #[prost(message, optional, tag = "2")]
    pub default_rtt: Option<Duration>,
}

/// Limits on a destination.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Limits {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// Connections; absent is unlimited.
    #[prost(uint32, optional, tag = "3")]
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection; absent is unlimited.
    #[prost(uint32, optional, tag = "4")]
    pub max_pending_requests: Option<u32>,
    /// Requests under way; absent is unlimited.
    #[prost(uint32, optional, tag = "5")]
    pub max_requests: Option<u32>,
    /// Retries under way; absent is unlimited.
    #[prost(uint32, optional, tag = "6")]
    pub max_retries: Option<u32>,
    /// Connections to one endpoint; absent is unlimited.
    #[prost(uint32, optional, tag = "7")]
    pub max_endpoint_connections: Option<u32>,
    /// Requests under way to one endpoint; absent is unlimited.
    #[prost(uint32, optional, tag = "8")]
    pub max_endpoint_requests: Option<u32>,
    /// The first four for requests of priority High; absent is the same.
    #[prost(message, optional, tag = "9")]
    pub high: Option<Thresholds>,
}

/// What requests of one priority may use at once.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Thresholds {
    /// Connections; absent is unlimited.
    #[prost(uint32, optional, tag = "1")]
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection; absent is unlimited.
    #[prost(uint32, optional, tag = "2")]
    pub max_pending_requests: Option<u32>,
    /// Requests under way; absent is unlimited.
    #[prost(uint32, optional, tag = "3")]
    pub max_requests: Option<u32>,
    /// Retries under way; absent is unlimited.
    #[prost(uint32, optional, tag = "4")]
    pub max_retries: Option<u32>,
}

/// An outlier detection policy.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Outlier {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// Failures in a row that eject; 0 never does.
    #[prost(uint32, tag = "3")]
    pub consecutive_errors: u32,
    /// How often ejected endpoints are looked at.
    #[prost(message, optional, tag = "4")]
    pub interval: Option<Duration>,
    /// The first ejection's length.
    #[prost(message, optional, tag = "5")]
    pub base_ejection: Option<Duration>,
    /// The longest ejection.
    #[prost(message, optional, tag = "6")]
    pub max_ejection: Option<Duration>,
    /// The share of endpoints that may be ejected at once, in millionths.
    #[prost(uint32, tag = "7")]
    pub max_percent_millionths: u32,
    /// Gateway failures in a row that eject; 0 never does.
    #[prost(uint32, tag = "8")]
    pub consecutive_gateway_errors: u32,
    /// Missing responses in a row that eject; 0 never does.
    #[prost(uint32, tag = "9")]
    pub consecutive_local_errors: u32,
    /// Ejects by success rate; its bound is in thousandths of a standard deviation.
    #[prost(message, optional, tag = "10")]
    pub success_rate: Option<Comparison>,
    /// Ejects by failure percentage; its bound is in millionths.
    #[prost(message, optional, tag = "11")]
    pub failure_percentage: Option<Comparison>,
    /// Ejects by latency; its bound is in thousandths of the median.
    #[prost(message, optional, tag = "12")]
    pub latency: Option<Comparison>,
    /// The least latency that counts as slow.
    #[prost(message, optional, tag = "13")]
    pub latency_floor: Option<Duration>,
    /// The most that is added to an ejection by chance.
    #[prost(message, optional, tag = "14")]
    pub max_jitter: Option<Duration>,
    /// Requests that must succeed after an ejection.
    #[prost(uint32, tag = "15")]
    pub probe_requests: u32,
}

/// A part of outlier detection that compares endpoints.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Comparison {
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "1")]
    pub observe: bool,
    /// What ejects.
    #[prost(uint32, tag = "2")]
    pub bound: u32,
    /// Requests to an endpoint for it to count.
    #[prost(uint32, tag = "3")]
    pub min_requests: u32,
    /// Endpoints that count for any to be ejected.
    #[prost(uint32, tag = "4")]
    pub min_endpoints: u32,
}

/// Active health checks.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct HealthCheck {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// The check, in the words of the standard.
    #[prost(message, optional, tag = "3")]
    pub check: Option<core::HealthCheck>,
}

/// A retry budget.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Budget {
    /// The share of requests that retries may add, in millionths.
    #[prost(uint32, tag = "1")]
    pub percent_millionths: u32,
    /// The window the share is taken over.
    #[prost(message, optional, tag = "2")]
    pub interval: Option<Duration>,
    /// Retries at once that are always allowed.
    #[prost(uint32, tag = "3")]
    pub min_concurrent: u32,
    /// Retries a second that are always allowed.
    #[prost(uint32, tag = "4")]
    pub min_per_second: u32,
}
