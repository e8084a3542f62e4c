//! Where routes lead, and what they ask of endpoints.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use outrigger_config::route::{Backend, HashKey};

use super::super::{labels, number};
use super::{asking, base, read, read_route, table_of};

use route::route_action::{ClusterSpecifier, HashPolicy, hash_policy};

#[test]
fn weighted_clusters_and_hash_keys_are_taken() {
    let weight = |name: &str, weight| route::weighted_cluster::ClusterWeight {
        name: name.into(),
        weight: number(weight),
        ..Default::default()
    };
    let key = |specifier| HashPolicy { policy_specifier: Some(specifier), terminal: false };
    let route = read_route(|_, action| {
        let clusters = vec![weight("v1", 90), weight("v2", 10)];
        let weighted = route::WeightedCluster { clusters, ..Default::default() };
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
        action.hash_policy = vec![
            key(hash_policy::PolicySpecifier::Header(hash_policy::Header {
                header_name: "X-User".into(),
                ..Default::default()
            })),
            key(hash_policy::PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties {
                source_ip: true,
            })),
        ];
    });
    let route = route.expect("taken");
    let split: Vec<_> =
        route.backends.iter().map(|Backend { cluster, weight, .. }| (cluster.as_str(), *weight)).collect();
    assert_eq!(split, [("v1", 90), ("v2", 10)]);
    assert_eq!(route.hash, [HashKey::Header("x-user".into()), HashKey::SourceIp]);
}

#[test]
fn what_a_route_asks_of_endpoints_holds_for_its_clusters_unless_they_say_otherwise() {
    let weight = |asked: Option<&[(&str, &str)]>| route::weighted_cluster::ClusterWeight {
        name: "c".into(),
        weight: number(50),
        metadata_match: asked.map(|asked| asking(labels(asked))),
        ..Default::default()
    };
    let route = read_route(|_, action| {
        action.metadata_match = Some(asking(labels(&[("stage", "prod"), ("version", "v1")])));
        let clusters = vec![weight(None), weight(Some(&[("version", "v2")]))];
        let weighted = route::WeightedCluster { clusters, ..Default::default() };
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
    });
    let asked: Vec<_> = route.expect("taken").backends.iter().map(|backend| backend.subset.to_string()).collect();
    assert_eq!(asked, ["stage=prod, version=v1", "stage=prod, version=v2"]);
    // An only cluster is asked as the route says; what is not for balancers is nobody's.
    let route = read_route(|_, action| {
        let mut metadata = asking(labels(&[("version", "v1")]));
        metadata.filter_metadata.insert("other.filter".to_owned(), labels(&[("x", "y")]));
        action.metadata_match = Some(metadata);
    });
    assert_eq!(route.expect("taken").backends[0].subset.to_string(), "version=v1");
    let route = read_route(|_, action| action.metadata_match = Some(Default::default()));
    assert!(route.expect("taken").backends[0].subset.is_empty());
}

#[test]
fn mirrors_of_a_route_or_its_host_are_taken() {
    let to = |cluster: &str, numerator| {
        let value = kinds::FractionalPercent { numerator, denominator: 0 };
        let fraction = core::RuntimeFractionalPercent { default_value: Some(value), ..Default::default() };
        route::route_action::RequestMirrorPolicy {
            cluster: cluster.into(),
            runtime_fraction: Some(fraction),
            ..Default::default()
        }
    };
    let (of_route, action) = base();
    let mut table = table_of(of_route, action);
    table.virtual_hosts[0].request_mirror_policies = vec![to("host", 100)];
    let mirrors = |table: &route::RouteConfiguration| -> Vec<(String, u32)> {
        let routes = &read(table).expect("taken").hosts[0].routes;
        routes[0].mirrors.iter().map(|one| (one.cluster.to_string(), one.percent.millionths())).collect()
    };
    assert_eq!(mirrors(&table), [("host".to_owned(), 1_000_000)]);
    let Some(route::route::Action::Route(action)) = &mut table.virtual_hosts[0].routes[0].action else { panic!() };
    action.request_mirror_policies = vec![to("route", 5)];
    assert_eq!(mirrors(&table), [("route".to_owned(), 50_000)]);
}
