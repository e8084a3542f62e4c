//! Endpoints (`envoy.config.endpoint.v3.ClusterLoadAssignment`).
//!
//! Endpoints are grouped by locality. Each locality has a weight, the sum of its endpoints', because gRPC passes over
//! one that has none. Priorities, drops and LEDS are refused: the proxy would send requests where they must not go.

use std::collections::BTreeMap;

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::endpoint::v3 as xds;

use super::value::{address, each, missing, number, read_address, read_metadata, read_number, refuse_all, refused};
use super::{value, wire::outrigger};
use crate::endpoint::{Assignment, Endpoint, Health, Locality};
use crate::error::Problem;
use crate::name::ResourceName;
use crate::resource::ClientKind;

/// Encodes an assignment; one without endpoints is complete too.
pub(super) fn encode(assignment: &Assignment, client: ClientKind) -> xds::ClusterLoadAssignment {
    let mut localities: BTreeMap<&Locality, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in &assignment.endpoints {
        localities.entry(&endpoint.locality).or_default().push(endpoint);
    }
    // The weights of all localities together must fit a u32, as must those of the endpoints of one.
    let most = u32::MAX / u32::try_from(localities.len().max(1)).unwrap_or(u32::MAX);
    let group = |(locality, endpoints): (&Locality, Vec<&Endpoint>)| {
        let weight = endpoints.iter().fold(0u32, |sum, endpoint| sum.saturating_add(endpoint.weight));
        xds::LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: locality.region.to_string(),
                zone: locality.zone.to_string(),
                sub_zone: String::new(),
            }),
            lb_endpoints: endpoints.into_iter().map(|endpoint| encode_endpoint(endpoint, client)).collect(),
            load_balancing_weight: number(weight.clamp(1, most)),
            ..Default::default()
        }
    };
    xds::ClusterLoadAssignment {
        cluster_name: assignment.name.to_string(),
        endpoints: localities.into_iter().map(group).collect(),
        ..Default::default()
    }
}

/// Decodes an assignment.
pub(super) fn decode(message: &xds::ClusterLoadAssignment) -> Result<Assignment, Problem> {
    let name = ResourceName::try_new(&message.cluster_name).map_err(|problem| problem.at_field("cluster_name"))?;
    let drops = message.policy.as_ref().is_some_and(|policy| !policy.drop_overloads.is_empty());
    refuse_all([("policy.drop_overloads", drops)])?;
    let groups = each("endpoints", &message.endpoints, decode_locality)?;
    Assignment::try_new(name, groups.into_iter().flatten().collect()).map_err(|problem| problem.at_field("endpoints"))
}

fn decode_locality(message: &xds::LocalityLbEndpoints) -> Result<Vec<Endpoint>, Problem> {
    refuse_all([("priority", message.priority != 0), ("lb_config", message.lb_config.is_some())])?;
    let locality = message.locality.as_ref().map_or_else(Locality::default, |locality| Locality {
        region: locality.region.as_str().into(),
        zone: locality.zone.as_str().into(),
    });
    each("lb_endpoints", &message.lb_endpoints, |endpoint| decode_endpoint(endpoint, &locality))
}

fn encode_endpoint(endpoint: &Endpoint, client: ClientKind) -> xds::LbEndpoint {
    let health = match endpoint.health {
        Health::Healthy => core::HealthStatus::Healthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
    };
    let own = outrigger::Endpoint { workload: endpoint.workload.to_string(), version: endpoint.version.to_string() };
    xds::LbEndpoint {
        health_status: health.into(),
        metadata: if client == ClientKind::Outrigger { value::metadata(&own) } else { None },
        load_balancing_weight: number(endpoint.weight),
        host_identifier: Some(xds::lb_endpoint::HostIdentifier::Endpoint(xds::Endpoint {
            address: address(endpoint.address),
            ..Default::default()
        })),
    }
}

fn decode_endpoint(message: &xds::LbEndpoint, locality: &Locality) -> Result<Endpoint, Problem> {
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
        locality: locality.clone(),
        workload: own.workload.into(),
        version: own.version.into(),
    })
}
