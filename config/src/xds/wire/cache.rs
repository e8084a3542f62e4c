//! Outrigger's own message of a cache: Envoy's filter of that name has no policy of a route.

use xds_api::pb::google::protobuf::Duration;

/// A cache of responses.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Cache {
    /// The document behind it.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Whether it only says what it would have done.
    #[prost(bool, tag = "2")]
    pub observe: bool,
    /// How long responses are fresh, whatever they say.
    #[prost(message, optional, tag = "3")]
    pub ttl: Option<Duration>,
    /// How long responses are fresh that do not say it.
    #[prost(message, optional, tag = "4")]
    pub default_ttl: Option<Duration>,
    /// The share of the time since the last change for which a response is fresh, in millionths.
    #[prost(uint32, tag = "5")]
    pub heuristic_millionths: u32,
    /// For how long a stale response is served while it is asked for anew.
    #[prost(message, optional, tag = "6")]
    pub stale_while_revalidate: Option<Duration>,
    /// For how long a stale response is served in the place of a failure.
    #[prost(message, optional, tag = "7")]
    pub stale_if_error: Option<Duration>,
    /// The longest response that is kept, bytes.
    #[prost(uint32, tag = "8")]
    pub max_bytes: u32,
    /// Header fields of the key.
    #[prost(string, repeated, tag = "9")]
    pub key_headers: Vec<String>,
    /// The parameters of the query that count; absent: all of it.
    #[prost(message, optional, tag = "10")]
    pub key_query: Option<Parameters>,
    /// Cookies of the key.
    #[prost(string, repeated, tag = "11")]
    pub key_cookies: Vec<String>,
    /// What is kept beyond what is safe without asking.
    #[prost(enumeration = "AlsoStore", repeated, tag = "12")]
    pub also_store: Vec<i32>,
    /// Whether it is shared with other proxies.
    #[prost(bool, tag = "13")]
    pub shared: bool,
}

/// Names of query parameters.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Parameters {
    /// The names.
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

/// What is kept only where a policy asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[prost(prost_path = "prost_xds")]
#[repr(i32)]
pub enum AlsoStore {
    /// Responses to requests with `Authorization`.
    Authorized = 0,
    /// Responses to requests with cookies.
    Cookies = 1,
    /// Responses that set cookies.
    SetCookie = 2,
    /// Private responses.
    Private = 3,
}
