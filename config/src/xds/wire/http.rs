//! Which protocol is spoken upstream (`envoy.extensions.upstreams.http.v3`).

use prost_xds::Name;
use xds_api::pb::envoy::config::core::v3 as core;

/// How HTTP is spoken to a cluster; rides in `Cluster.typed_extension_protocol_options`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct HttpProtocolOptions {
    /// What holds for every version.
    #[prost(message, optional, tag = "1")]
    pub common_http_protocol_options: Option<core::HttpProtocolOptions>,
    /// Which version, and what holds for it.
    #[prost(oneof = "http_protocol_options::UpstreamProtocolOptions", tags = "3, 4, 5")]
    pub upstream_protocol_options: Option<http_protocol_options::UpstreamProtocolOptions>,
}

impl HttpProtocolOptions {
    /// The key under which a cluster has these options.
    pub const KEY: &'static str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
}

impl Name for HttpProtocolOptions {
    const NAME: &'static str = "HttpProtocolOptions";
    const PACKAGE: &'static str = "envoy.extensions.upstreams.http.v3";
}

/// Inner messages of [`HttpProtocolOptions`].
pub mod http_protocol_options {
    use xds_api::pb::envoy::config::core::v3 as core;

    /// Always one version.
    #[derive(Clone, PartialEq, prost::Message)]
    #[prost(prost_path = "prost_xds")]
    pub struct ExplicitHttpConfig {
        /// The version.
        #[prost(oneof = "ProtocolConfig", tags = "1, 2, 3")]
        pub protocol_config: Option<ProtocolConfig>,
    }

    /// The versions of [`ExplicitHttpConfig`].
    #[derive(Clone, PartialEq, prost::Oneof)]
    #[prost(prost_path = "prost_xds")]
    pub enum ProtocolConfig {
        /// HTTP/1.1.
        #[prost(message, tag = "1")]
        Http(core::Http1ProtocolOptions),
        /// HTTP/2.
        #[prost(message, tag = "2")]
        Http2(core::Http2ProtocolOptions),
        /// HTTP/3.
        #[prost(message, tag = "3")]
        Http3(core::Http3ProtocolOptions),
    }

    /// The version that the caller speaks.
    #[derive(Clone, PartialEq, prost::Message)]
    #[prost(prost_path = "prost_xds")]
    pub struct UseDownstreamHttpConfig {
        /// Where it is HTTP/1.1.
        #[prost(message, optional, tag = "1")]
        pub http_protocol_options: Option<core::Http1ProtocolOptions>,
        /// Where it is HTTP/2.
        #[prost(message, optional, tag = "2")]
        pub http2_protocol_options: Option<core::Http2ProtocolOptions>,
    }

    /// The version that ALPN settles on. Its fields do not matter here: without TLS nothing can be settled.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    #[prost(prost_path = "prost_xds")]
    pub struct AutoHttpConfig {}

    /// How the version is chosen.
    #[derive(Clone, PartialEq, prost::Oneof)]
    #[prost(prost_path = "prost_xds")]
    pub enum UpstreamProtocolOptions {
        /// Always this one.
        #[prost(message, tag = "3")]
        Explicit(ExplicitHttpConfig),
        /// The caller's.
        #[prost(message, tag = "4")]
        UseDownstream(UseDownstreamHttpConfig),
        /// By ALPN.
        #[prost(message, tag = "5")]
        Auto(AutoHttpConfig),
    }
}
