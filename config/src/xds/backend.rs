//! Where a route's requests go: clusters by weight, and what a hash balancer keys them by.

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as xds;

use super::value::{each, missing, number, refuse_all, refused};
use super::{fault, filter, header, subset};
use crate::error::Problem;
use crate::name::ResourceName;
use crate::resource::ClientKind;
use crate::route::{Backend, HashKey, Mirror};
use crate::subset::Criteria;
use crate::value::Percent;

use xds::route_action::{ClusterSpecifier, HashPolicy, RequestMirrorPolicy, hash_policy};

/// Encodes destinations, and what is asked of an only one.
pub(super) fn encode(backends: &[Backend], client: ClientKind) -> (ClusterSpecifier, Option<core::Metadata>) {
    if let [backend @ Backend { cluster, weight: 1, .. }] = backends
        && backend.headers.is_empty()
    {
        return (ClusterSpecifier::Cluster(cluster.to_string()), subset::encode_criteria(&backend.subset, client));
    }
    let weigh = |backend: &Backend| {
        let (request_headers_to_add, request_headers_to_remove) = header::encode(&backend.headers.request);
        let (response_headers_to_add, response_headers_to_remove) = header::encode(&backend.headers.response);
        xds::weighted_cluster::ClusterWeight {
            name: backend.cluster.to_string(),
            weight: number(backend.weight),
            metadata_match: subset::encode_criteria(&backend.subset, client),
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            ..Default::default()
        }
    };
    let clusters = backends.iter().map(weigh).collect();
    (ClusterSpecifier::WeightedClusters(xds::WeightedCluster { clusters, ..Default::default() }), None)
}

/// Decodes destinations. What a route asks of its endpoints holds for each, as far as the destination says nothing else.
pub(super) fn decode(action: &xds::RouteAction) -> Result<Vec<Backend>, Problem> {
    let asked = subset::decode_criteria(action.metadata_match.as_ref())?;
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            let cluster = ResourceName::try_new(name).map_err(|problem| problem.at_field("cluster"))?;
            Ok(vec![Backend { subset: asked, ..Backend::new(cluster, 1) }])
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let inner = |problem: Problem| problem.at_field("weighted_clusters");
            refuse_all([("header_name", weighted.random_value_specifier.is_some())]).map_err(inner)?;
            each("clusters", &weighted.clusters, |weight| decode_weight(weight, &asked)).map_err(inner)
        }
        Some(ClusterSpecifier::ClusterHeader(_)) => Err(refused("cluster_header")),
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => Err(refused("cluster_specifier_plugin")),
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => Err(refused("inline_cluster_specifier_plugin")),
        None => Err(missing("cluster_specifier")),
    }
}

fn decode_weight(message: &xds::weighted_cluster::ClusterWeight, asked: &Criteria) -> Result<Backend, Problem> {
    refuse_all([
        ("cluster_header", !message.cluster_header.is_empty()),
        ("host_rewrite_specifier", message.host_rewrite_specifier.is_some()),
    ])?;
    filter::refuse_shared(&message.typed_per_filter_config)?;
    Ok(Backend {
        cluster: ResourceName::try_new(&message.name).map_err(|problem| problem.at_field("name"))?,
        weight: message.weight.as_ref().ok_or_else(|| missing("weight"))?.value,
        headers: header::decode(
            (&message.request_headers_to_add, &message.request_headers_to_remove),
            (&message.response_headers_to_add, &message.response_headers_to_remove),
        )?,
        subset: asked.with(&subset::decode_criteria(message.metadata_match.as_ref())?),
    })
}

/// Encodes a mirror.
pub(super) fn encode_mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.to_string(),
        runtime_fraction: Some(core::RuntimeFractionalPercent {
            default_value: fault::percentage(mirror.percent),
            runtime_key: String::new(),
        }),
        // A copy is for the host that the request was for.
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    }
}

/// Decodes a mirror. Our copies are always for the same host, whatever another control plane would have appended to it.
pub(super) fn decode_mirror(message: &RequestMirrorPolicy) -> Result<Mirror, Problem> {
    refuse_all([("cluster_header", !message.cluster_header.is_empty())])?;
    let percent = match message.runtime_fraction.as_ref() {
        None => Percent::HUNDRED,
        Some(fraction) => {
            let percent = fault::read_percentage(fraction.default_value.as_ref());
            percent.map_err(|problem| problem.at_field("default_value").at_field("runtime_fraction"))?
        }
    };
    Ok(Mirror {
        cluster: ResourceName::try_new(&message.cluster).map_err(|problem| problem.at_field("cluster"))?,
        percent,
    })
}

/// Encodes a hash key.
pub(super) fn encode_hash(key: &HashKey) -> HashPolicy {
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

/// Decodes a hash key.
pub(super) fn decode_hash(message: &HashPolicy) -> Result<HashKey, Problem> {
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
