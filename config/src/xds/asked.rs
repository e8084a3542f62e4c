//! What a rate limit service is asked, in standard fields: the filter of a listener, and the descriptors of a route
//! (`envoy.config.route.v3.RateLimit`).

use std::time::Duration;

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::matching;
use super::value::{duration, each, missing, number, optional_duration, read_number, refuse_all, refused, unsupported};
use super::wire::global_limit::RateLimit as Filter;
use crate::error::Problem;
use crate::name::ResourceName;
use crate::policy::asked::{Action, Asked, LimitFilter};
use crate::policy::rate_limit::OnError;
use route::rate_limit::action::{
    ActionSpecifier, DestinationCluster, GenericKey, HeaderValueMatch, MaskedRemoteAddress, RemoteAddress,
    RequestHeaders, SourceCluster,
};

/// What Envoy waits for an answer.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(20);
/// The longest that there may be; and what 0 comes to, which in Envoy bounds nothing.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The last stage there is.
const LAST_STAGE: u32 = 10;
/// What entries are called that have no name of their own.
const GENERIC_KEY: &str = "generic_key";
const HEADER_MATCH: &str = "header_match";

/// The service of a cluster.
pub(super) fn service(cluster: &str) -> Option<RateLimitServiceConfig> {
    let target = core::grpc_service::TargetSpecifier::EnvoyGrpc(core::grpc_service::EnvoyGrpc {
        cluster_name: cluster.to_owned(),
        ..Default::default()
    });
    Some(RateLimitServiceConfig {
        grpc_service: Some(core::GrpcService { target_specifier: Some(target), ..Default::default() }),
        transport_api_version: core::ApiVersion::V3.into(),
    })
}

/// Encodes a filter.
pub(super) fn encode_filter(filter: &LimitFilter) -> Filter {
    let status = |status: u16, usual: u16| (status != usual).then(|| kinds::HttpStatus { code: i32::from(status) });
    Filter {
        domain: filter.domain.to_string(),
        stage: filter.stage,
        timeout: duration(filter.timeout),
        failure_mode_deny: filter.on_error == OnError::Deny,
        rate_limited_as_resource_exhausted: filter.exhausted,
        rate_limit_service: service(filter.cluster.as_str()),
        rate_limited_status: status(filter.status, 429),
        status_on_error: status(filter.status_on_error, 500),
        ..Default::default()
    }
}

/// Decodes a filter.
pub(super) fn decode_filter(message: &Filter) -> Result<LimitFilter, Problem> {
    let kinds = ["", "both"];
    refuse_all([
        ("request_type", !kinds.contains(&message.request_type.as_str())),
        ("enable_x_ratelimit_headers", message.enable_x_ratelimit_headers != 0),
        ("disable_x_envoy_ratelimited_header", message.disable_x_envoy_ratelimited_header),
        ("response_headers_to_add", !message.response_headers_to_add.is_empty()),
        ("filter_enabled", message.filter_enabled.is_some()),
        ("filter_enforced", message.filter_enforced.is_some()),
        ("failure_mode_deny_percent", message.failure_mode_deny_percent.is_some()),
        ("rate_limits", !message.rate_limits.is_empty()),
    ])?;
    if message.domain.is_empty() {
        return Err(missing("domain"));
    }
    let service = message.rate_limit_service.as_ref().and_then(|service| service.grpc_service.as_ref());
    let target = service.and_then(|service| service.target_specifier.as_ref());
    let at = |problem: Problem| problem.at_field("grpc_service").at_field("rate_limit_service");
    let cluster = match target {
        Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(grpc)) => ResourceName::try_new(&grpc.cluster_name)
            .map_err(|problem| at(problem.at_field("cluster_name").at_field("envoy_grpc")))?,
        Some(_) => return Err(at(unsupported("target_specifier", "must be envoy_grpc"))),
        None => return Err(at(missing("envoy_grpc"))),
    };
    let timeout = match optional_duration("timeout", message.timeout.as_ref())? {
        None => DEFAULT_TIMEOUT,
        Some(Duration::ZERO) => LONGEST_TIMEOUT,
        Some(timeout) => timeout,
    };
    if timeout > LONGEST_TIMEOUT {
        return Err(Problem::invalid(crate::value::format_duration(timeout), "must be up to 60s").at_field("timeout"));
    }
    Ok(LimitFilter {
        cluster,
        domain: message.domain.as_str().into(),
        stage: stage(message.stage)?,
        timeout,
        on_error: if message.failure_mode_deny { OnError::Deny } else { OnError::Allow },
        status: status(message.rate_limited_status.as_ref(), 429),
        status_on_error: status(message.status_on_error.as_ref(), 500),
        exhausted: message.rate_limited_as_resource_exhausted,
    })
}

/// Below 400 xDS means the usual one.
fn status(message: Option<&kinds::HttpStatus>, usual: u16) -> u16 {
    let status = message.and_then(|status| u16::try_from(status.code).ok());
    status.filter(|status| (400..=599).contains(status)).unwrap_or(usual)
}

fn stage(stage: u32) -> Result<u32, Problem> {
    if stage > LAST_STAGE {
        return Err(Problem::invalid(stage, "must be between 0 and 10").at_field("stage"));
    }
    Ok(stage)
}

/// Encodes what a route has asked.
pub(super) fn encode(asked: &Asked) -> route::RateLimit {
    let stage = if asked.stage == 0 { None } else { number(asked.stage) };
    let action = |action| route::rate_limit::Action { action_specifier: Some(encode_action(action)) };
    route::RateLimit { stage, actions: asked.actions.iter().map(action).collect(), ..Default::default() }
}

fn encode_action(action: &Action) -> ActionSpecifier {
    match action {
        Action::SourceCluster => ActionSpecifier::SourceCluster(SourceCluster {}),
        Action::DestinationCluster => ActionSpecifier::DestinationCluster(DestinationCluster {}),
        Action::RemoteAddress => ActionSpecifier::RemoteAddress(RemoteAddress {}),
        Action::MaskedRemoteAddress(v4, v6) => ActionSpecifier::MaskedRemoteAddress(MaskedRemoteAddress {
            v4_prefix_mask_len: number(*v4),
            v6_prefix_mask_len: number(*v6),
        }),
        Action::RequestHeader { name, key, optional } => ActionSpecifier::RequestHeaders(RequestHeaders {
            header_name: name.to_string(),
            descriptor_key: key.to_string(),
            skip_if_absent: *optional,
        }),
        Action::GenericKey { key, value } => {
            let descriptor_key = if &**key == GENERIC_KEY { String::new() } else { key.to_string() };
            ActionSpecifier::GenericKey(GenericKey { descriptor_value: value.to_string(), descriptor_key })
        }
        Action::HeaderValueMatch { key, value, expect, headers } => {
            let encode = |header: &crate::matching::HeaderMatch| matching::encode_header(&header.name, &header.value);
            ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
                descriptor_key: if &**key == HEADER_MATCH { String::new() } else { key.to_string() },
                descriptor_value: value.to_string(),
                expect_match: (!expect).then_some(pb::BoolValue { value: false }),
                headers: headers.iter().map(encode).collect(),
            })
        }
    }
}

/// Decodes what a route of `clusters` destinations has asked.
pub(super) fn decode(message: &route::RateLimit, clusters: usize) -> Result<Asked, Problem> {
    // `disable_key` names a switch of a runtime that this proxy does not have: it is never thrown.
    refuse_all([("limit", message.limit.is_some())])?;
    if message.actions.is_empty() {
        return Err(missing("actions"));
    }
    let actions = each("actions", &message.actions, |action| decode_action(action, clusters))?;
    Ok(Asked { stage: stage(read_number(message.stage.as_ref(), 0))?, actions })
}

fn decode_action(message: &route::rate_limit::Action, clusters: usize) -> Result<Action, Problem> {
    let named = |name: &str, usual: &str| if name.is_empty() { usual.into() } else { name.into() };
    Ok(match message.action_specifier.as_ref().ok_or_else(|| missing("action_specifier"))? {
        ActionSpecifier::SourceCluster(_) => Action::SourceCluster,
        // The destination is chosen after the limits here.
        ActionSpecifier::DestinationCluster(_) if clusters > 1 => {
            return Err(unsupported("destination_cluster", "is supported on routes to one cluster only"));
        }
        ActionSpecifier::DestinationCluster(_) => Action::DestinationCluster,
        ActionSpecifier::RemoteAddress(_) => Action::RemoteAddress,
        ActionSpecifier::MaskedRemoteAddress(masked) => {
            let bits = |field, message, most| {
                let bits = read_number(message, most);
                let problem = || Problem::invalid(bits, format!("must be between 0 and {most}")).at_field(field);
                if bits > most { Err(problem()) } else { Ok(bits) }
            };
            Action::MaskedRemoteAddress(
                bits("v4_prefix_mask_len", masked.v4_prefix_mask_len.as_ref(), 32)?,
                bits("v6_prefix_mask_len", masked.v6_prefix_mask_len.as_ref(), 128)?,
            )
        }
        ActionSpecifier::RequestHeaders(header) => Action::RequestHeader {
            name: header_name(&header.header_name).map_err(|problem| problem.at_field("request_headers"))?,
            key: header.descriptor_key.as_str().into(),
            optional: header.skip_if_absent,
        },
        ActionSpecifier::GenericKey(key) => Action::GenericKey {
            key: named(&key.descriptor_key, GENERIC_KEY),
            value: key.descriptor_value.as_str().into(),
        },
        ActionSpecifier::HeaderValueMatch(matched) => Action::HeaderValueMatch {
            key: named(&matched.descriptor_key, HEADER_MATCH),
            value: matched.descriptor_value.as_str().into(),
            expect: matched.expect_match.as_ref().is_none_or(|expect| expect.value),
            headers: each("headers", &matched.headers, matching::decode_header)
                .map_err(|problem| problem.at_field("header_value_match"))?,
        },
        _ => return Err(refused("action_specifier")),
    })
}

fn header_name(name: &str) -> Result<std::sync::Arc<str>, Problem> {
    let parsed = http::HeaderName::from_bytes(name.as_bytes());
    let problem = |_| Problem::invalid(name, "must be the name of a header field").at_field("header_name");
    parsed.map(|name| name.as_str().into()).map_err(problem)
}
