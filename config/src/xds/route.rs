//! Tables of routes (`envoy.config.route.v3.RouteConfiguration`).
//!
//! Matches, destinations, timeouts and hash keys are standard for everyone. Retries and rate limits are standard for
//! Envoy and gRPC, and in our own words for our proxy. Whatever would change a request on its way (rewrites,
//! redirects, mirrors, header fields) is refused, because leaving it out would send another request than was meant.

use std::time::Duration;

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as xds;
use xds_api::pb::google::protobuf as pb;

use super::value::{
    duration, each, metadata, missing, number, optional_duration, read_metadata, read_timeout, refuse_all, refused,
    timeout, unsupported,
};
use super::wire::{self, outrigger, rate_limit::LocalRateLimit};
use super::{filter, matching, own, rate_limit, retry};
use crate::error::Problem;
use crate::name::{Domain, ResourceName};
use crate::policy::{Origin, RateLimit, Retry, Timeouts};
use crate::resource::ClientKind;
use crate::route::{Backend, HashKey, Route, RouteTable, VirtualHost};

use xds::route_action::{ClusterSpecifier, HashPolicy, HostRewriteSpecifier, MaxStreamDuration, hash_policy};

/// How long xDS lets a request take where nothing is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long xDS lets both sides be silent where nothing is said.
const DEFAULT_IDLE: Duration = Duration::from_secs(300);

/// Encodes a table.
pub(super) fn encode(table: &RouteTable, client: ClientKind) -> xds::RouteConfiguration {
    let host = |host: &VirtualHost| xds::VirtualHost {
        name: host.name.to_string(),
        domains: host.domains.iter().map(Domain::to_string).collect(),
        routes: host.routes.iter().map(|route| encode_route(route, client)).collect(),
        ..Default::default()
    };
    xds::RouteConfiguration {
        name: table.name.to_string(),
        virtual_hosts: table.hosts.iter().map(host).collect(),
        ..Default::default()
    }
}

/// Decodes a table.
pub(super) fn decode(message: &xds::RouteConfiguration) -> Result<RouteTable, Problem> {
    refuse_all([
        ("vhds", message.vhds.is_some()),
        ("internal_only_headers", !message.internal_only_headers.is_empty()),
        ("request_headers_to_add", !message.request_headers_to_add.is_empty()),
        ("request_headers_to_remove", !message.request_headers_to_remove.is_empty()),
        ("response_headers_to_add", !message.response_headers_to_add.is_empty()),
        ("response_headers_to_remove", !message.response_headers_to_remove.is_empty()),
        ("request_mirror_policies", !message.request_mirror_policies.is_empty()),
        ("ignore_path_parameters_in_path_matching", message.ignore_path_parameters_in_path_matching),
    ])?;
    refuse_shared_limit(&message.typed_per_filter_config)?;
    let table = RouteTable {
        name: ResourceName::try_new(&message.name).map_err(|problem| problem.at_field("name"))?,
        hosts: each("virtual_hosts", &message.virtual_hosts, decode_host)?,
    };
    table.check()?;
    Ok(table)
}

fn decode_host(message: &xds::VirtualHost) -> Result<VirtualHost, Problem> {
    refuse_all([
        ("matcher", message.matcher.is_some()),
        ("require_tls", message.require_tls != 0),
        ("request_headers_to_add", !message.request_headers_to_add.is_empty()),
        ("request_headers_to_remove", !message.request_headers_to_remove.is_empty()),
        ("response_headers_to_add", !message.response_headers_to_add.is_empty()),
        ("response_headers_to_remove", !message.response_headers_to_remove.is_empty()),
        ("hedge_policy", message.hedge_policy.is_some()),
        ("request_mirror_policies", !message.request_mirror_policies.is_empty()),
    ])?;
    refuse_shared_limit(&message.typed_per_filter_config)?;
    Ok(VirtualHost {
        name: message.name.as_str().into(),
        domains: each("domains", &message.domains, |domain| Domain::parse(domain))?,
        routes: each("routes", &message.routes, |route| decode_route(route, message))?,
    })
}

/// A bucket shared by all routes of a host or a table is not one bucket a route.
fn refuse_shared_limit(configs: &std::collections::HashMap<String, pb::Any>) -> Result<(), Problem> {
    match filter::read_route_limit(configs)?.as_ref().map(rate_limit::is_idle).transpose()? {
        None | Some(true) => Ok(()),
        Some(false) => Err(unsupported("typed_per_filter_config", "a rate limit is supported on routes only")),
    }
}

fn encode_route(route: &Route, client: ClientKind) -> xds::Route {
    let mut action = xds::RouteAction {
        cluster_specifier: Some(encode_backends(&route.backends)),
        timeout: timeout(route.timeouts.request),
        idle_timeout: timeout(route.timeouts.idle),
        hash_policy: route.hash.iter().map(encode_hash).collect(),
        ..Default::default()
    };
    let mut message = xds::Route {
        name: route.name.to_string(),
        r#match: Some(matching::encode(&route.matches, client)),
        ..Default::default()
    };
    match client {
        ClientKind::Outrigger => message.metadata = metadata(&encode_own(route)),
        ClientKind::Envoy => {
            action.retry_policy = retry::encode(route.retry.as_ref(), &route.timeouts, client);
            let limit = route.rate_limit.as_ref().and_then(rate_limit::encode);
            // At most one entry, so that the order of a hash map never shows.
            message.typed_per_filter_config =
                limit.iter().map(|limit| (LocalRateLimit::FILTER.to_owned(), wire::pack(limit))).collect();
        }
        ClientKind::Grpc => {
            action.retry_policy = retry::encode(route.retry.as_ref(), &route.timeouts, client);
            // gRPC takes its deadline from here alone (gRFC A31).
            action.max_stream_duration = route
                .timeouts
                .request
                .map(|timeout| MaxStreamDuration { max_stream_duration: duration(timeout), ..Default::default() });
        }
    }
    message.action = Some(xds::route::Action::Route(action));
    message
}

fn encode_own(route: &Route) -> outrigger::Route {
    outrigger::Route {
        origin: route.origin.to_string(),
        per_try_timeout: route.timeouts.per_try.and_then(duration),
        retry: route.retry.as_ref().map(own::retry),
        rate_limit: route.rate_limit.as_ref().map(own::rate_limit),
    }
}

fn decode_route(message: &xds::Route, host: &xds::VirtualHost) -> Result<Route, Problem> {
    refuse_all([
        ("request_headers_to_add", !message.request_headers_to_add.is_empty()),
        ("request_headers_to_remove", !message.request_headers_to_remove.is_empty()),
        ("response_headers_to_add", !message.response_headers_to_add.is_empty()),
        ("response_headers_to_remove", !message.response_headers_to_remove.is_empty()),
    ])?;
    let action = match &message.action {
        Some(xds::route::Action::Route(action)) => action,
        Some(xds::route::Action::Redirect(_)) => return Err(refused("redirect")),
        Some(xds::route::Action::DirectResponse(_)) => return Err(refused("direct_response")),
        Some(xds::route::Action::FilterAction(_)) => return Err(refused("filter_action")),
        Some(xds::route::Action::NonForwardingAction(_)) => return Err(refused("non_forwarding_action")),
        None => return Err(missing("action")),
    };
    let inner = |problem: Problem| problem.at_field("route");
    refuse_in_action(action).map_err(inner)?;
    let matches = message.r#match.as_ref().ok_or_else(|| missing("match"))?;
    let own: Option<outrigger::Route> = read_metadata(message.metadata.as_ref())?;
    let policies = match own {
        Some(own) => decode_own(&own).map_err(|problem| problem.at_field(outrigger::KEY).at_field("metadata"))?,
        None => decode_standard(message, action, host)?,
    };
    Ok(Route {
        name: message.name.as_str().into(),
        origin: policies.origin,
        matches: matching::decode(matches).map_err(|problem| problem.at_field("match"))?,
        backends: decode_backends(action).map_err(inner)?,
        timeouts: Timeouts {
            request: decode_request_timeout(action).map_err(inner)?,
            per_try: policies.per_try,
            idle: read_timeout("idle_timeout", action.idle_timeout.as_ref(), DEFAULT_IDLE).map_err(inner)?,
        },
        retry: policies.retry,
        rate_limit: policies.rate_limit,
        hash: each("hash_policy", &action.hash_policy, decode_hash).map_err(inner)?,
    })
}

/// What is said either in our own words or in standard fields.
struct Policies {
    origin: Origin,
    per_try: Option<Duration>,
    retry: Option<Retry>,
    rate_limit: Option<RateLimit>,
}

fn decode_own(own: &outrigger::Route) -> Result<Policies, Problem> {
    let retry = own.retry.as_ref().map(own::read_retry).transpose();
    let rate_limit = own.rate_limit.as_ref().map(own::read_rate_limit).transpose();
    Ok(Policies {
        origin: Origin(own.origin.as_str().into()),
        per_try: optional_duration("per_try_timeout", own.per_try_timeout.as_ref())?,
        retry: retry.map_err(|problem| problem.at_field("retry"))?,
        rate_limit: rate_limit.map_err(|problem| problem.at_field("rate_limit"))?,
    })
}

fn decode_standard(
    message: &xds::Route,
    action: &xds::RouteAction,
    host: &xds::VirtualHost,
) -> Result<Policies, Problem> {
    let buffer = message.per_request_buffer_limit_bytes.or(host.per_request_buffer_limit_bytes);
    // A route's policy stands in the place of its host's.
    let (retry, per_try) = match action.retry_policy.as_ref().or(host.retry_policy.as_ref()) {
        None => (None, None),
        Some(policy) => retry::decode(policy, buffer.map(|limit| limit.value))
            .map_err(|problem| problem.at_field("retry_policy").at_field("route"))?,
    };
    let limit = filter::read_route_limit(&message.typed_per_filter_config)?;
    let rate_limit = limit
        .as_ref()
        .map_or(Ok(None), rate_limit::decode)
        .map_err(|problem| problem.at_field(&format!("typed_per_filter_config[\"{}\"]", LocalRateLimit::FILTER)))?;
    Ok(Policies { origin: Origin::default(), per_try, retry, rate_limit })
}

// A deprecated way to ask for something is still a way to ask for it.
#[allow(deprecated)]
fn refuse_in_action(action: &xds::RouteAction) -> Result<(), Problem> {
    let rewrites_host = !matches!(
        action.host_rewrite_specifier,
        None | Some(HostRewriteSpecifier::AutoHostRewrite(pb::BoolValue { value: false }))
    );
    refuse_all([
        ("metadata_match", action.metadata_match.is_some()),
        ("prefix_rewrite", !action.prefix_rewrite.is_empty()),
        ("regex_rewrite", action.regex_rewrite.is_some()),
        ("path_rewrite_policy", action.path_rewrite_policy.is_some()),
        ("host_rewrite_specifier", rewrites_host),
        ("append_x_forwarded_host", action.append_x_forwarded_host),
        ("retry_policy_typed_config", action.retry_policy_typed_config.is_some()),
        ("request_mirror_policies", !action.request_mirror_policies.is_empty()),
        ("priority", action.priority != i32::from(core::RoutingPriority::Default)),
        ("cors", action.cors.is_some()),
        ("internal_redirect_policy", action.internal_redirect_policy.is_some()),
        ("internal_redirect_action", action.internal_redirect_action != 0),
        ("hedge_policy", action.hedge_policy.is_some()),
        ("upgrade_configs", action.upgrade_configs.iter().any(|config| config.connect_config.is_some())),
    ])
}

/// The shorter of the request's and the stream's timeout; for one response each they are the same.
fn decode_request_timeout(action: &xds::RouteAction) -> Result<Option<Duration>, Problem> {
    let stream = action.max_stream_duration.as_ref().and_then(|limits| limits.max_stream_duration.as_ref());
    let stream = read_timeout("max_stream_duration", stream, Duration::ZERO)
        .map_err(|problem| problem.at_field("max_stream_duration"))?;
    let request = read_timeout("timeout", action.timeout.as_ref(), DEFAULT_TIMEOUT)?;
    Ok([request, stream].into_iter().flatten().min())
}

fn encode_backends(backends: &[Backend]) -> ClusterSpecifier {
    if let [Backend { cluster, weight: 1 }] = backends {
        return ClusterSpecifier::Cluster(cluster.to_string());
    }
    let weigh = |backend: &Backend| xds::weighted_cluster::ClusterWeight {
        name: backend.cluster.to_string(),
        weight: number(backend.weight),
        ..Default::default()
    };
    let clusters = backends.iter().map(weigh).collect();
    ClusterSpecifier::WeightedClusters(xds::WeightedCluster { clusters, ..Default::default() })
}

fn decode_backends(action: &xds::RouteAction) -> Result<Vec<Backend>, Problem> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            let cluster = ResourceName::try_new(name).map_err(|problem| problem.at_field("cluster"))?;
            Ok(vec![Backend { cluster, weight: 1 }])
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let inner = |problem: Problem| problem.at_field("weighted_clusters");
            refuse_all([("header_name", weighted.random_value_specifier.is_some())]).map_err(inner)?;
            each("clusters", &weighted.clusters, decode_weight).map_err(inner)
        }
        Some(ClusterSpecifier::ClusterHeader(_)) => Err(refused("cluster_header")),
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => Err(refused("cluster_specifier_plugin")),
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => Err(refused("inline_cluster_specifier_plugin")),
        None => Err(missing("cluster_specifier")),
    }
}

fn decode_weight(message: &xds::weighted_cluster::ClusterWeight) -> Result<Backend, Problem> {
    refuse_all([
        ("cluster_header", !message.cluster_header.is_empty()),
        ("metadata_match", message.metadata_match.is_some()),
        ("request_headers_to_add", !message.request_headers_to_add.is_empty()),
        ("request_headers_to_remove", !message.request_headers_to_remove.is_empty()),
        ("response_headers_to_add", !message.response_headers_to_add.is_empty()),
        ("response_headers_to_remove", !message.response_headers_to_remove.is_empty()),
        ("host_rewrite_specifier", message.host_rewrite_specifier.is_some()),
    ])?;
    refuse_shared_limit(&message.typed_per_filter_config)?;
    Ok(Backend {
        cluster: ResourceName::try_new(&message.name).map_err(|problem| problem.at_field("name"))?,
        weight: message.weight.as_ref().ok_or_else(|| missing("weight"))?.value,
    })
}

fn encode_hash(key: &HashKey) -> HashPolicy {
    let specifier = match key {
        HashKey::Header(name) => hash_policy::PolicySpecifier::Header(hash_policy::Header {
            header_name: name.to_string(),
            regex_rewrite: None,
        }),
        HashKey::Cookie(name) => {
            hash_policy::PolicySpecifier::Cookie(hash_policy::Cookie { name: name.to_string(), ..Default::default() })
        }
        HashKey::SourceIp => {
            hash_policy::PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties { source_ip: true })
        }
    };
    // Terminal: the first key that a request has is the whole key, as in the model.
    HashPolicy { terminal: true, policy_specifier: Some(specifier) }
}

fn decode_hash(message: &HashPolicy) -> Result<HashKey, Problem> {
    use hash_policy::PolicySpecifier;
    match &message.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            refuse_all([("header.regex_rewrite", header.regex_rewrite.is_some())])?;
            Ok(HashKey::Header(header.header_name.to_ascii_lowercase().into()))
        }
        Some(PolicySpecifier::Cookie(cookie)) => {
            // With a lifetime the proxy would have to make the cookie where there is none.
            refuse_all([("cookie.ttl", cookie.ttl.is_some())])?;
            Ok(HashKey::Cookie(cookie.name.as_str().into()))
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => Ok(HashKey::SourceIp),
        Some(PolicySpecifier::ConnectionProperties(_)) => Err(missing("connection_properties.source_ip")),
        Some(PolicySpecifier::QueryParameter(_)) => Err(refused("query_parameter")),
        Some(PolicySpecifier::FilterState(_)) => Err(refused("filter_state")),
        None => Err(missing("policy_specifier")),
    }
}
