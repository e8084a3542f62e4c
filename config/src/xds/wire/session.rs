//! The stateful session filter (`envoy.extensions.filters.http.stateful_session.v3`) and its cookie.

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::google::protobuf::Duration;

/// The filter's settings.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct StatefulSession {
    /// How a session is kept; without it the filter does nothing.
    #[prost(message, optional, tag = "1")]
    pub session_state: Option<core::TypedExtensionConfig>,
    /// Whether a session whose endpoint is gone fails.
    #[prost(bool, tag = "2")]
    pub strict: bool,
    /// What its statistics are called.
    #[prost(string, tag = "3")]
    pub stat_prefix: String,
}

impl StatefulSession {
    /// The filter's name, which is also its key in `typed_per_filter_config`.
    pub const FILTER: &'static str = "envoy.filters.http.stateful_session";
}

impl Name for StatefulSession {
    const NAME: &'static str = "StatefulSession";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.stateful_session.v3";
}

/// The filter's settings for a route.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct StatefulSessionPerRoute {
    /// Nothing is kept here.
    #[prost(bool, optional, tag = "1")]
    pub disabled: Option<bool>,
    /// What holds here.
    #[prost(message, optional, tag = "2")]
    pub stateful_session: Option<StatefulSession>,
}

impl Name for StatefulSessionPerRoute {
    const NAME: &'static str = "StatefulSessionPerRoute";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.stateful_session.v3";
}

/// A session that is kept in a cookie.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct CookieBasedSessionState {
    /// The cookie.
    #[prost(message, optional, tag = "1")]
    pub cookie: Option<Cookie>,
}

impl Name for CookieBasedSessionState {
    const NAME: &'static str = "CookieBasedSessionState";
    const PACKAGE: &'static str = "envoy.extensions.http.stateful_session.cookie.v3";
}

/// A cookie that the proxy sets (`envoy.type.http.v3.Cookie`).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct Cookie {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How long the caller keeps it; none: until it is closed.
    #[prost(message, optional, tag = "2")]
    pub ttl: Option<Duration>,
    /// For which paths it is sent.
    #[prost(string, tag = "3")]
    pub path: String,
    /// What else it says.
    #[prost(message, repeated, tag = "4")]
    pub attributes: Vec<CookieAttribute>,
}

/// Something that a cookie says.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct CookieAttribute {
    /// The attribute's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value; empty for one that is a word alone.
    #[prost(string, tag = "2")]
    pub value: String,
}
