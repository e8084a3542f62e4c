//! Endpoints (`envoy.config.endpoint.v3.ClusterLoadAssignment`).
//!
//! Endpoints are grouped by locality. Each locality has a weight, the sum of its endpoints', because gRPC passes over
//! one that has none. Drops and LEDS are refused: the proxy would send requests where they must not go.

use std::collections::{BTreeMap, BTreeSet};

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::endpoint::v3 as xds;

use super::value::{address, each, missing, number, read_address, read_metadata, read_number, refuse_all, refused};
use super::{subset, value, wire::outrigger};
use crate::endpoint::{Assignment, Endpoint, Health, Locality, LocalityWeight};
use crate::error::Problem;
use crate::name::ResourceName;
use crate::resource::ClientKind;

/// Encodes an assignment; one without endpoints is complete too.
pub(super) fn encode(assignment: &Assignment, client: ClientKind) -> xds::ClusterLoadAssignment {
    let mut localities: BTreeMap<(u32, &Locality), Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in &assignment.endpoints {
        localities.entry((endpoint.priority, &endpoint.locality)).or_default().push(endpoint);
    }
    let priorities: BTreeSet<u32> = assignment.endpoints.iter().map(|endpoint| endpoint.priority).collect();
    // gRPC refuses gaps between priorities; only their order means something.
    let rank = |priority: u32| match client {
        ClientKind::Outrigger => priority,
        _ => priorities.range(..priority).count() as u32,
    };
    let halvings = if client == ClientKind::Outrigger { 0 } else { halvings(&assignment.endpoints) };
    let mut ordered = subset::Ordered::default();
    let group = |((priority, locality), endpoints): ((u32, &Locality), Vec<&Endpoint>)| {
        let said = assignment.weights.iter().find(|one| one.priority == priority && one.locality == *locality);
        let sum = endpoints.iter().fold(0u32, |sum, endpoint| sum.saturating_add(halved(endpoint.weight, halvings)));
        xds::LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: locality.region.to_string(),
                zone: locality.zone.to_string(),
                sub_zone: String::new(),
            }),
            lb_endpoints: endpoints
                .into_iter()
                .map(|endpoint| encode_endpoint(endpoint, halvings, client, &mut ordered))
                .collect(),
            load_balancing_weight: match said {
                None => number(sum),
                // Absent is nothing, where places are weighed.
                Some(one) => number(one.weight).filter(|_| one.weight > 0),
            },
            priority: rank(priority),
            ..Default::default()
        }
    };
    xds::ClusterLoadAssignment {
        cluster_name: assignment.name.to_string(),
        endpoints: localities.into_iter().map(group).collect(),
        policy: (assignment.overprovisioning != Assignment::DEFAULT_OVERPROVISIONING).then(|| {
            let overprovisioning_factor = number(assignment.overprovisioning);
            xds::cluster_load_assignment::Policy { overprovisioning_factor, ..Default::default() }
        }),
        ..Default::default()
    }
}

/// Decodes an assignment.
pub(super) fn decode(message: &xds::ClusterLoadAssignment) -> Result<Assignment, Problem> {
    let name = ResourceName::try_new(&message.cluster_name).map_err(|problem| problem.at_field("cluster_name"))?;
    let drops = message.policy.as_ref().is_some_and(|policy| !policy.drop_overloads.is_empty());
    refuse_all([("policy.drop_overloads", drops)])?;
    let groups = each("endpoints", &message.endpoints, decode_locality)?;
    let factor = message.policy.as_ref().and_then(|policy| policy.overprovisioning_factor.as_ref());
    let factor = read_number(factor, Assignment::DEFAULT_OVERPROVISIONING);
    let weights = read_weights(&message.endpoints);
    let assignment = Assignment::try_new(name, groups.into_iter().flatten().collect());
    assignment.map(|one| one.overprovisioned(factor).weighing(weights)).map_err(|problem| problem.at_field("endpoints"))
}

/// Sub-zones of one zone are one place, with their weights together.
fn read_weights(groups: &[xds::LocalityLbEndpoints]) -> Vec<LocalityWeight> {
    let mut weights: BTreeMap<(u32, Locality), u32> = BTreeMap::new();
    for group in groups.iter().filter(|group| !group.lb_endpoints.is_empty()) {
        let weight = weights.entry((group.priority, place(group))).or_default();
        *weight = weight.saturating_add(read_number(group.load_balancing_weight.as_ref(), 0));
    }
    weights.into_iter().map(|((priority, locality), weight)| LocalityWeight { priority, locality, weight }).collect()
}

fn place(message: &xds::LocalityLbEndpoints) -> Locality {
    message.locality.as_ref().map_or_else(Locality::default, |locality| Locality {
        region: locality.region.as_str().into(),
        zone: locality.zone.as_str().into(),
    })
}

fn decode_locality(message: &xds::LocalityLbEndpoints) -> Result<Vec<Endpoint>, Problem> {
    refuse_all([("lb_config", message.lb_config.is_some())])?;
    let locality = place(message);
    each("lb_endpoints", &message.lb_endpoints, |endpoint| decode_endpoint(endpoint, message.priority, &locality))
}

/// How often weights must be halved until their sum fits the u32 that Envoy and gRPC add them up in. They keep their
/// proportions; the smallest is 1.
fn halvings(endpoints: &[Endpoint]) -> u32 {
    let sum = |times| endpoints.iter().map(|endpoint| u64::from(halved(endpoint.weight, times))).sum::<u64>();
    (0..u32::BITS).find(|times| u32::try_from(sum(*times)).is_ok()).unwrap_or(u32::BITS)
}

fn halved(weight: u32, times: u32) -> u32 {
    weight.checked_shr(times).unwrap_or(0).max(1)
}

fn encode_endpoint(
    endpoint: &Endpoint,
    halvings: u32,
    client: ClientKind,
    ordered: &mut subset::Ordered,
) -> xds::LbEndpoint {
    let health = match endpoint.health {
        Health::Healthy => core::HealthStatus::Healthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
    };
    let own = outrigger::Endpoint { workload: endpoint.workload.to_string(), version: endpoint.version.to_string() };
    let known = if client == ClientKind::Grpc { None } else { ordered.known(&endpoint.metadata) };
    let own = if client == ClientKind::Outrigger { value::metadata(&own) } else { None };
    xds::LbEndpoint {
        health_status: health.into(),
        metadata: match (own, known) {
            (Some(own), Some(known)) => Some(core::Metadata { filter_metadata: known.filter_metadata, ..own }),
            (own, known) => own.or(known),
        },
        load_balancing_weight: number(halved(endpoint.weight, halvings)),
        host_identifier: Some(xds::lb_endpoint::HostIdentifier::Endpoint(xds::Endpoint {
            address: address(endpoint.address),
            ..Default::default()
        })),
    }
}

fn decode_endpoint(message: &xds::LbEndpoint, priority: u32, locality: &Locality) -> Result<Endpoint, Problem> {
    let endpoint = match &message.host_identifier {
        Some(xds::lb_endpoint::HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(xds::lb_endpoint::HostIdentifier::EndpointName(_)) => return Err(refused("endpoint_name")),
        None => return Err(missing("endpoint")),
    };
    let health = match core::HealthStatus::try_from(message.health_status) {
        Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy) => Health::Healthy,
        Ok(core::HealthStatus::Draining) => Health::Draining,
        // A status of a newer protocol than ours is no reason to send requests.
        _ => Health::Unhealthy,
    };
    let own: outrigger::Endpoint = read_metadata(message.metadata.as_ref())?.unwrap_or_default();
    Ok(Endpoint {
        address: read_address("address", endpoint.address.as_ref()).map_err(|problem| problem.at_field("endpoint"))?,
        weight: read_number(message.load_balancing_weight.as_ref(), 1),
        health,
        priority,
        locality: locality.clone(),
        workload: own.workload.into(),
        version: own.version.into(),
        metadata: subset::decode_known(message.metadata.as_ref()),
    })
}
