//! Where a route's requests go: clusters by weight, and what a hash balancer keys them by.

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as xds;

use super::value::{each, missing, number, refuse_all, refused, unsupported};
use super::wire::outrigger;
use super::{fault, filter, header, subset};
use crate::error::Problem;
use crate::name::ResourceName;
use crate::resource::ClientKind;
use crate::route::{Backend, HashKey, Mirror, Route};
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

/// Encodes mirrors. xDS has no word for what is asked of their endpoints ([`encode_asked_by_mirrors`] is our own): with
/// Envoy a copy asks what its request asks. For others than our proxy a mirror that asks something else is left out,
/// because its copies would go to workloads that they are not meant for.
pub(super) fn encode_mirrors(route: &Route, client: ClientKind) -> Vec<RequestMirrorPolicy> {
    let follows = |mirror: &Mirror| used(&route.backends).all(|backend| backend.subset == mirror.subset);
    let is_said = |mirror: &&Mirror| match client {
        ClientKind::Outrigger => true,
        ClientKind::Envoy => mirror.subset.is_empty() || follows(mirror),
        ClientKind::Grpc => mirror.subset.is_empty(),
    };
    route.mirrors.iter().filter(is_said).map(encode_mirror).collect()
}

/// Encodes what each mirror asks; nothing where none does.
pub(super) fn encode_asked_by_mirrors(mirrors: &[Mirror]) -> Vec<core::Metadata> {
    if mirrors.iter().all(|mirror| mirror.subset.is_empty()) {
        return Vec::new();
    }
    let asked = |mirror: &Mirror| subset::encode_criteria(&mirror.subset, ClientKind::Outrigger).unwrap_or_default();
    mirrors.iter().map(asked).collect()
}

fn encode_mirror(mirror: &Mirror) -> RequestMirrorPolicy {
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
        subset: Criteria::default(),
    })
}

/// Decodes what each mirror asks.
pub(super) fn decode_asked_by_mirrors(messages: &[core::Metadata]) -> Result<Vec<Criteria>, Problem> {
    each("mirror_metadata_match", messages, |asked| subset::decode_criteria(Some(asked)))
}

/// Mirrors with what each asks: what our own words say, and without such words what requests ask, as far as all of a
/// split's parts ask the same.
pub(super) fn asking(
    mut mirrors: Vec<Mirror>,
    own: Option<Vec<Criteria>>,
    backends: &[Backend],
) -> Result<Vec<Mirror>, Problem> {
    let Some(asked) = own else {
        let common = used(backends).map(|backend| backend.subset.clone()).reduce(|one, other| one.shared(&other));
        let common = common.unwrap_or_default();
        mirrors.iter_mut().for_each(|mirror| mirror.subset.clone_from(&common));
        return Ok(mirrors);
    };
    if !asked.is_empty() && asked.len() != mirrors.len() {
        let reason = format!("must be as many as request_mirror_policies, which are {}", mirrors.len());
        let at = |problem: Problem| problem.at_field(outrigger::KEY).at_field("metadata");
        return Err(at(unsupported("mirror_metadata_match", &reason).with_value(asked.len())));
    }
    mirrors.iter_mut().zip(asked).for_each(|(mirror, asked)| mirror.subset = asked);
    Ok(mirrors)
}

fn used(backends: &[Backend]) -> impl Iterator<Item = &Backend> {
    backends.iter().filter(|backend| backend.weight > 0)
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

#[cfg(test)]
mod tests {
    use super::{Backend, Mirror, asking};
    use crate::error::Code;
    use crate::name::ResourceName;
    use crate::subset::Criteria;
    use crate::value::Percent;

    #[test]
    fn each_mirror_gets_what_it_asks_or_the_route_is_refused() {
        let to = |name: &str| {
            let cluster = ResourceName::try_new(name).expect("a name");
            Mirror { cluster, percent: Percent::HUNDRED, subset: Criteria::default() }
        };
        let asks = |version: &'static str| -> Criteria { [("version", version)].into_iter().collect() };
        let mirrors = vec![to("a"), to("b")];
        let said = |asked| asking(mirrors.clone(), Some(asked), &[]);
        let both = said(vec![asks("v1"), Criteria::default()]).expect("taken");
        assert_eq!(both, [Mirror { subset: asks("v1"), ..to("a") }, to("b")]);
        assert_eq!(said(Vec::new()).expect("taken"), mirrors);
        let problem = said(vec![asks("v1")]).expect_err("refused");
        assert_eq!(
            (problem.code, problem.path.as_str()),
            (Code::Unsupported, "metadata.outrigger.dev.mirror_metadata_match")
        );
    }

    #[test]
    fn copies_of_another_control_plane_ask_what_all_requests_ask() {
        let name = || ResourceName::try_new("a").expect("a name");
        let backend = |weight, asked: &[(&'static str, &'static str)]| Backend {
            subset: asked.iter().copied().collect(),
            ..Backend::new(name(), weight)
        };
        let asked = |backends: &[Backend]| {
            let mirror = Mirror { cluster: name(), percent: Percent::HUNDRED, subset: Criteria::default() };
            asking(vec![mirror], None, backends).expect("taken")[0].subset.to_string()
        };
        let (prod, dev) = (backend(1, &[("stage", "prod"), ("version", "v1")]), backend(1, &[("stage", "dev")]));
        assert_eq!(asked(std::slice::from_ref(&prod)), "stage=prod, version=v1");
        assert_eq!(asked(&[prod.clone(), backend(2, &[("stage", "prod"), ("version", "v2")])]), "stage=prod");
        assert_eq!(asked(&[prod.clone(), dev.clone()]), "");
        assert_eq!(asked(&[prod, Backend { weight: 0, ..dev }]), "stage=prod, version=v1");
    }
}
