//! Destinations (`envoy.config.cluster.v3.Cluster`).
//!
//! Our own proxy gets the policies in its own words and none in standard fields. gRPC gets no static cluster, because
//! it refuses them, and no outlier detection, because it has none by consecutive errors.

use std::time::Duration;

use prost_xds::Message;
use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::google::protobuf as pb;

use super::value::{
    ads, check_ads, duration, metadata, missing, optional_duration, read_metadata, refuse_all, refused_at,
};
use super::wire::{self, http::HttpProtocolOptions, outrigger};
use super::{balancing, breaker, endpoint, health_check, outlier, own, protocol, subset, value};
use crate::cluster::{Balancing, Cluster, Discovery, Rehearsed};
use crate::error::Problem;
use crate::name::{ObjectName, ResourceName};
use crate::policy::{AdmissionControl, Budget, HealthCheck, Limits, Outlier};
use crate::resource::ClientKind;
use crate::value::Percent;

use xds::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};

/// How long xDS lets a connection take to be made where nothing is said.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The only transport socket that is plaintext; its message is empty.
const RAW_BUFFER: &str = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// Encodes a cluster; `None` where the client would refuse it.
pub(super) fn encode(cluster: &Cluster, client: ClientKind) -> Option<Vec<u8>> {
    let mut message = xds::Cluster {
        name: cluster.name.to_string(),
        connect_timeout: duration(cluster.connect_timeout),
        ..Default::default()
    };
    match &cluster.discovery {
        Discovery::Eds(name) => {
            message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
            message.eds_cluster_config = Some(EdsClusterConfig { eds_config: ads(), service_name: name.to_string() });
        }
        Discovery::Static(_) if client == ClientKind::Grpc => return None,
        Discovery::Static(assignment) => {
            message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
            message.load_assignment = Some(endpoint::encode(assignment, client));
        }
    }
    let balancing = balancing::encode(cluster, client);
    message.lb_policy = balancing.lb_policy;
    message.lb_config = balancing.lb_config;
    message.common_lb_config = balancing.common_lb_config;
    message.load_balancing_policy = balancing.load_balancing_policy;
    if client != ClientKind::Grpc {
        let beside = cluster.subsets.as_ref().filter(|_| message.load_balancing_policy.is_none());
        message.lb_subset_config = beside.map(subset::encode);
        let options = protocol::encode(cluster.protocol, cluster.idle_timeout);
        message.typed_extension_protocol_options = [(HttpProtocolOptions::KEY.to_owned(), wire::pack(&options))].into();
    }
    match client {
        ClientKind::Outrigger => message.metadata = metadata(&encode_own(cluster)),
        ClientKind::Envoy | ClientKind::Grpc => {
            message.circuit_breakers = Some(breaker::encode_limits(cluster.limits.as_ref(), &cluster.budget));
        }
    }
    let mut bytes = Vec::new();
    if client == ClientKind::Envoy {
        let acts = |check: &&HealthCheck| check.mode.enforces();
        let checks = cluster.health_check.iter().filter(acts);
        message.health_checks = checks.map(|check| health_check::encode(check, &cluster.host)).collect();
        message.outlier_detection = cluster.outlier.as_ref().and_then(outlier::encode);
        // A check that has passed all along says nothing against what requests found.
        if let Some(outlier) = message.outlier_detection.as_mut().filter(|_| !message.health_checks.is_empty()) {
            outlier.successful_active_health_check_uneject_host = Some(pb::BoolValue { value: false });
        }
        // Envoy ejects even an only host so, and without a panic threshold then has none.
        if message.outlier_detection.is_some() && cluster.panic_threshold != Percent::ZERO {
            bytes = outlier::supplement();
        }
    }
    bytes.splice(0..0, message.encode_to_vec());
    Some(bytes)
}

fn encode_own(cluster: &Cluster) -> outrigger::Cluster {
    outrigger::Cluster {
        service: cluster.service.as_ref().map(ObjectName::to_string).unwrap_or_default(),
        host: cluster.host.to_string(),
        peak_ewma: balancing::peak_ewma(cluster.balancing),
        limits: cluster.limits.as_ref().map(own::limits),
        outlier: cluster.outlier.as_ref().map(own::outlier),
        budget: Some(own::budget(&cluster.budget)),
        rehearsed: own::rehearsed_cluster(&cluster.rehearsed),
        health_check: cluster.health_check.as_ref().map(health_check::encode_own),
        names_caller: cluster.names_caller,
        admission: cluster.admission.as_ref().map(own::admission),
    }
}

/// Decodes a cluster.
pub(super) fn decode(message: &xds::Cluster) -> Result<Cluster, Problem> {
    refuse_unsupported(message)?;
    let name = ResourceName::try_new(&message.name).map_err(|problem| problem.at_field("name"))?;
    let (protocol, idle_timeout) = protocol::decode(message)?;
    let own: Option<outrigger::Cluster> = read_metadata(message.metadata.as_ref())?;
    let policies = match &own {
        Some(own) => decode_own(own).map_err(|problem| problem.at_field(outrigger::KEY).at_field("metadata"))?,
        None => decode_standard(message)?,
    };
    let choice = balancing::decode(message)?;
    let beside = subset::decode(message.lb_subset_config.as_ref());
    let beside = beside.map_err(|problem| problem.at_field("lb_subset_config"))?;
    let cluster = Cluster {
        discovery: decode_discovery(message, &name)?,
        name,
        service: policies.service,
        host: own.as_ref().map_or("", |own| own.host.as_str()).into(),
        protocol,
        connect_timeout: optional_duration("connect_timeout", message.connect_timeout.as_ref())?
            .unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        idle_timeout,
        balancing: policies.peak_ewma.unwrap_or(choice.balancing),
        balance_factor: choice.balance_factor,
        localities: choice.localities,
        slow_start: choice.slow_start,
        subsets: choice.subsets.or(beside),
        panic_threshold: balancing::decode_panic(message)?,
        names_caller: own.as_ref().is_some_and(|own| own.names_caller),
        limits: policies.limits,
        outlier: policies.outlier,
        rehearsed: policies.rehearsed,
        health_check: policies.health_check,
        admission: policies.admission,
        budget: policies.budget,
    };
    cluster.check()?;
    Ok(cluster)
}

/// What is said either in our own words or in standard fields.
struct Policies {
    service: Option<ObjectName>,
    peak_ewma: Option<Balancing>,
    limits: Option<Limits>,
    outlier: Option<Outlier>,
    health_check: Option<HealthCheck>,
    admission: Option<AdmissionControl>,
    budget: Budget,
    rehearsed: Rehearsed,
}

fn decode_own(own: &outrigger::Cluster) -> Result<Policies, Problem> {
    let service = match own.service.as_str() {
        "" => None,
        name => Some(ObjectName::parse(name).map_err(|problem| problem.at_field("service"))?),
    };
    let peak_ewma = own.peak_ewma.as_ref().map(balancing::read_peak_ewma).transpose();
    let outlier = own.outlier.as_ref().map(own::read_outlier).transpose();
    let check = own.health_check.as_ref().map(health_check::read_own).transpose();
    Ok(Policies {
        service,
        peak_ewma: peak_ewma.map_err(|problem| problem.at_field("peak_ewma"))?,
        limits: own.limits.as_ref().map(own::read_limits),
        outlier: outlier.map_err(|problem| problem.at_field("outlier"))?,
        health_check: check.map_err(|problem| problem.at_field("health_check"))?,
        admission: own
            .admission
            .as_ref()
            .map(own::read_admission)
            .transpose()
            .map_err(|problem| problem.at_field("admission"))?,
        budget: own::read_budget(own.budget.as_ref())?,
        rehearsed: own::read_rehearsed_cluster(own.rehearsed.as_ref())
            .map_err(|problem| problem.at_field("rehearsed"))?,
    })
}

fn decode_standard(message: &xds::Cluster) -> Result<Policies, Problem> {
    let (limits, budget) = breaker::decode_limits(message.circuit_breakers.as_ref())
        .map_err(|problem| problem.at_field("circuit_breakers"))?;
    let outlier = message.outlier_detection.as_ref().map_or(Ok(None), outlier::decode);
    let outlier = outlier.map_err(|problem| problem.at_field("outlier_detection"))?;
    let health_check = health_check::decode_all(&message.health_checks)?;
    let rehearsed = Rehearsed::default();
    let (service, peak_ewma, admission) = (None, None, None);
    Ok(Policies { service, peak_ewma, limits, outlier, health_check, admission, budget, rehearsed })
}

fn decode_discovery(message: &xds::Cluster, name: &ResourceName) -> Result<Discovery, Problem> {
    let kind = match &message.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).ok(),
        Some(ClusterDiscoveryType::ClusterType(_)) => return Err(value::refused("cluster_type")),
        None => Some(DiscoveryType::Static),
    };
    match kind {
        Some(DiscoveryType::Eds) => {
            let config = message.eds_cluster_config.as_ref().ok_or_else(|| missing("eds_cluster_config"))?;
            let inner = |problem: Problem| problem.at_field("eds_cluster_config");
            check_ads("eds_config", config.eds_config.as_ref()).map_err(inner)?;
            if config.service_name.is_empty() {
                return Ok(Discovery::Eds(name.clone()));
            }
            let service = ResourceName::try_new(&config.service_name);
            service.map(Discovery::Eds).map_err(|problem| inner(problem.at_field("service_name")))
        }
        Some(DiscoveryType::Static) => {
            let assignment = message.load_assignment.as_ref().ok_or_else(|| missing("load_assignment"))?;
            let decoded = endpoint::decode(assignment);
            decoded.map(Discovery::Static).map_err(|problem| problem.at_field("load_assignment"))
        }
        Some(kind) => {
            Err(value::unsupported("type", "only EDS and STATIC are supported").with_value(kind.as_str_name()))
        }
        None => Err(value::unsupported("type", "only EDS and STATIC are supported")),
    }
}

fn refuse_unsupported(message: &xds::Cluster) -> Result<(), Problem> {
    check_plaintext(message.transport_socket.as_ref())?;
    refuse_all([
        ("transport_socket_matches", !message.transport_socket_matches.is_empty()),
        ("upstream_bind_config", message.upstream_bind_config.is_some()),
        ("upstream_config", message.upstream_config.is_some()),
    ])?;
    // Istio's filter of this kind tells its own proxies about each other.
    let foreign = |filter: &xds::Filter| !filter.name.starts_with("istio.metadata_exchange");
    let index = message.filters.iter().position(foreign);
    index.map_or(Ok(()), |index| Err(refused_at("filters", index)))
}

/// Refuses a transport socket that is not plaintext.
pub(super) fn check_plaintext(socket: Option<&core::TransportSocket>) -> Result<(), Problem> {
    let Some(socket) = socket else { return Ok(()) };
    let config = match &socket.config_type {
        Some(core::transport_socket::ConfigType::TypedConfig(any)) => any,
        None => return Err(missing("typed_config").at_field("transport_socket")),
    };
    let pb::Any { type_url, .. } = config;
    if type_url == RAW_BUFFER {
        return Ok(());
    }
    let reason = "only plaintext (raw_buffer) is supported";
    Err(value::unsupported("typed_config", reason).with_value(type_url).at_field("transport_socket"))
}
