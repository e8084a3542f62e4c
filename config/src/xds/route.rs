//! Tables of routes (`envoy.config.route.v3.RouteConfiguration`).
//!
//! Matches, destinations, timeouts and hash keys are standard for everyone. Retries and rate limits are standard for
//! Envoy and gRPC, and in our own words for our proxy. Whatever would change a request on its way and is not in the
//! model is refused, because leaving it out would send another request than was meant.

use std::time::Duration;

use xds_api::pb::envoy::config::route::v3 as xds;

use super::value::{
    duration, each, metadata, missing, optional_duration, ordered, read_metadata, read_timeout, refuse_all, timeout,
};
use super::wire::{self, fault::HttpFault, outrigger, rate_limit::LocalRateLimit, session::StatefulSession};
use super::{
    action, asked, backend, cache, fault, filter, global_limit, header, matching, own, priority, rate_limit, retry,
    session,
};
use crate::error::Problem;
use crate::header::{HeaderChanges, Headers};
use crate::name::{Domain, ResourceName};
use crate::policy::asked::Asked;
use crate::policy::{Cache, Fault, Origin, RateLimit, Retry, Session, Timeouts};
use crate::resource::ClientKind;
use crate::route::{AttemptCounts, Backend, HashKey, Mirror, Rehearsed, Route, RouteTable, VirtualHost};
use crate::subset::Criteria;

use xds::route_action::MaxStreamDuration;

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
        include_request_attempt_count: host.counts.to_endpoint,
        include_attempt_count_in_response: host.counts.to_caller,
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
    filter::refuse_shared(&message.typed_per_filter_config)?;
    let table = RouteTable {
        name: ResourceName::try_new(&message.name).map_err(|problem| problem.at_field("name"))?,
        hosts: each("virtual_hosts", &message.virtual_hosts, decode_host)?,
    };
    table.check()?;
    Ok(table)
}

/// Whether a route and one of its backends change the same field.
fn is_contested(route: &Route) -> bool {
    let both =
        |outer: &HeaderChanges, inner: &HeaderChanges| outer.names().any(|name| inner.names().any(|one| one == name));
    let of_backend = |backend: &Backend| {
        both(&route.headers.request, &backend.headers.request)
            || both(&route.headers.response, &backend.headers.response)
    };
    route.backends.iter().any(of_backend)
}

fn decode_host(message: &xds::VirtualHost) -> Result<VirtualHost, Problem> {
    refuse_all([
        ("matcher", message.matcher.is_some()),
        ("require_tls", message.require_tls != 0),
        ("request_headers_to_add", !message.request_headers_to_add.is_empty()),
        ("request_headers_to_remove", !message.request_headers_to_remove.is_empty()),
        ("response_headers_to_add", !message.response_headers_to_add.is_empty()),
        ("response_headers_to_remove", !message.response_headers_to_remove.is_empty()),
    ])?;
    filter::refuse_shared(&message.typed_per_filter_config)?;
    Ok(VirtualHost {
        name: message.name.as_str().into(),
        domains: each("domains", &message.domains, |domain| Domain::parse(domain))?,
        routes: each("routes", &message.routes, |route| decode_route(route, message))?,
        counts: AttemptCounts {
            to_endpoint: message.include_request_attempt_count,
            to_caller: message.include_attempt_count_in_response,
        },
    })
}

/// Where a route and one of its backends change the same field: with all changes on the backends, in the order that
/// `both` puts them in. Envoy makes a route's changes after its backend's, whatever
/// `most_specific_header_mutations_wins` says; the model makes them before.
fn folded(mut route: Route, both: impl Fn(&Headers, &Headers) -> Headers) -> Route {
    if is_contested(&route) {
        let outer = std::mem::take(&mut route.headers);
        route.backends.iter_mut().for_each(|backend| backend.headers = both(&outer, &backend.headers));
    }
    route
}

fn encode_route(route: &Route, client: ClientKind) -> xds::Route {
    let for_others = (client != ClientKind::Outrigger).then(|| folded(route.clone(), Headers::then));
    let route = for_others.as_ref().unwrap_or(route);
    let (request_headers_to_add, request_headers_to_remove) = header::encode(&route.headers.request);
    let (response_headers_to_add, response_headers_to_remove) = header::encode(&route.headers.response);
    let mut message = xds::Route {
        name: route.name.to_string(),
        r#match: Some(matching::encode(&route.matches, client)),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        ..Default::default()
    };
    match client {
        ClientKind::Outrigger => message.metadata = metadata(&encode_own(route)),
        ClientKind::Envoy => {
            let limit = route.rate_limit.as_ref().and_then(rate_limit::encode);
            let fault = route.fault.as_ref().and_then(fault::encode_for_envoy);
            let limit = limit.iter().map(|limit| (LocalRateLimit::FILTER, wire::pack(limit)));
            let fault = fault.iter().map(|fault| (HttpFault::FILTER, wire::pack(fault)));
            let session = route.session.as_ref().map(session::encode_for_envoy);
            let session = session.iter().map(|session| (StatefulSession::FILTER, wire::pack(session)));
            message.typed_per_filter_config = ordered(fault.chain(limit).chain(session));
        }
        ClientKind::Grpc => {}
    }
    message.action = Some(match &route.answer {
        Some(answer) => action::encode(answer, &route.matches.path, client),
        None => xds::route::Action::Route(encode_action(route, client)),
    });
    message
}

fn encode_action(route: &Route, client: ClientKind) -> xds::RouteAction {
    let (clusters, asked) = backend::encode(&route.backends, client);
    let mut action = xds::RouteAction {
        cluster_specifier: Some(clusters),
        metadata_match: asked,
        timeout: timeout(route.timeouts.request),
        idle_timeout: timeout(route.timeouts.idle),
        request_mirror_policies: backend::encode_mirrors(route, client),
        hash_policy: route.hash.iter().map(backend::encode_hash).collect(),
        priority: priority::encode(route.priority),
        ..Default::default()
    };
    action::rewrite(&mut action, &route.rewrite, &route.matches.path, client);
    if client != ClientKind::Outrigger {
        action.retry_policy = retry::encode(route.retry.as_ref(), &route.timeouts, client);
        action.hedge_policy = retry::encode_hedge(route.retry.as_ref(), &route.timeouts, client);
    }
    if client == ClientKind::Envoy {
        action.rate_limits = route.rate_limit.iter().flat_map(global_limit::encode).collect();
    }
    if client != ClientKind::Grpc {
        action.rate_limits.extend(route.asked.iter().map(asked::encode));
    }
    action.max_stream_duration = encode_stream(&route.timeouts, client);
    action
}

/// What bounds a stream. gRPC takes its deadline from here alone (gRFC A31), and where something is said here Envoy
/// leaves `timeout` out of account: for them the request's timeout is in it.
fn encode_stream(timeouts: &Timeouts, client: ClientKind) -> Option<MaxStreamDuration> {
    let folds = match client {
        ClientKind::Outrigger => false,
        ClientKind::Envoy => timeouts.stream.or(timeouts.grpc_max).is_some(),
        ClientKind::Grpc => true,
    };
    let request = timeouts.request.filter(|_| folds);
    let shorter = |other: Option<Duration>| request.into_iter().chain(other).min();
    let stream = shorter(timeouts.stream);
    // Zero is no bound.
    let grpc_max = timeouts.grpc_max.map(|most| shorter(Some(most).filter(|most| !most.is_zero())));
    (stream.is_some() || grpc_max.is_some()).then(|| MaxStreamDuration {
        max_stream_duration: stream.and_then(duration),
        grpc_timeout_header_max: grpc_max.and_then(timeout),
        ..Default::default()
    })
}

fn encode_own(route: &Route) -> outrigger::Route {
    outrigger::Route {
        origin: route.origin.to_string(),
        per_try_timeout: route.timeouts.per_try.and_then(duration),
        retry: route.retry.as_ref().map(own::retry),
        rate_limit: route.rate_limit.as_ref().map(own::rate_limit),
        fault: route.fault.as_ref().map(own::fault),
        sticky: route.sticky.iter().map(backend::encode_hash).collect(),
        rehearsed: own::rehearsed_route(&route.rehearsed),
        cache: route.cache.as_ref().map(cache::encode),
        session: route.session.as_ref().map(session::encode),
        mirror_metadata_match: backend::encode_asked_by_mirrors(&route.mirrors),
    }
}

fn decode_route(message: &xds::Route, host: &xds::VirtualHost) -> Result<Route, Problem> {
    let matches = message.r#match.as_ref().ok_or_else(|| missing("match"))?;
    let common = Route {
        matches: matching::decode(matches).map_err(|problem| problem.at_field("match"))?,
        headers: header::decode(
            (&message.request_headers_to_add, &message.request_headers_to_remove),
            (&message.response_headers_to_add, &message.response_headers_to_remove),
        )?,
        ..Route::bare(&message.name)
    };
    let own: Option<outrigger::Route> = read_metadata(message.metadata.as_ref())?;
    let own = own
        .map(|own| decode_own(&own).map_err(|problem| problem.at_field(outrigger::KEY).at_field("metadata")))
        .transpose()?;
    let action = match &message.action {
        Some(xds::route::Action::Route(action)) => action,
        Some(other) => {
            let answer = Some(action::decode(other, &common.matches.path)?);
            if let Some(own) = own {
                let Policies { origin, rate_limit, fault, rehearsed, .. } = own;
                return Ok(Route { origin, answer, rate_limit, fault, rehearsed, ..common });
            }
            let (rate_limit, fault, _) = decode_filters(message)?;
            return Ok(Route { answer, rate_limit, fault, ..common });
        }
        None => return Err(missing("action")),
    };
    let inner = |problem: Problem| problem.at_field("route");
    refuse_in_action(action).map_err(inner)?;
    let is_own = own.is_some();
    let policies = match own {
        Some(own) => own,
        None => decode_standard(message, action, host)?,
    };
    let backends = backend::decode(action).map_err(inner)?;
    let route = Route {
        origin: policies.origin,
        asked: decode_asked(action, host, backends.len())?,
        mirrors: backend::asking(decode_mirrors(action, host)?, policies.asked_by_mirrors, &backends)?,
        backends,
        rewrite: action::read_rewrite(action, &common.matches.path).map_err(inner)?,
        timeouts: Timeouts { per_try: policies.per_try, ..decode_timeouts(action).map_err(inner)? },
        retry: policies.retry,
        rate_limit: policies.rate_limit,
        fault: policies.fault,
        rehearsed: policies.rehearsed,
        cache: policies.cache,
        sticky: policies.sticky,
        session: policies.session,
        hash: each("hash_policy", &action.hash_policy, backend::decode_hash).map_err(inner)?,
        priority: priority::decode(action.priority).map_err(inner)?,
        ..common
    };
    // Another control plane means Envoy's order, in which the route comes last.
    Ok(if is_own { route } else { folded(route, |outer, inner| inner.then(outer)) })
}

/// What a route has asked stands in the place of what its host has, unless it includes that.
fn decode_asked(action: &xds::RouteAction, host: &xds::VirtualHost, clusters: usize) -> Result<Vec<Asked>, Problem> {
    let inner = |problem: Problem| problem.at_field("route");
    let read = |message: &xds::RateLimit| asked::decode(message, clusters);
    let mut asked = each("rate_limits", &action.rate_limits, read).map_err(inner)?;
    #[allow(deprecated)]
    let includes = action.include_vh_rate_limits.as_ref().is_some_and(|include| include.value);
    if includes || asked.is_empty() {
        asked.extend(each("rate_limits", &host.rate_limits, read)?);
    }
    Ok(asked)
}

/// A route's mirrors stand in the place of its host's.
fn decode_mirrors(action: &xds::RouteAction, host: &xds::VirtualHost) -> Result<Vec<Mirror>, Problem> {
    let inner = |problem: Problem| problem.at_field("route");
    let own =
        each("request_mirror_policies", &action.request_mirror_policies, backend::decode_mirror).map_err(inner)?;
    if own.is_empty() {
        return each("request_mirror_policies", &host.request_mirror_policies, backend::decode_mirror);
    }
    Ok(own)
}

/// What is said either in our own words or in standard fields.
struct Policies {
    origin: Origin,
    per_try: Option<Duration>,
    retry: Option<Retry>,
    rate_limit: Option<RateLimit>,
    fault: Option<Fault>,
    sticky: Vec<HashKey>,
    rehearsed: Rehearsed,
    cache: Option<Cache>,
    session: Option<Session>,
    asked_by_mirrors: Option<Vec<Criteria>>,
}

fn decode_own(own: &outrigger::Route) -> Result<Policies, Problem> {
    let retry = own.retry.as_ref().map(own::read_retry).transpose();
    let rate_limit = own.rate_limit.as_ref().map(own::read_rate_limit).transpose();
    let fault = own.fault.as_ref().map(own::read_fault).transpose();
    let cache = own.cache.as_ref().map(cache::decode).transpose();
    Ok(Policies {
        origin: Origin(own.origin.as_str().into()),
        per_try: optional_duration("per_try_timeout", own.per_try_timeout.as_ref())?,
        retry: retry.map_err(|problem| problem.at_field("retry"))?,
        rate_limit: rate_limit.map_err(|problem| problem.at_field("rate_limit"))?,
        fault: fault.map_err(|problem| problem.at_field("fault"))?,
        sticky: each("sticky", &own.sticky, backend::decode_hash)?,
        rehearsed: own::read_rehearsed_route(own.rehearsed.as_ref())
            .map_err(|problem| problem.at_field("rehearsed"))?,
        cache: cache.map_err(|problem| problem.at_field("cache"))?,
        session: own.session.as_ref().map(session::read).transpose().map_err(|problem| problem.at_field("session"))?,
        asked_by_mirrors: Some(backend::decode_asked_by_mirrors(&own.mirror_metadata_match)?),
    })
}

fn decode_standard(
    message: &xds::Route,
    action: &xds::RouteAction,
    host: &xds::VirtualHost,
) -> Result<Policies, Problem> {
    let buffer = message.per_request_buffer_limit_bytes.or(host.per_request_buffer_limit_bytes);
    // A route's policy stands in the place of its host's. What else a hedge policy has Envoy does not carry out.
    let hedges = action.hedge_policy.as_ref().or(host.hedge_policy.as_ref());
    let hedges = hedges.is_some_and(|policy| policy.hedge_on_per_try_timeout);
    let (retry, per_try) = match action.retry_policy.as_ref().or(host.retry_policy.as_ref()) {
        None => (None, None),
        Some(policy) => retry::decode(policy, buffer.map(|limit| limit.value), hedges)
            .map_err(|problem| problem.at_field("retry_policy").at_field("route"))?,
    };
    let (rate_limit, fault, session) = decode_filters(message)?;
    let (origin, sticky, cache, rehearsed) = (Origin::default(), Vec::new(), None, Rehearsed::default());
    let asked_by_mirrors = None;
    Ok(Policies { origin, per_try, retry, rate_limit, fault, sticky, cache, rehearsed, session, asked_by_mirrors })
}

type Filters = (Option<RateLimit>, Option<Fault>, Option<Session>);

fn decode_filters(message: &xds::Route) -> Result<Filters, Problem> {
    let at = |name: &str, problem: Problem| problem.at_field(&format!("typed_per_filter_config[\"{name}\"]"));
    let found = filter::read_route(&message.typed_per_filter_config)?;
    let limit = found.limit.as_ref().map_or(Ok(None), rate_limit::decode);
    let fault = found.fault.as_ref().map_or(Ok(None), fault::decode);
    let session = found.session.as_ref().map_or(Ok(None), session::decode);
    Ok((
        limit.map_err(|problem| at(LocalRateLimit::FILTER, problem))?,
        fault.map_err(|problem| at(HttpFault::FILTER, problem))?,
        session.map_err(|problem| at(StatefulSession::FILTER, problem))?,
    ))
}

// A deprecated way to ask for something is still a way to ask for it.
#[allow(deprecated)]
fn refuse_in_action(action: &xds::RouteAction) -> Result<(), Problem> {
    refuse_all([
        ("path_rewrite_policy", action.path_rewrite_policy.is_some()),
        ("append_x_forwarded_host", action.append_x_forwarded_host),
        ("retry_policy_typed_config", action.retry_policy_typed_config.is_some()),
        ("cors", action.cors.is_some()),
        ("internal_redirect_policy", action.internal_redirect_policy.is_some()),
        ("internal_redirect_action", action.internal_redirect_action != 0),
        ("upgrade_configs", action.upgrade_configs.iter().any(|config| config.connect_config.is_some())),
    ])
}

/// An absent `timeout` is one of 15 s only where nothing is said of the stream.
fn decode_timeouts(action: &xds::RouteAction) -> Result<Timeouts, Problem> {
    let idle = read_timeout("idle_timeout", action.idle_timeout.as_ref(), DEFAULT_IDLE)?;
    let request = action.timeout.as_ref();
    let Some(limits) = &action.max_stream_duration else {
        let request = read_timeout("timeout", request, DEFAULT_TIMEOUT)?;
        return Ok(Timeouts { request, idle, ..Timeouts::default() });
    };
    let of_stream = || {
        let offset = limits.grpc_timeout_header_offset.as_ref();
        refuse_all([("grpc_timeout_header_offset", offset.is_some_and(|offset| *offset != Default::default()))])?;
        let stream = read_timeout("max_stream_duration", limits.max_stream_duration.as_ref(), Duration::ZERO)?;
        let grpc_max = optional_duration("grpc_timeout_header_max", limits.grpc_timeout_header_max.as_ref())?;
        Ok((stream, grpc_max))
    };
    let (stream, grpc_max) = of_stream().map_err(|problem: Problem| problem.at_field("max_stream_duration"))?;
    let request = read_timeout("timeout", request, Duration::ZERO)?;
    Ok(Timeouts { request, per_try: None, idle, stream, grpc_max })
}
