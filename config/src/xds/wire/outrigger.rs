//! Outrigger's own messages (`outrigger.config.v1alpha1`): what no standard field can say.
//!
//! They ride in `metadata.typed_filter_metadata["outrigger.dev"]` of a resource or of a part of one, where Envoy and
//! gRPC pass over them, and only our proxy is sent them. A policy, that is whatever has an origin and a mode, rides
//! here whole; then the standard field stays empty, so that each fact is said once.

use prost_xds::Name;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::google::protobuf::Duration;

use super::fault::HttpFault;

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
}

/// What a route has beyond xDS.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Route {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// How long one attempt may take where no retry policy says it.
    #[prost(message, optional, tag = "2")]
    pub per_try_timeout: Option<Duration>,
    /// What is tried again.
    #[prost(message, optional, tag = "3")]
    pub retry: Option<Retry>,
    /// How much is let in.
    #[prost(message, optional, tag = "4")]
    pub rate_limit: Option<RateLimit>,
    /// Which faults are injected.
    #[prost(message, optional, tag = "5")]
    pub fault: Option<Fault>,
    /// What backends are chosen by.
    #[prost(message, repeated, tag = "6")]
    pub sticky: Vec<route::route_action::HashPolicy>,
}

/// A fault policy.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Fault {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// Whether it stands inside the retries.
    #[prost(bool, tag = "3")]
    pub each_attempt: bool,
    /// What it does, in the words of the standard.
    #[prost(message, optional, tag = "4")]
    pub fault: Option<HttpFault>,
}

impl Name for Route {
    const NAME: &'static str = "Route";
    const PACKAGE: &'static str = PACKAGE;
}

/// A retry policy.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Retry {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// Attempts after the first.
    #[prost(uint32, tag = "3")]
    pub attempts: u32,
    /// What is retried by its kind, as Envoy's tokens.
    #[prost(string, repeated, tag = "4")]
    pub on: Vec<String>,
    /// What is retried by its HTTP status.
    #[prost(uint32, repeated, tag = "5")]
    pub codes: Vec<u32>,
    /// What is retried by its gRPC status.
    #[prost(uint32, repeated, tag = "6")]
    pub grpc_codes: Vec<u32>,
    /// Which methods may be repeated once a byte was sent.
    #[prost(enumeration = "Methods", tag = "7")]
    pub methods: i32,
    /// Those methods, where they are listed.
    #[prost(string, repeated, tag = "8")]
    pub only_methods: Vec<String>,
    /// How long an attempt may take.
    #[prost(message, optional, tag = "9")]
    pub per_try_timeout: Option<Duration>,
    /// The first wait's bound.
    #[prost(message, optional, tag = "10")]
    pub backoff_base: Option<Duration>,
    /// The longest wait.
    #[prost(message, optional, tag = "11")]
    pub backoff_max: Option<Duration>,
    /// How much of a body is kept for replay, bytes.
    #[prost(uint32, tag = "12")]
    pub body_limit: u32,
    /// What is retried by a field of its answer.
    #[prost(message, repeated, tag = "13")]
    pub headers: Vec<route::HeaderMatcher>,
    /// The fields of an answer that say when another attempt makes sense.
    #[prost(message, repeated, tag = "14")]
    pub reset_headers: Vec<route::retry_policy::ResetHeader>,
    /// The longest wait that they may ask for.
    #[prost(message, optional, tag = "15")]
    pub retry_after_max: Option<Duration>,
    /// Whether it also repeats what a layer above repeats already.
    #[prost(bool, tag = "16")]
    pub nested: bool,
    /// After how long an attempt gets another beside it.
    #[prost(message, optional, tag = "17")]
    pub hedge_delay: Option<Duration>,
    /// Or as long as this share of the route's answers take, in millionths; 0: not so.
    #[prost(uint32, tag = "18")]
    pub hedge_percentile_millionths: u32,
}

/// Which methods a [`Retry`] repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[prost(prost_path = "prost_xds")]
#[repr(i32)]
pub enum Methods {
    /// The idempotent ones.
    Idempotent = 0,
    /// All.
    Any = 1,
    /// Those that are listed.
    Only = 2,
}

/// A rate limit policy.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RateLimit {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// Its rules, in order.
    #[prost(message, repeated, tag = "3")]
    pub rules: Vec<RateLimitRule>,
    /// The status of a refusal.
    #[prost(uint32, tag = "4")]
    pub status: u32,
    /// Header fields of a refusal.
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<Header>,
}

/// One bucket and what it counts.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RateLimitRule {
    /// The rule's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it counts; none counts everything.
    #[prost(message, repeated, tag = "2")]
    pub matches: Vec<route::RouteMatch>,
    /// Requests admitted in each interval.
    #[prost(uint32, tag = "3")]
    pub requests: u32,
    /// The interval.
    #[prost(message, optional, tag = "4")]
    pub interval: Option<Duration>,
    /// The bucket's size.
    #[prost(uint32, tag = "5")]
    pub burst: u32,
}

/// A header field.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Header {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

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
}

impl Name for Cluster {
    const NAME: &'static str = "Cluster";
    const PACKAGE: &'static str = PACKAGE;
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
