//! Active health checks in standard fields (`HealthCheck`), for Envoy and, inside our own message, for our proxy.
//!
//! Envoy asks a destination without traffic only once a minute and reuses its connections; ours always asks at the
//! interval, and anew, and Envoy is told to do the same.

use std::time::Duration;

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::value::{
    duration, each, missing, number, optional_duration, read_number, refuse_all, refused, refused_at,
    required_duration, unsupported,
};
use super::wire::outrigger as own;
use crate::error::Problem;
use crate::policy::health_check::{HealthCheck, HttpProbe, Probe, StatusRange, is_host};
use crate::policy::{Mode, Origin};

use core::health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck};

/// The longest time until the first check of an endpoint.
const FIRST: Duration = Duration::from_secs(1);

/// Encodes a check. `host` stands where the check has none of its own, unless it is a name for people alone.
pub(super) fn encode(check: &HealthCheck, host: &str) -> core::HealthCheck {
    let host = if is_host(host) { host } else { "" };
    let or_host = |own: &str| if own.is_empty() { host.to_owned() } else { own.to_owned() };
    let health_checker = match &check.probe {
        Probe::Http(probe) => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            host: or_host(&probe.host),
            path: probe.path.to_string(),
            expected_statuses: probe.statuses.iter().map(range).collect(),
            retriable_statuses: probe.tolerated.iter().map(range).collect(),
            codec_client_type: match probe.http2 {
                true => kinds::CodecClientType::Http2.into(),
                false => kinds::CodecClientType::Http1.into(),
            },
            ..Default::default()
        }),
        Probe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.to_string(),
            authority: or_host(authority),
            ..Default::default()
        }),
        Probe::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
    };
    core::HealthCheck {
        timeout: duration(check.timeout),
        interval: duration(check.interval),
        initial_jitter: duration(check.interval.min(FIRST)),
        interval_jitter: Some(check.jitter).filter(|jitter| !jitter.is_zero()).and_then(duration),
        unhealthy_threshold: number(check.unhealthy_threshold),
        healthy_threshold: number(check.healthy_threshold),
        alt_port: check.port.and_then(|port| number(port.into())),
        reuse_connection: Some(pb::BoolValue { value: false }),
        no_traffic_interval: duration(check.interval),
        health_checker: Some(health_checker),
        ..Default::default()
    }
}

/// Encodes a check with its origin and mode.
pub(super) fn encode_own(check: &HealthCheck) -> own::HealthCheck {
    own::HealthCheck {
        origin: check.origin.to_string(),
        observe: !check.mode.enforces(),
        check: Some(encode(check, "")),
    }
}

/// Decodes what [`encode_own`] says.
pub(super) fn read_own(message: &own::HealthCheck) -> Result<HealthCheck, Problem> {
    let inner = message.check.as_ref().ok_or_else(|| missing("check"))?;
    let read = decode(inner).map_err(|problem| problem.at_field("check"))?;
    let mode = if message.observe { Mode::Observe } else { Mode::Enforce };
    Ok(HealthCheck { origin: Origin(message.origin.as_str().into()), mode, ..read })
}

/// Decodes the checks of a cluster, of which there may be one, as with Envoy.
pub(super) fn decode_all(messages: &[core::HealthCheck]) -> Result<Option<HealthCheck>, Problem> {
    match messages {
        [] => Ok(None),
        [only] => decode(only).map(Some).map_err(|problem| problem.at_index(0).at_field("health_checks")),
        [_, ..] => Err(refused_at("health_checks", 1)),
    }
}

fn decode(message: &core::HealthCheck) -> Result<HealthCheck, Problem> {
    refuse_all([
        ("unhealthy_interval", message.unhealthy_interval.is_some()),
        ("unhealthy_edge_interval", message.unhealthy_edge_interval.is_some()),
        ("healthy_edge_interval", message.healthy_edge_interval.is_some()),
        ("tls_options", message.tls_options.is_some()),
        ("transport_socket_match_criteria", message.transport_socket_match_criteria.is_some()),
    ])?;
    let probe = match &message.health_checker {
        Some(HealthChecker::HttpHealthCheck(http)) => {
            decode_http(http).map(Probe::Http).map_err(|problem| problem.at_field("http_health_check"))?
        }
        Some(HealthChecker::GrpcHealthCheck(grpc)) => {
            let metadata = [("initial_metadata", !grpc.initial_metadata.is_empty())];
            refuse_all(metadata).map_err(|problem| problem.at_field("grpc_health_check"))?;
            Probe::Grpc { service: grpc.service_name.as_str().into(), authority: grpc.authority.as_str().into() }
        }
        Some(HealthChecker::TcpHealthCheck(tcp)) => {
            let bytes = [
                ("send", tcp.send.is_some()),
                ("receive", !tcp.receive.is_empty()),
                ("proxy_protocol_config", tcp.proxy_protocol_config.is_some()),
            ];
            refuse_all(bytes).map_err(|problem| problem.at_field("tcp_health_check"))?;
            Probe::Tcp
        }
        Some(HealthChecker::CustomHealthCheck(_)) => return Err(refused("custom_health_check")),
        None => return Err(missing("health_checker")),
    };
    let interval = required_duration("interval", message.interval.as_ref())?;
    let added = optional_duration("interval_jitter", message.interval_jitter.as_ref())?.unwrap_or_default();
    let share = interval.saturating_mul(message.interval_jitter_percent.min(100)) / 100;
    let port = match message.alt_port.as_ref().map(|port| port.value) {
        None => None,
        Some(port) => match u16::try_from(port) {
            Ok(port) => Some(port),
            Err(_) => return Err(Problem::invalid(port, "must be at most 65535").at_field("alt_port")),
        },
    };
    let check = HealthCheck {
        origin: Origin::default(),
        mode: Mode::Enforce,
        probe,
        interval,
        timeout: required_duration("timeout", message.timeout.as_ref())?,
        jitter: added + share,
        unhealthy_threshold: read_number(message.unhealthy_threshold.as_ref(), 0).max(1),
        healthy_threshold: read_number(message.healthy_threshold.as_ref(), 0).max(1),
        port,
    };
    check.check()?;
    Ok(check)
}

fn decode_http(message: &HttpHealthCheck) -> Result<HttpProbe, Problem> {
    let get = [i32::from(core::RequestMethod::MethodUnspecified), i32::from(core::RequestMethod::Get)];
    refuse_all([
        ("send", message.send.is_some()),
        ("receive", !message.receive.is_empty()),
        ("request_headers_to_add", !message.request_headers_to_add.is_empty()),
        ("request_headers_to_remove", !message.request_headers_to_remove.is_empty()),
        ("service_name_matcher", message.service_name_matcher.is_some()),
        ("method", !get.contains(&message.method)),
    ])?;
    let http2 = match kinds::CodecClientType::try_from(message.codec_client_type) {
        Ok(kinds::CodecClientType::Http1) => false,
        Ok(kinds::CodecClientType::Http2) => true,
        _ => return Err(unsupported("codec_client_type", "only HTTP1 and HTTP2 are supported")),
    };
    let statuses = each("expected_statuses", &message.expected_statuses, read_range)?;
    Ok(HttpProbe {
        path: message.path.as_str().into(),
        host: message.host.as_str().into(),
        http2,
        statuses: if statuses.is_empty() { vec![StatusRange::only(200)] } else { statuses },
        tolerated: each("retriable_statuses", &message.retriable_statuses, read_range)?,
    })
}

/// xDS has the end outside.
fn range(range: &StatusRange) -> kinds::Int64Range {
    kinds::Int64Range { start: range.first.into(), end: i64::from(range.last) + 1 }
}

fn read_range(message: &kinds::Int64Range) -> Result<StatusRange, Problem> {
    let kinds::Int64Range { start, end } = message;
    let read = |status: i64| u16::try_from(status).ok();
    match (read(*start), end.checked_sub(1).and_then(read)) {
        (Some(first), Some(last)) => Ok(StatusRange { first, last }),
        _ => Err(Problem::invalid(format!("[{start}, {end})"), "must be statuses between 100 and 599")),
    }
}
