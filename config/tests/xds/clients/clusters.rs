//! Clusters and their endpoints.

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol};
use outrigger_config::endpoint::{Assignment, Endpoint, Health, Locality};
use outrigger_config::policy::{
    FailurePercentage, Limits, Mode, Origin, Outlier, PerEndpoint, SuccessRate, Thresholds,
};
use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::value::Percent;
use outrigger_config::xds::encode;

use super::{check_ads, eds, name, read, seconds, unpack, wrapped};

#[test]
fn clusters_come_over_ads_with_the_protocol_spelt_out() {
    use upstream::http_protocol_options::UpstreamProtocolOptions as Options;
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Downstream] {
        let cluster: cluster::Cluster = read(&Resource::Cluster(Cluster { protocol, ..eds() }), ClientKind::Envoy);
        let eds = cluster.eds_cluster_config.as_ref().expect("EDS");
        check_ads(eds.eds_config.as_ref());
        assert_eq!(eds.service_name, "shop/catalog/http");
        assert_eq!(seconds(cluster.connect_timeout), Some(1));
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options: upstream::HttpProtocolOptions = unpack(&cluster.typed_extension_protocol_options[key]);
        assert_eq!(seconds(options.common_http_protocol_options.expect("common").idle_timeout), Some(60));
        match options.upstream_protocol_options.expect("a protocol") {
            Options::UseDownstreamProtocolConfig(config) => {
                assert_eq!(protocol, Protocol::Downstream);
                assert!(config.http2_protocol_options.is_some());
            }
            Options::ExplicitHttpConfig(_) => assert_ne!(protocol, Protocol::Downstream),
            Options::AutoConfig(_) => panic!("ALPN needs TLS"),
        }
    }
}

#[test]
fn each_client_gets_a_balancing_policy_that_it_has() {
    use cluster::cluster::LbPolicy;
    let ring = Balancing::RingHash { min_size: 10, max_size: 20 };
    for (balancing, envoy) in [
        (Balancing::RoundRobin, LbPolicy::RoundRobin),
        (Balancing::LeastRequest, LbPolicy::LeastRequest),
        (Balancing::default(), LbPolicy::LeastRequest),
        (Balancing::Random, LbPolicy::Random),
        (Balancing::Maglev { table_size: 7 }, LbPolicy::Maglev),
        (ring, LbPolicy::RingHash),
    ] {
        let resource = Resource::Cluster(Cluster { balancing, ..eds() });
        let cluster: cluster::Cluster = read(&resource, ClientKind::Envoy);
        assert_eq!(cluster.lb_policy(), envoy);
        assert_eq!(cluster.load_balancing_policy, None);

        let cluster: cluster::Cluster = read(&resource, ClientKind::Grpc);
        assert_eq!(cluster.lb_policy(), LbPolicy::RoundRobin, "gRPC refuses other enums before it reads the list");
        let list = cluster.load_balancing_policy.expect("a list").policies;
        let names: Vec<_> = list
            .iter()
            .filter_map(|policy| policy.typed_extension_config.as_ref()?.typed_config.as_ref())
            .map(|any| any.type_url.rsplit('.').next().unwrap_or_default())
            .collect();
        let expected: &[&str] = if balancing.is_hash() { &["RingHash", "WrrLocality"] } else { &["WrrLocality"] };
        assert_eq!(names, expected);
    }
}

#[test]
fn envoy_is_told_to_eject_by_errors_alone_and_always_one() {
    let mut cluster = eds();
    cluster.outlier = Some(Outlier::with_defaults(Origin::default()));
    let resource = Resource::Cluster(cluster);
    let read_by_envoy: cluster::Cluster = read(&resource, ClientKind::Envoy);
    let outlier = read_by_envoy.outlier_detection.expect("detection");
    assert_eq!(wrapped(outlier.consecutive_5xx), Some(5));
    assert_eq!(wrapped(outlier.enforcing_consecutive_5xx), Some(100));
    assert_eq!(wrapped(outlier.enforcing_success_rate), Some(0));
    assert_eq!(wrapped(outlier.max_ejection_percent), Some(10));
    let times = [outlier.interval, outlier.base_ejection_time, outlier.max_ejection_time];
    assert_eq!(times.map(seconds), [Some(10), Some(30), Some(300)]);
    assert!(outlier.always_eject_one_host.expect("said").value, "the second part is merged into the first");

    let read_by_grpc: cluster::Cluster = read(&resource, ClientKind::Grpc);
    assert_eq!(read_by_grpc.outlier_detection, None);
}

#[test]
fn envoy_without_a_panic_threshold_is_not_told_to_eject_an_only_host() {
    let mut cluster = eds();
    cluster.outlier = Some(Outlier::with_defaults(Origin::default()));
    for (threshold, always) in [(Percent::ZERO, None), (Percent::HUNDRED, Some(true))] {
        cluster.panic_threshold = threshold;
        let read: cluster::Cluster = read(&Resource::Cluster(cluster.clone()), ClientKind::Envoy);
        let outlier = read.outlier_detection.expect("detection");
        assert_eq!(outlier.always_eject_one_host.map(|one| one.value), always, "{threshold:?}");
        assert_eq!(wrapped(outlier.max_ejection_percent), Some(10));
    }
}

#[test]
fn envoy_is_told_what_acts_of_outlier_detection_and_no_more() {
    let mut cluster = eds();
    cluster.panic_threshold = Percent::try_new(20.0).expect("a share");
    cluster.outlier = Some(Outlier {
        consecutive_gateway_errors: Some(3),
        consecutive_local_errors: Some(4),
        success_rate: Some(SuccessRate::with_defaults(Mode::Enforce)),
        failure_percentage: Some(FailurePercentage::with_defaults(Mode::Observe)),
        ..Outlier::with_defaults(Origin::default())
    });
    let read: cluster::Cluster = read(&Resource::Cluster(cluster), ClientKind::Envoy);
    let threshold = read.common_lb_config.expect("said").healthy_panic_threshold.expect("said");
    assert!((threshold.value - 20.0).abs() < 1e-9);
    let outlier = read.outlier_detection.expect("detection");
    assert!(outlier.split_external_local_origin_errors);
    let acts = [
        outlier.enforcing_consecutive_5xx,
        outlier.enforcing_consecutive_gateway_failure,
        outlier.enforcing_consecutive_local_origin_failure,
        outlier.enforcing_success_rate,
        outlier.enforcing_local_origin_success_rate,
        outlier.enforcing_failure_percentage,
    ];
    assert_eq!(acts.map(wrapped), [Some(100), Some(100), Some(100), Some(100), Some(0), None]);
    let numbers = [
        outlier.consecutive_gateway_failure,
        outlier.consecutive_local_origin_failure,
        outlier.success_rate_stdev_factor,
        outlier.success_rate_request_volume,
        outlier.success_rate_minimum_hosts,
    ];
    assert_eq!(numbers.map(wrapped), [Some(3), Some(4), Some(1900), Some(100), Some(5)]);
}

#[test]
fn envoy_has_a_number_of_retries_or_a_budget_and_connections_of_an_endpoint() {
    let mut cluster = eds();
    let per_endpoint = PerEndpoint { max_connections: Some(4), max_requests: Some(8) };
    let high = Thresholds { max_retries: Some(4), max_requests: Some(0), ..Thresholds::default() };
    cluster.limits = Some(Limits { max_retries: Some(3), per_endpoint, high, ..Limits::default() });
    let read: cluster::Cluster = read(&Resource::Cluster(cluster), ClientKind::Envoy);
    let breakers = read.circuit_breakers.expect("breakers");
    assert_eq!(wrapped(breakers.thresholds[0].max_retries), Some(3));
    assert_eq!(breakers.thresholds[0].retry_budget, None);
    let high = &breakers.thresholds[1];
    assert_eq!((high.priority, wrapped(high.max_retries), wrapped(high.max_requests)), (1, Some(4), Some(0)));
    assert_eq!(wrapped(high.max_connections), Some(u32::MAX), "Envoy's own would be 1,024");
    for (priority, one) in [0, 1].into_iter().zip(&breakers.per_host_thresholds) {
        assert_eq!((one.priority, wrapped(one.max_connections), wrapped(one.max_requests)), (priority, Some(4), None));
    }
}

#[test]
fn localities_always_have_a_weight() {
    let endpoint = |address: &str, zone: &str, weight, health| Endpoint {
        weight,
        health,
        priority: if zone == "a" { 0 } else { 3 },
        locality: Locality { region: "r".into(), zone: zone.into() },
        workload: "w".into(),
        version: "v1".into(),
        ..Endpoint::at(address.parse().expect("an address"))
    };
    let endpoints = vec![
        endpoint("10.0.0.1:80", "a", 20, Health::Healthy),
        endpoint("10.0.0.2:80", "a", 40, Health::Draining),
        endpoint("10.0.0.3:80", "b", u32::MAX, Health::Unhealthy),
        endpoint("10.0.0.4:80", "b", u32::MAX, Health::Healthy),
    ];
    let assignment = Assignment::try_new(name("c"), endpoints).expect("distinct addresses");
    for client in [ClientKind::Envoy, ClientKind::Grpc] {
        let read: endpoint::ClusterLoadAssignment = read(&Resource::Assignment(assignment.clone()), client);
        let weights: Vec<_> = read.endpoints.iter().map(|group| wrapped(group.load_balancing_weight)).collect();
        assert_eq!(weights, [Some(15), Some(u32::MAX / 4 * 2)], "together they fit a u32");
        assert!(read.endpoints.iter().all(|group| group.locality.is_some()));
        let priorities: Vec<_> = read.endpoints.iter().map(|group| group.priority).collect();
        assert_eq!(priorities, [0, 1], "without a gap, which gRPC refuses");
        let health: Vec<_> =
            read.endpoints.iter().flat_map(|group| &group.lb_endpoints).map(|one| one.health_status()).collect();
        let weights: Vec<_> =
            read.endpoints[1].lb_endpoints.iter().map(|one| wrapped(one.load_balancing_weight)).collect();
        assert_eq!(weights, [Some(u32::MAX / 4); 2], "in their proportions");
        use core::HealthStatus::{Draining, Healthy, Unhealthy};
        assert_eq!(health, [Healthy, Draining, Unhealthy, Healthy]);
    }
}

#[test]
fn grpc_gets_no_static_clusters() {
    let assignment = Assignment::try_new(name("local"), Vec::new()).expect("empty");
    let cluster = Resource::Cluster(Cluster::new(name("local"), Discovery::Static(assignment)));
    assert_eq!(encode(&cluster, ClientKind::Grpc), None);
    let read: cluster::Cluster = read(&cluster, ClientKind::Envoy);
    let kind = cluster::cluster::ClusterDiscoveryType::Type(cluster::cluster::DiscoveryType::Static.into());
    assert_eq!(read.cluster_discovery_type, Some(kind));
    assert_eq!(read.load_assignment.expect("endpoints").cluster_name, "local");
}
