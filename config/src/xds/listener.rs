//! Listeners (`envoy.config.listener.v3.Listener`), each one HTTP connection manager.
//!
//! Our proxy and Envoy get listeners with an address, gRPC gets those without. Their tables come over RDS; one written
//! into the listener by another control plane is taken as well. TLS, several filter chains and whatever matches on the
//! connection are refused.

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::listener::v3 as xds;
use xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use xds_api::pb::google::protobuf as pb;

use super::cluster::check_plaintext;
use super::value::{
    address, ads, check_ads, metadata, missing, read_address, read_metadata, refuse_all, refused, refused_at,
    unsupported,
};
use super::wire::{self, outrigger};
use super::{adaptive, filter, own, route};
use crate::endpoint::Locality;
use crate::error::Problem;
use crate::listener::{ApiListener, Direction, Identity, Listener, TableSource, Telemetry};
use crate::name::{ObjectName, ResourceName};
use crate::policy::AdaptiveConcurrency;
use crate::resource::{ClientKind, Resource};
use crate::value::Percent;

use hcm::http_connection_manager::{PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig};

/// The name of the filter that speaks HTTP.
const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// Listener filters that only look at a connection. What they find matters to filter chain matches alone.
const HARMLESS: [&str; 2] = [
    "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
];

/// Encodes a listener with an address; gRPC has no use for one.
pub(super) fn encode(listener: &Listener, client: ClientKind) -> Option<xds::Listener> {
    if client == ClientKind::Grpc {
        return None;
    }
    let direction = match listener.direction {
        Direction::Inbound => core::TrafficDirection::Inbound,
        Direction::Outbound => core::TrafficDirection::Outbound,
    };
    let table = match &listener.table {
        TableSource::Rds(name) => rds(name),
        TableSource::Inline(table) => RouteSpecifier::RouteConfig(route::encode(table, client)),
    };
    let manager = hcm::HttpConnectionManager {
        // The model matches the normal form of a path, as our own admission makes it: dots resolved, `//` and `%2F` kept.
        normalize_path: Some(pb::BoolValue { value: true }),
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged.into(),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".into(), ..Default::default() }],
        ..connection_manager(
            listener.name.as_str(),
            table,
            filter::chain(client, listener.adaptive.as_ref(), &listener.limits),
        )
    };
    let filter = xds::Filter {
        name: HTTP_CONNECTION_MANAGER.into(),
        config_type: Some(xds::filter::ConfigType::TypedConfig(wire::pack(&manager))),
    };
    Some(xds::Listener {
        name: listener.name.to_string(),
        address: address(listener.address),
        filter_chains: vec![xds::FilterChain { filters: vec![filter], ..Default::default() }],
        traffic_direction: direction.into(),
        metadata: if client == ClientKind::Outrigger { metadata(&encode_own(listener)) } else { None },
        ..Default::default()
    })
}

/// Encodes a listener without an address; only gRPC has a use for one.
pub(super) fn encode_api(listener: &ApiListener, client: ClientKind) -> Option<xds::Listener> {
    let manager = connection_manager(listener.name.as_str(), rds(&listener.table), filter::chain(client, None, &[]));
    (client == ClientKind::Grpc).then(|| xds::Listener {
        name: listener.name.to_string(),
        api_listener: Some(xds::ApiListener { api_listener: Some(wire::pack(&manager)) }),
        ..Default::default()
    })
}

fn rds(name: &ResourceName) -> RouteSpecifier {
    RouteSpecifier::Rds(hcm::Rds { config_source: ads(), route_config_name: name.to_string() })
}

fn connection_manager(
    stat_prefix: &str,
    table: RouteSpecifier,
    filters: Vec<hcm::HttpFilter>,
) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(table),
        http_filters: filters,
        ..Default::default()
    }
}

fn encode_own(listener: &Listener) -> outrigger::Listener {
    outrigger::Listener {
        identity: listener.identity.as_ref().map(|identity| outrigger::Identity {
            workload: identity.workload.to_string(),
            service: identity.service.to_string(),
            version: identity.version.to_string(),
            region: identity.locality.region.to_string(),
            zone: identity.locality.zone.to_string(),
        }),
        sample_millionths: listener.telemetry.sample.millionths(),
        access_log: listener.telemetry.access_log,
        adaptive: listener.adaptive.as_ref().map(adaptive::encode_own),
        rehearsed_adaptive: listener.rehearsed_adaptive.as_ref().map(adaptive::encode_own),
    }
}

/// Decodes a listener, with an address or without.
pub(super) fn decode(message: &xds::Listener) -> Result<Resource, Problem> {
    let name = ResourceName::try_new(&message.name).map_err(|problem| problem.at_field("name"))?;
    if let Some(api) = &message.api_listener {
        let inner = |problem: Problem| problem.at_field("api_listener").at_field("api_listener");
        let any = api.api_listener.as_ref().ok_or_else(|| inner(missing("api_listener")))?;
        let table = decode_api(any).map_err(inner)?;
        return Ok(Resource::ApiListener(ApiListener { name, table }));
    }
    refuse_unsupported(message)?;
    let manager = connection_manager_of(message)?;
    let telemetry_of = |manager: &hcm::HttpConnectionManager| Telemetry {
        access_log: !manager.access_log.is_empty(),
        ..Telemetry::default()
    };
    let own: Option<outrigger::Listener> = read_metadata(message.metadata.as_ref())?;
    let (table, acting) = decode_table(&manager).map_err(at_manager)?;
    let (identity, telemetry, [adaptive, rehearsed_adaptive]) = match own {
        Some(own) => decode_own(&own).map_err(|problem| problem.at_field(outrigger::KEY).at_field("metadata"))?,
        None => (None, telemetry_of(&manager), [acting.adaptive, None]),
    };
    let listener = Listener {
        name,
        address: read_address("address", message.address.as_ref())?,
        direction: match core::TrafficDirection::try_from(message.traffic_direction) {
            Ok(core::TrafficDirection::Inbound) => Direction::Inbound,
            _ => Direction::Outbound,
        },
        table,
        identity,
        telemetry,
        adaptive,
        rehearsed_adaptive,
        limits: acting.asks,
    };
    listener.check()?;
    Ok(Resource::Listener(listener))
}

/// What rides in our own words; of adaptive concurrency what acts, and what is rehearsed beside it.
type Own = (Option<Identity>, Telemetry, [Option<AdaptiveConcurrency>; 2]);

fn decode_own(own: &outrigger::Listener) -> Result<Own, Problem> {
    let identity = own.identity.as_ref().map(|identity| {
        let workload = ObjectName::parse(&identity.workload)
            .map_err(|problem| problem.at_field("workload").at_field("identity"))?;
        Ok(Identity {
            workload,
            service: identity.service.as_str().into(),
            version: identity.version.as_str().into(),
            locality: Locality { region: identity.region.as_str().into(), zone: identity.zone.as_str().into() },
        })
    });
    let sample: Percent = own::percent("sample_millionths", own.sample_millionths)?;
    let adaptive = |field, message: &Option<outrigger::Adaptive>| {
        let policy = message.as_ref().map(adaptive::decode_own).transpose();
        policy.map_err(|problem| problem.at_field(field))
    };
    let adaptive = [adaptive("adaptive", &own.adaptive)?, adaptive("rehearsed_adaptive", &own.rehearsed_adaptive)?];
    Ok((identity.transpose()?, Telemetry { sample, access_log: own.access_log }, adaptive))
}

fn decode_api(any: &pb::Any) -> Result<ResourceName, Problem> {
    let manager: hcm::HttpConnectionManager = wire::unpack(any)?;
    match decode_table(&manager)?.0 {
        TableSource::Rds(name) => Ok(name),
        TableSource::Inline(_) => Err(unsupported("route_config", "only rds is supported here")),
    }
}

/// The table, and what acts on the whole listener.
fn decode_table(manager: &hcm::HttpConnectionManager) -> Result<(TableSource, filter::Acting), Problem> {
    let acting = filter::read_chain(&manager.http_filters)?;
    let kept =
        [PathWithEscapedSlashesAction::ImplementationSpecificDefault, PathWithEscapedSlashesAction::KeepUnchanged];
    refuse_all([
        ("merge_slashes", manager.merge_slashes),
        (
            "path_with_escaped_slashes_action",
            !kept.iter().any(|action| manager.path_with_escaped_slashes_action == i32::from(*action)),
        ),
    ])?;
    let table = match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let inner = |problem: Problem| problem.at_field("rds");
            check_ads("config_source", rds.config_source.as_ref()).map_err(inner)?;
            let name = ResourceName::try_new(&rds.route_config_name);
            name.map(TableSource::Rds).map_err(|problem| inner(problem.at_field("route_config_name")))
        }
        Some(RouteSpecifier::RouteConfig(table)) => {
            // A table inside a listener need not have a name of its own.
            let mut table = table.clone();
            if table.name.is_empty() {
                table.name = "inline".into();
            }
            let table = route::decode(&table);
            table.map(TableSource::Inline).map_err(|problem| problem.at_field("route_config"))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(refused("scoped_routes")),
        None => Err(missing("route_specifier")),
    };
    Ok((table?, acting))
}

fn refuse_unsupported(message: &xds::Listener) -> Result<(), Problem> {
    let is = |value: &Option<pb::BoolValue>, wanted| value.is_some_and(|value| value.value == wanted);
    refuse_all([
        ("additional_addresses", !message.additional_addresses.is_empty()),
        ("filter_chain_matcher", message.filter_chain_matcher.is_some()),
        ("use_original_dst", is(&message.use_original_dst, true)),
        ("transparent", is(&message.transparent, true)),
        ("bind_to_port", is(&message.bind_to_port, false)),
        ("udp_listener_config", message.udp_listener_config.is_some()),
        ("listener_specifier", message.listener_specifier.is_some()),
    ])?;
    let acts = |filter: &xds::ListenerFilter| match &filter.config_type {
        Some(xds::listener_filter::ConfigType::TypedConfig(any)) => !HARMLESS.contains(&any.type_url.as_str()),
        _ => true,
    };
    let index = message.listener_filters.iter().position(acts);
    index.map_or(Ok(()), |index| Err(refused_at("listener_filters", index)))
}

/// The one HTTP connection manager of the one filter chain.
fn connection_manager_of(message: &xds::Listener) -> Result<hcm::HttpConnectionManager, Problem> {
    let chain = match (message.filter_chains.as_slice(), &message.default_filter_chain) {
        ([chain], None) | ([], Some(chain)) => chain,
        ([], None) => return Err(missing("filter_chains")),
        _ => return Err(unsupported("filter_chains", "only one filter chain is supported")),
    };
    let at_chain = |problem: Problem| problem.at_index(0).at_field("filter_chains");
    let matches = chain.filter_chain_match.as_ref().is_some_and(|matches| *matches != Default::default());
    refuse_all([("filter_chain_match", matches)]).map_err(at_chain)?;
    check_plaintext(chain.transport_socket.as_ref()).map_err(at_chain)?;
    let [filter] = chain.filters.as_slice() else {
        let reason = "needs one filter, an HTTP connection manager";
        return Err(at_chain(unsupported("filters", reason)));
    };
    match &filter.config_type {
        Some(xds::filter::ConfigType::TypedConfig(any)) => wire::unpack(any).map_err(at_manager),
        Some(xds::filter::ConfigType::ConfigDiscovery(_)) => Err(at_manager(refused("config_discovery"))),
        None => Err(at_manager(missing("typed_config"))),
    }
}

fn at_manager(problem: Problem) -> Problem {
    problem.at_field("typed_config").at_index(0).at_field("filters").at_index(0).at_field("filter_chains")
}
