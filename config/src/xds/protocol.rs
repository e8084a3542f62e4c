//! Which protocol is spoken upstream, and how long a connection may idle (`HttpProtocolOptions`).

use std::time::Duration;

use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::config::core::v3 as core;

use super::value::{missing, read_timeout, refuse, timeout, unsupported};
use super::wire;
use super::wire::http::{HttpProtocolOptions, http_protocol_options};
use crate::cluster::Protocol;
use crate::error::Problem;

use http_protocol_options::{ExplicitHttpConfig, ProtocolConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};

/// How long xDS lets a connection idle where nothing is said.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);

/// Encodes both.
pub(super) fn encode(protocol: Protocol, idle: Option<Duration>) -> HttpProtocolOptions {
    let (http1, http2) = (core::Http1ProtocolOptions::default(), core::Http2ProtocolOptions::default());
    let explicit = |config| UpstreamProtocolOptions::Explicit(ExplicitHttpConfig { protocol_config: Some(config) });
    let options = match protocol {
        Protocol::Http1 => explicit(ProtocolConfig::Http(http1)),
        Protocol::Http2 => explicit(ProtocolConfig::Http2(http2)),
        Protocol::Downstream => UpstreamProtocolOptions::UseDownstream(UseDownstreamHttpConfig {
            http_protocol_options: Some(http1),
            http2_protocol_options: Some(http2),
        }),
    };
    HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: timeout(idle),
            ..Default::default()
        }),
        upstream_protocol_options: Some(options),
    }
}

/// Decodes both from a cluster: from its typed options, else from the fields that these replaced.
pub(super) fn decode(cluster: &xds::Cluster) -> Result<(Protocol, Option<Duration>), Problem> {
    let Some(any) = cluster.typed_extension_protocol_options.get(HttpProtocolOptions::KEY) else {
        return decode_old(cluster);
    };
    let read = |any| {
        let options: HttpProtocolOptions = wire::unpack(any)?;
        let idle = idle(options.common_http_protocol_options.as_ref())?;
        let config = options.upstream_protocol_options.ok_or_else(|| missing("upstream_protocol_options"))?;
        Ok((decode_options(config)?, idle))
    };
    read(any).map_err(|problem: Problem| {
        problem.at_field(&format!("typed_extension_protocol_options[\"{}\"]", HttpProtocolOptions::KEY))
    })
}

fn decode_options(options: UpstreamProtocolOptions) -> Result<Protocol, Problem> {
    match options {
        UpstreamProtocolOptions::Explicit(explicit) => match explicit.protocol_config {
            Some(ProtocolConfig::Http(_)) => Ok(Protocol::Http1),
            Some(ProtocolConfig::Http2(_)) => Ok(Protocol::Http2),
            Some(ProtocolConfig::Http3(_)) => {
                Err(unsupported("http3_protocol_options", "is not supported").at_field("explicit_http_config"))
            }
            None => Err(missing("protocol_config").at_field("explicit_http_config")),
        },
        UpstreamProtocolOptions::UseDownstream(_) => Ok(Protocol::Downstream),
        UpstreamProtocolOptions::Auto(_) => {
            Err(unsupported("auto_config", "needs TLS, which is not supported: use explicit_http_config"))
        }
    }
}

// The deprecated fields are how many a control plane still says it.
#[allow(deprecated)]
fn decode_old(cluster: &xds::Cluster) -> Result<(Protocol, Option<Duration>), Problem> {
    let downstream = i32::from(xds::cluster::ClusterProtocolSelection::UseDownstreamProtocol);
    let protocol = if cluster.protocol_selection == downstream {
        Protocol::Downstream
    } else if cluster.http2_protocol_options.is_some() {
        Protocol::Http2
    } else {
        Protocol::Http1
    };
    Ok((protocol, idle(cluster.common_http_protocol_options.as_ref())?))
}

fn idle(options: Option<&core::HttpProtocolOptions>) -> Result<Option<Duration>, Problem> {
    let inner = |problem: Problem| problem.at_field("common_http_protocol_options");
    let duration = options.and_then(|options| options.max_stream_duration.as_ref());
    refuse(duration.is_some_and(|duration| *duration != Default::default()), "max_stream_duration").map_err(inner)?;
    let idle = options.and_then(|options| options.idle_timeout.as_ref());
    read_timeout("idle_timeout", idle, DEFAULT_IDLE).map_err(inner)
}
