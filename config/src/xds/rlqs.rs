//! The messages of `envoy.service.rate_limit_quota.v3`, by which proxies report what they would let in and are assigned
//! what they may.
//!
//! A bucket is a rule of a policy (`policy`, `rule`), an assignment a token bucket with a time to live, as the protocol has
//! it. Fields from 1000 on are Outrigger's own: who reports, which assignments it has seen, and what holds when the control
//! plane is away. Others skip them, and do without.

use std::collections::HashMap;

use super::transport::Duration;

/// The service.
pub const SERVICE: &str = "envoy.service.rate_limit_quota.v3.RateLimitQuotaService";
/// Its method, a stream both ways.
pub const PATH: &str = "/envoy.service.rate_limit_quota.v3.RateLimitQuotaService/StreamRateLimitQuotas";
/// The longest message that is read, bytes.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// Rules that one report, or one answer, may speak of.
pub const MAX_USAGES: usize = 1024;

/// What a proxy reports.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reports {
    /// Whose limits; the first report of a stream says it.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// What became of requests, by bucket.
    #[prost(message, repeated, tag = "2")]
    pub usages: Vec<Usage>,
    /// *Own*: which process reports, the same over all its streams; the first report of a stream says it.
    #[prost(string, tag = "1000")]
    pub member: String,
}

/// Which bucket.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BucketId {
    /// Its parts.
    #[prost(map = "string, string", tag = "1")]
    pub bucket: HashMap<String, String>,
}

/// What became of the requests of a bucket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Usage {
    /// Which one.
    #[prost(message, optional, tag = "1")]
    pub bucket_id: Option<BucketId>,
    /// Since the report before.
    #[prost(message, optional, tag = "2")]
    pub time_elapsed: Option<Duration>,
    /// Requests let in since then.
    #[prost(uint64, tag = "3")]
    pub allowed: u64,
    /// Requests refused since then.
    #[prost(uint64, tag = "4")]
    pub denied: u64,
    /// *Own*: what the proxy has.
    #[prost(message, optional, tag = "1000")]
    pub held: Option<Held>,
    /// *Own*: that the proxy holds nothing of it any more. The end of a stream does not say that.
    #[prost(bool, tag = "1001")]
    pub ends: bool,
}

/// What a proxy has of a bucket.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Held {
    /// The last assignment of this stream that it has seen; 0 is none.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// Requests a second that it may let in.
    #[prost(double, tag = "2")]
    pub rate: f64,
    /// The same where the control plane is away for long.
    #[prost(double, tag = "3")]
    pub fallback: f64,
    /// Which control plane told it so ([`Word::grantor`]).
    #[prost(uint64, tag = "4")]
    pub grantor: u64,
}

/// What a proxy is told.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// What it may, by bucket.
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<Action>,
}

/// What holds for a bucket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Action {
    /// Which one.
    #[prost(message, optional, tag = "1")]
    pub bucket_id: Option<BucketId>,
    /// What may be let in; the other kind of action, to abandon a bucket, is never taken.
    #[prost(message, optional, tag = "2")]
    pub assignment: Option<Assignment>,
}

/// What may be let in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Assignment {
    /// For how long.
    #[prost(message, optional, tag = "2")]
    pub time_to_live: Option<Duration>,
    /// How much.
    #[prost(message, optional, tag = "3")]
    pub strategy: Option<Strategy>,
    /// *Own*: the same exactly, and more.
    #[prost(message, optional, tag = "1000")]
    pub word: Option<Word>,
}

/// How much may be let in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Strategy {
    /// A token bucket; no other is ever assigned.
    #[prost(message, optional, tag = "3")]
    pub token_bucket: Option<TokenBucket>,
}

/// `envoy.type.v3.TokenBucket`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenBucket {
    /// The most tokens.
    #[prost(uint32, tag = "1")]
    pub max_tokens: u32,
    /// How many come at once.
    #[prost(message, optional, tag = "2")]
    pub tokens_per_fill: Option<Number>,
    /// How often.
    #[prost(message, optional, tag = "3")]
    pub fill_interval: Option<Duration>,
}

/// `google.protobuf.UInt32Value`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Number {
    /// The number.
    #[prost(uint32, tag = "1")]
    pub value: u32,
}

/// A share, exactly.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Word {
    /// What to answer.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// Requests a second.
    #[prost(double, tag = "2")]
    pub rate: f64,
    /// The same where the control plane is away for long.
    #[prost(double, tag = "3")]
    pub fallback: f64,
    /// How many tokens may wait.
    #[prost(double, tag = "4")]
    pub burst: f64,
    /// Tokens handed over at once.
    #[prost(double, tag = "5")]
    pub credit: f64,
    /// Which control plane says so, of several that divide the limit together; 0 where there is one.
    #[prost(uint64, tag = "6")]
    pub grantor: u64,
}

impl BucketId {
    /// The bucket of a rule.
    pub fn of(policy: &str, rule: &str) -> Self {
        let part = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        BucketId { bucket: [part(super::rls::POLICY, policy), part(super::rls::RULE, rule)].into_iter().collect() }
    }

    /// The policy and the rule.
    pub fn rule(&self) -> Option<(&str, &str)> {
        let part = |key: &str| self.bucket.get(key).map(String::as_str);
        Some((part(super::rls::POLICY)?, part(super::rls::RULE)?))
    }
}
