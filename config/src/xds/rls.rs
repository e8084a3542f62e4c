//! The messages of `envoy.service.ratelimit.v3`: one question for each request that a global limit counts.
//!
//! Written by hand as those of ADS are ([`super::transport`]), for the tonic that serves everything else. Fields that
//! Outrigger neither reads nor writes are left out, and prost skips them.

use super::transport::Duration;

/// The service.
pub const SERVICE: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// Its method.
pub const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// The domain of the limits that documents say.
pub const DOMAIN: &str = "outrigger";
/// The entry of a descriptor that names the policy, `NAMESPACE/NAME`.
pub const POLICY: &str = "policy";
/// The entry that names the policy's rule.
pub const RULE: &str = "rule";
/// The entry that tells callers apart.
pub const KEY: &str = "key";
/// The longest message that is read, bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What is asked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitRequest {
    /// Whose limits.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// What counts the request; the strictest answer holds.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<Descriptor>,
    /// How many requests this one is; 0 is 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// A limit, and what of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Descriptor {
    /// Its parts, in order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}

/// A part of a descriptor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// What it is.
    #[prost(string, tag = "1")]
    pub key: String,
    /// What it says.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitResponse {
    /// Whether the request may go on.
    #[prost(enumeration = "Code", tag = "1")]
    pub overall_code: i32,
    /// The same for each descriptor, in the order of the question.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
}

/// What a descriptor comes to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DescriptorStatus {
    /// Whether it lets the request go on.
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The limit that counted, where one did and has a unit.
    #[prost(message, optional, tag = "2")]
    pub current_limit: Option<CurrentLimit>,
    /// What is left of it.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// When there is more.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<Duration>,
}

/// A limit.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CurrentLimit {
    /// Requests in each unit.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// The unit.
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
    /// What it is called.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// Whether a request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// Nobody knows.
    Unknown = 0,
    /// It may.
    Ok = 1,
    /// It must not.
    OverLimit = 2,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Unit {
    /// None that has a name.
    Unknown = 0,
    /// A second.
    Second = 1,
    /// A minute.
    Minute = 2,
    /// An hour.
    Hour = 3,
    /// A day.
    Day = 4,
}
