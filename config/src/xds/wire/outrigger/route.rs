//! What routes have beyond xDS: the policies that hold for requests on their way.

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::google::protobuf::Duration;

use super::super::cache::Cache;
use super::super::fault::HttpFault;
use super::super::session::Cookie;
use super::PACKAGE;
use super::limit::RateLimit;

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
    /// What is only observed beside the policies above.
    #[prost(message, optional, tag = "15")]
    pub rehearsed: Option<RehearsedRoute>,
    /// What keeps a caller at its endpoint.
    #[prost(message, optional, tag = "7")]
    pub session: Option<Session>,
    /// Which responses are kept.
    #[prost(message, optional, tag = "8")]
    pub cache: Option<Cache>,
    /// What is asked of the endpoints of each of `request_mirror_policies`, in their order; none: nothing of any.
    #[prost(message, repeated, tag = "9")]
    pub mirror_metadata_match: Vec<core::Metadata>,
}

/// A session that a cookie keeps.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Session {
    /// The cookie.
    #[prost(message, optional, tag = "1")]
    pub cookie: Option<Cookie>,
    /// How long it lasts, where the cookie itself does not say so.
    #[prost(message, optional, tag = "2")]
    pub lifetime: Option<Duration>,
}

impl Name for Route {
    const NAME: &'static str = "Route";
    const PACKAGE: &'static str = PACKAGE;
}

/// Policies of a route in Observe beside ones that act.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct RehearsedRoute {
    /// What would be tried again.
    #[prost(message, optional, tag = "1")]
    pub retry: Option<Retry>,
    /// How much would be let in.
    #[prost(message, optional, tag = "2")]
    pub rate_limit: Option<RateLimit>,
    /// Which faults would be injected.
    #[prost(message, optional, tag = "3")]
    pub fault: Option<Fault>,
    /// Which responses would be kept.
    #[prost(message, optional, tag = "4")]
    pub cache: Option<Cache>,
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
