//! HTTP filters: the five we send, and which of other control planes' we take.
//!
//! A filter that is unknown is refused, because a request would pass that its author wanted changed, checked or
//! stopped. Taken are those marked optional or disabled, and those that only watch.

use xds_api::pb::envoy::config::route::v3 as route;
use xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use xds_api::pb::google::protobuf as pb;

use super::value::{missing, refused, unsupported};
use super::wire::adaptive::AdaptiveConcurrency as AdaptiveFilter;
use super::wire::global_limit::RateLimit as AskFilter;
use super::wire::session::{StatefulSession, StatefulSessionPerRoute};
use super::wire::{self, fault::HttpFault, rate_limit::LocalRateLimit};
use super::{adaptive, asked, global_limit, rate_limit};
use crate::error::{Code, Problem};
use crate::policy::AdaptiveConcurrency;
use crate::policy::asked::LimitFilter;
use crate::resource::ClientKind;

/// The name of the filter that sends requests on; always the last.
const ROUTER: &str = "envoy.filters.http.router";

/// What a filter or a route's settings for one may be without changing any request: statistics, and exchanges of
/// Istio's proxies among themselves.
const HARMLESS: [&str; 6] = [
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config",
    "envoy.extensions.filters.http.set_filter_state.v3.Config",
    "io.istio.http.peer_metadata.Config",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "stats.PluginConfig",
];
/// Filters that do nothing as long as their message is empty and no route has settings for them.
const HARMLESS_IF_EMPTY: [&str; 3] = [
    "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
];
/// Messages that name the type of another.
const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

/// `xds.type.v3.TypedStruct` and `udpa.type.v1.TypedStruct`, as far as they say what is inside.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
}

/// What acts on a whole listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Acting {
    /// As many requests at once as what is behind it bears.
    pub(super) adaptive: Option<AdaptiveConcurrency>,
    /// Who is asked whether requests are within their limits.
    pub(super) asks: Vec<LimitFilter>,
}

/// The chain a client gets, with what acts on the whole listener.
pub(super) fn chain(
    client: ClientKind,
    concurrency: Option<&AdaptiveConcurrency>,
    asks: &[LimitFilter],
) -> Vec<hcm::HttpFilter> {
    let filter = |name: &str, config: pb::Any| hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let router = filter(ROUTER, wire::pack(&Router::default()));
    let ask = |asked: &AskFilter| filter(AskFilter::FILTER, wire::pack(asked));
    let mut asks: Vec<_> = asks.iter().map(|asks| ask(&asked::encode_filter(asks))).collect();
    if client != ClientKind::Envoy {
        asks.push(router);
        return asks;
    }
    if asks.is_empty() {
        asks.push(ask(&global_limit::filter()));
    }
    // Idle in the chain, switched on by routes; in the order in which our own proxy has them.
    let limit = filter(LocalRateLimit::FILTER, wire::pack(&rate_limit::idle()));
    let fault = filter(HttpFault::FILTER, wire::pack(&HttpFault::default()));
    let session = filter(StatefulSession::FILTER, wire::pack(&StatefulSession::default()));
    let concurrency = concurrency.filter(|policy| policy.mode.enforces()).map(adaptive::encode);
    let concurrency = concurrency.map(|policy| filter(AdaptiveFilter::FILTER, wire::pack(&policy)));
    [limit].into_iter().chain(asks).chain([fault]).chain(concurrency).chain([session, router]).collect()
}

/// Requires a chain that ends in a router and has nothing else that acts but what comes back.
pub(super) fn read_chain(filters: &[hcm::HttpFilter]) -> Result<Acting, Problem> {
    let mut found = Acting::default();
    for (index, filter) in filters.iter().enumerate() {
        let last = index + 1 == filters.len();
        check_filter(filter, last, &mut found).map_err(|problem| problem.at_index(index).at_field("http_filters"))?;
    }
    if filters.is_empty() { Err(missing("http_filters")) } else { Ok(found) }
}

fn check_filter(filter: &hcm::HttpFilter, last: bool, found: &mut Acting) -> Result<(), Problem> {
    let config = match &filter.config_type {
        Some(hcm::http_filter::ConfigType::TypedConfig(any)) => any,
        Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => return Err(refused("config_discovery")),
        None => return Err(missing("typed_config")),
    };
    match (wire::is::<Router>(config), last) {
        (true, true) => return Ok(()),
        (true, false) => return Err(Problem::new(Code::Conflict, "a router must be the last filter")),
        (false, true) => return Err(Problem::new(Code::Conflict, "the last filter must be a router")),
        (false, false) => {}
    }
    if wire::is::<AdaptiveFilter>(config) && !filter.disabled {
        let message = wire::unpack(config).map_err(|problem| problem.at_field("typed_config"))?;
        let policy = adaptive::decode(&message).map_err(|problem| problem.at_field("typed_config"))?;
        if found.adaptive.is_some() && policy.is_some() {
            return Err(Problem::new(Code::Conflict, "stands twice in one chain").at_field("typed_config"));
        }
        found.adaptive = policy.or(found.adaptive.take());
        return Ok(());
    }
    if wire::is::<AskFilter>(config) && !filter.disabled {
        let read = wire::unpack(config).and_then(|filter| asked::decode_filter(&filter));
        return match read {
            Err(_) if filter.is_optional => Ok(()),
            read => {
                found.asks.push(read.map_err(|problem| problem.at_field("typed_config"))?);
                Ok(())
            }
        };
    }
    if filter.is_optional || filter.disabled || is_harmless(config)? {
        return Ok(());
    }
    if wire::is::<LocalRateLimit>(config) {
        let limit = wire::unpack(config).map_err(|problem| problem.at_field("typed_config"))?;
        return match rate_limit::is_idle(&limit)? {
            true => Ok(()),
            false => Err(unsupported("typed_config", "a rate limit is supported on routes only")),
        };
    }
    Err(unknown(config))
}

/// What holds for a host or a table as a whole: nothing that acts. A bucket shared by all routes of a host is not one
/// bucket a route, and a fault of a host is none of a route of the host that has its own.
pub(super) fn refuse_shared(configs: &std::collections::HashMap<String, pb::Any>) -> Result<(), Problem> {
    let found = read_route(configs)?;
    if !found.limit.as_ref().map_or(Ok(true), rate_limit::is_idle)? {
        return Err(unsupported("typed_per_filter_config", "a rate limit is supported on routes only"));
    }
    if found.fault.is_some_and(|fault| fault != HttpFault::default()) {
        return Err(unsupported("typed_per_filter_config", "a fault is supported on routes only"));
    }
    if found.session.is_some_and(|session| session.stateful_session.is_some()) {
        return Err(unsupported("typed_per_filter_config", "a session is supported on routes only"));
    }
    Ok(())
}

/// What a route's `typed_per_filter_config` has of what this version can carry out.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteFilters {
    /// The rate limit.
    pub(super) limit: Option<LocalRateLimit>,
    /// The faults.
    pub(super) fault: Option<HttpFault>,
    /// What keeps a caller at its endpoint.
    pub(super) session: Option<StatefulSessionPerRoute>,
}

/// Reads a route's `typed_per_filter_config`; refuses what else would act.
pub(super) fn read_route<'a>(
    configs: impl IntoIterator<Item = (&'a String, &'a pb::Any)>,
) -> Result<RouteFilters, Problem> {
    let mut found = RouteFilters::default();
    // Sorted, so that the same bytes always give the same problem.
    let sorted: std::collections::BTreeMap<_, _> = configs.into_iter().collect();
    for (name, any) in sorted {
        let at = |problem: Problem| problem.at_field(&format!("typed_per_filter_config[\"{name}\"]"));
        read_one(any, &mut found).map_err(at)?;
    }
    Ok(found)
}

fn read_one(any: &pb::Any, found: &mut RouteFilters) -> Result<(), Problem> {
    let wrapper: route::FilterConfig;
    let mut optional = false;
    let config = if wire::is::<route::FilterConfig>(any) {
        wrapper = wire::unpack(any)?;
        optional = wrapper.is_optional;
        match &wrapper.config {
            Some(config) if !wrapper.disabled => config,
            _ => return Ok(()),
        }
    } else {
        any
    };
    if wire::is::<LocalRateLimit>(config) {
        found.limit = Some(wire::unpack(config)?);
    } else if wire::is::<HttpFault>(config) {
        found.fault = Some(wire::unpack(config)?);
    } else if wire::is::<StatefulSessionPerRoute>(config) {
        found.session = Some(wire::unpack(config)?);
    } else if !optional && !is_harmless(config)? {
        return Err(unknown(config));
    }
    Ok(())
}

fn is_harmless(config: &pb::Any) -> Result<bool, Problem> {
    let name = config.type_url.strip_prefix(wire::TYPE_URL_PREFIX).unwrap_or(&config.type_url);
    if TYPED_STRUCTS.contains(&name) {
        let inner: TypedStruct = wire::read(&config.value).map_err(|problem| problem.at_field("typed_config"))?;
        let inner = inner.type_url.strip_prefix(wire::TYPE_URL_PREFIX).unwrap_or(&inner.type_url);
        return Ok(HARMLESS.contains(&inner));
    }
    Ok(HARMLESS.contains(&name) || (config.value.is_empty() && HARMLESS_IF_EMPTY.contains(&name)))
}

fn unknown(config: &pb::Any) -> Problem {
    unsupported("typed_config", "is no filter of this version; mark it optional to have it left out")
        .with_value(&config.type_url)
}
