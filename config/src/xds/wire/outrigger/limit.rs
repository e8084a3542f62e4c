//! Outrigger's own messages for rate limits: what a rule counts, by what its buckets are told apart, what is told.

use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::google::protobuf::Duration;

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
    /// Which answers say how much is left.
    #[prost(enumeration = "Tell", tag = "6")]
    pub tell: i32,
    /// How the rate limit service is asked; absent is the default.
    #[prost(message, optional, tag = "7")]
    pub global: Option<GlobalLimit>,
}

/// How the rate limit service is asked.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct GlobalLimit {
    /// How long an answer may take.
    #[prost(message, optional, tag = "1")]
    pub timeout: Option<Duration>,
    /// Whether a request that there is no answer about is refused.
    #[prost(bool, tag = "2")]
    pub deny: bool,
    /// The part of a divided limit that holds where the control plane is away for long, in millionths.
    #[prost(uint32, tag = "3")]
    pub fallback_millionths: u32,
}

/// Which answers say how much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[prost(prost_path = "prost_xds")]
#[repr(i32)]
pub enum Tell {
    /// Refusals.
    Limited = 0,
    /// All.
    Always = 1,
    /// None.
    Never = 2,
}

/// Which requests share a bucket.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Per {
    /// What they have in common.
    #[prost(enumeration = "PerKind", tag = "1")]
    pub kind: i32,
    /// The header field, where it is one.
    #[prost(string, tag = "2")]
    pub header: String,
}

/// What requests that share a bucket have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[prost(prost_path = "prost_xds")]
#[repr(i32)]
pub enum PerKind {
    /// The workload that calls.
    SourceWorkload = 0,
    /// Its address.
    SourceIp = 1,
    /// A header field's value.
    Header = 2,
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
    /// Which requests share a bucket; absent: all.
    #[prost(message, optional, tag = "6")]
    pub per: Option<Per>,
    /// How many buckets are kept; 0 is the default.
    #[prost(uint32, tag = "7")]
    pub max_keys: u32,
    /// Who counts.
    #[prost(enumeration = "Scope", tag = "8")]
    pub scope: i32,
}

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[prost(prost_path = "prost_xds")]
#[repr(i32)]
pub enum Scope {
    /// Each proxy for itself.
    Proxy = 0,
    /// The rate limit service, for all proxies.
    Global = 1,
    /// Each proxy its share.
    Leased = 2,
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
