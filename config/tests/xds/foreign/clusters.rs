//! Clusters.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::load_balancing_policies as balancing;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol};
use outrigger_config::error::{Code, Problem};
use outrigger_config::policy::{Budget, Limits, Mode, Priority, SuccessRate, Thresholds};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::subset::{Fallback, PlaceWeights, Selector, Subsets};
use outrigger_config::value::Percent;
use outrigger_config::xds::decode;
use prost::Message;

use super::assignments;
use super::{ads, any, number, pack, refused, secs};

use cluster::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
use cluster::cluster::lb_subset_config::{LbSubsetFallbackPolicy, LbSubsetSelector};
use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy, LbSubsetConfig};

fn base() -> cluster::Cluster {
    cluster::Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), service_name: String::new() }),
        ..Default::default()
    }
}

fn read(message: &cluster::Cluster) -> Result<Cluster, Problem> {
    match decode(ResourceType::Cluster, &message.encode_to_vec())? {
        Resource::Cluster(cluster) => Ok(cluster),
        other => panic!("{other:?}"),
    }
}

#[test]
fn absent_fields_mean_what_xds_says_they_mean() {
    let cluster = read(&base()).expect("taken");
    assert_eq!(cluster.discovery, Discovery::Eds(cluster.name.clone()));
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(cluster.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!((cluster.protocol, cluster.balancing), (Protocol::Http1, Balancing::RoundRobin));
    let limit = Some(1024);
    let most =
        Thresholds { max_connections: limit, max_pending_requests: limit, max_requests: limit, max_retries: None };
    let limits = Priority::ALL.into_iter().fold(Limits::default(), |limits, priority| limits.with(priority, most));
    assert_eq!(cluster.limits, Some(limits));
    assert_eq!((cluster.outlier, cluster.budget), (None, Budget::default()));
}

#[test]
fn protocols_are_understood_in_both_spellings() {
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    use upstream::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};
    let explicit =
        |config| UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) });
    let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    for (options, protocol) in [
        (explicit(ProtocolConfig::HttpProtocolOptions(Default::default())), Protocol::Http1),
        (explicit(ProtocolConfig::Http2ProtocolOptions(Default::default())), Protocol::Http2),
        (UpstreamProtocolOptions::UseDownstreamProtocolConfig(Default::default()), Protocol::Downstream),
    ] {
        let options = upstream::HttpProtocolOptions { upstream_protocol_options: Some(options), ..Default::default() };
        let mut cluster = base();
        cluster.typed_extension_protocol_options.insert(key.into(), pack(&options));
        assert_eq!(read(&cluster).expect("taken").protocol, protocol);
    }
    let auto = UpstreamProtocolOptions::AutoConfig(Default::default());
    let options = upstream::HttpProtocolOptions { upstream_protocol_options: Some(auto), ..Default::default() };
    let mut cluster = base();
    cluster.typed_extension_protocol_options.insert(key.into(), pack(&options));
    let path = format!("typed_extension_protocol_options[\"{key}\"].auto_config");
    refused("ALPN", read(&cluster), Code::Unsupported, &path);

    #[allow(deprecated)] // Deprecated, and still what many control planes send.
    let old = cluster::Cluster { http2_protocol_options: Some(Default::default()), ..base() };
    assert_eq!(read(&old).expect("taken").protocol, Protocol::Http2);
}

#[test]
fn balancing_is_the_first_known_entry_of_the_list_or_the_enum() {
    let entry = |any: pb::Any| {
        let config = core::TypedExtensionConfig { name: "policy".into(), typed_config: Some(any) };
        cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) }
    };
    let list =
        |entries: Vec<pb::Any>| cluster::LoadBalancingPolicy { policies: entries.into_iter().map(entry).collect() };
    let ring = balancing::ring_hash::v3::RingHash {
        maximum_ring_size: Some(pb::UInt64Value { value: 100 }),
        ..Default::default()
    };
    let locality = |inner: cluster::LoadBalancingPolicy| {
        pack(&balancing::wrr_locality::v3::WrrLocality { endpoint_picking_policy: Some(inner) })
    };
    let random = pack(&balancing::random::v3::Random::default());
    let least = pack(&balancing::least_request::v3::LeastRequest::default());
    for (entries, expected) in [
        (vec![random.clone()], Balancing::Random),
        (vec![pack(&ring)], Balancing::RingHash { min_size: 100, max_size: 100 }),
        (vec![any("some.NewPolicy", b""), random], Balancing::Random),
        (vec![pack(&balancing::maglev::v3::Maglev::default())], Balancing::Maglev { table_size: 65_537 }),
        (vec![locality(list(vec![any("some.NewPolicy", b""), least]))], Balancing::LeastRequest),
    ] {
        let cluster = cluster::Cluster { load_balancing_policy: Some(list(entries)), ..base() };
        assert_eq!(read(&cluster).expect("taken").balancing, expected);
    }
    let unknown = cluster::Cluster { load_balancing_policy: Some(list(vec![any("new", b"")])), ..base() };
    refused("none known", read(&unknown), Code::Unsupported, "load_balancing_policy");
    for (policy, expected) in [
        (LbPolicy::LeastRequest, Balancing::LeastRequest),
        (LbPolicy::RingHash, Balancing::RingHash { min_size: 1024, max_size: 8_388_608 }),
        (LbPolicy::Maglev, Balancing::Maglev { table_size: 65_537 }),
    ] {
        let cluster = cluster::Cluster { lb_policy: policy.into(), ..base() };
        assert_eq!(read(&cluster).expect("taken").balancing, expected);
    }
    let provided = cluster::Cluster { lb_policy: LbPolicy::ClusterProvided.into(), ..base() };
    refused("cluster provided", read(&provided), Code::Unsupported, "lb_policy");
    let table = |size| {
        let table_size = Some(pb::UInt64Value { value: size });
        Some(cluster::cluster::LbConfig::MaglevLbConfig(cluster::cluster::MaglevLbConfig { table_size }))
    };
    let maglev = cluster::Cluster { lb_policy: LbPolicy::Maglev.into(), lb_config: table(4), ..base() };
    refused("no prime", read(&maglev), Code::InvalidValue, "loadBalancing.tableSize");
}

#[test]
fn limits_are_those_of_each_priority() {
    use cluster::circuit_breakers::Thresholds;
    let thresholds = vec![
        Thresholds { priority: 1, max_requests: number(1), max_connections: number(0), ..Default::default() },
        Thresholds { priority: 1, max_requests: number(2), ..Default::default() },
        Thresholds {
            max_connections: number(u32::MAX),
            max_requests: number(7),
            max_retries: number(5),
            ..Default::default()
        },
    ];
    let breakers = cluster::CircuitBreakers { thresholds, ..Default::default() };
    let cluster = read(&cluster::Cluster { circuit_breakers: Some(breakers), ..base() }).expect("taken");
    let limits = cluster.limits.expect("limits");
    assert_eq!((limits.max_connections, limits.max_requests, limits.max_pending_requests), (None, Some(7), Some(1024)));
    assert_eq!((limits.high.max_connections, limits.high.max_requests), (Some(0), Some(1)), "the first counts");
    assert_eq!(limits.high.max_pending_requests, Some(1024));
}

#[test]
fn retries_are_a_number_of_each_priority_or_one_budget_for_all() {
    use cluster::circuit_breakers::{Thresholds, thresholds::RetryBudget};
    let of = |priority, max_retries: Option<u32>, budget: Option<f64>| {
        let share = |value| RetryBudget {
            budget_percent: Some(kinds::Percent { value }),
            min_retry_concurrency: number(0),
            ..Default::default()
        };
        let max_retries = max_retries.and_then(number);
        Thresholds { priority, max_retries, retry_budget: budget.map(share), ..Default::default() }
    };
    let numbers = Budget { percent: Percent::ZERO, min_concurrent: u32::MAX, min_per_second: 0, ..Budget::default() };
    let share = |percent| Budget {
        percent: Percent::try_new(percent).expect("a share"),
        min_concurrent: 0,
        min_per_second: 0,
        ..Budget::default()
    };
    for (thresholds, expected, budget) in [
        (vec![of(0, Some(5), None)], [Some(5), Some(3)], numbers),
        (vec![of(0, Some(5), None), of(1, Some(0), None)], [Some(5), Some(0)], numbers),
        (vec![of(1, Some(0), None)], [None, Some(0)], Budget::default()),
        (vec![of(0, None, Some(30.0)), of(1, Some(2), None)], [None, Some(2)], share(30.0)),
        (vec![of(0, Some(1), None), of(1, None, Some(30.0))], [Some(1), None], share(30.0)),
        (vec![of(0, None, Some(10.0)), of(1, None, Some(30.0))], [None, None], share(10.0)),
    ] {
        let breakers = cluster::CircuitBreakers { thresholds, ..Default::default() };
        let cluster = read(&cluster::Cluster { circuit_breakers: Some(breakers), ..base() }).expect("taken");
        let limits = cluster.limits.expect("limits");
        assert_eq!([limits.max_retries, limits.high.max_retries], expected);
        assert_eq!(cluster.budget, budget);
    }
}

#[test]
fn outlier_detection_by_consecutive_errors_is_taken() {
    let outlier = cluster::OutlierDetection {
        consecutive_5xx: number(3),
        base_ejection_time: secs(400),
        max_ejection_percent: number(50),
        enforcing_consecutive_5xx: number(0),
        ..Default::default()
    };
    let cluster = cluster::Cluster { outlier_detection: Some(outlier), ..base() };
    let outlier = read(&cluster).expect("taken").outlier.expect("detection");
    assert_eq!((outlier.consecutive_errors, outlier.mode), (Some(3), Mode::Observe));
    assert_eq!(outlier.success_rate, Some(SuccessRate::with_defaults(Mode::Enforce)), "xDS has it on");
    assert_eq!((outlier.failure_percentage, outlier.consecutive_local_errors, outlier.probe_requests), (None, None, 0));
    assert_eq!(outlier.max_ejection, Duration::from_secs(400), "never below the first");
    assert_eq!(outlier.max_percent, Percent::try_new(50.0).expect("a share"));
}

#[test]
fn every_part_of_outlier_detection_is_taken_by_its_own_share() {
    let outlier = cluster::OutlierDetection {
        enforcing_consecutive_5xx: number(0),
        consecutive_gateway_failure: number(2),
        enforcing_consecutive_gateway_failure: number(100),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: number(7),
        enforcing_success_rate: number(0),
        enforcing_failure_percentage: number(100),
        failure_percentage_threshold: number(40),
        max_ejection_time_jitter: secs(3),
        ..Default::default()
    };
    let lb = cluster::cluster::CommonLbConfig {
        healthy_panic_threshold: Some(envoy_types::pb::envoy::r#type::v3::Percent { value: 30.5 }),
        ..Default::default()
    };
    let cluster = cluster::Cluster { outlier_detection: Some(outlier.clone()), common_lb_config: Some(lb), ..base() };
    let read_back = read(&cluster).expect("taken");
    assert_eq!(read_back.panic_threshold, Percent::try_new(30.5).expect("a share"));
    let taken = read_back.outlier.expect("detection");
    let rows = (taken.consecutive_errors, taken.consecutive_gateway_errors, taken.consecutive_local_errors);
    assert_eq!((taken.mode, rows), (Mode::Enforce, (None, Some(2), Some(7))));
    assert_eq!((taken.success_rate, taken.max_jitter), (None, Duration::from_secs(3)));
    let part = taken.failure_percentage.expect("a part");
    assert_eq!((part.mode, part.threshold), (Mode::Enforce, Percent::try_new(40.0).expect("a share")));

    let half = cluster::OutlierDetection { enforcing_success_rate: number(50), ..outlier };
    let cluster = cluster::Cluster { outlier_detection: Some(half), ..base() };
    refused("half", read(&cluster), Code::Unsupported, "outlier_detection.enforcing_success_rate");
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_its_path() {
    type Change = fn(&mut cluster::Cluster);
    let cases: [(&str, Change, Code, &str); 12] = [
        (
            "DNS",
            |c| {
                let kind = DiscoveryType::StrictDns.into();
                c.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind));
            },
            Code::Unsupported,
            "type",
        ),
        (
            "TLS",
            |c| {
                let tls = any("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", b"");
                let config_type = Some(core::transport_socket::ConfigType::TypedConfig(tls));
                c.transport_socket = Some(core::TransportSocket { name: "tls".into(), config_type });
            },
            Code::Unsupported,
            "transport_socket.typed_config",
        ),
        (
            "health checks",
            |c| c.health_checks.push(Default::default()),
            Code::MissingField,
            "health_checks[0].health_checker",
        ),
        (
            "subsets that the request's metadata chooses among",
            |c| {
                let by_list = LbSubsetConfig { metadata_fallback_policy: 1, ..subset_config() };
                c.lb_subset_config = Some(by_list);
            },
            Code::Unsupported,
            "lb_subset_config.metadata_fallback_policy",
        ),
        (
            "a selector without keys",
            |c| {
                let mut config = subset_config();
                config.subset_selectors[1].keys.clear();
                c.lb_subset_config = Some(config);
            },
            Code::Unsupported,
            "lb_subset_config.subset_selectors[1].keys",
        ),
        (
            "a selector that falls back to all of its keys",
            |c| {
                let mut config = subset_config();
                config.subset_selectors[0].fallback_policy = LbSubsetSelectorFallbackPolicy::KeysSubset.into();
                config.subset_selectors[0].fallback_keys_subset = config.subset_selectors[0].keys.clone();
                c.lb_subset_config = Some(config);
            },
            Code::Unsupported,
            "lb_subset_config.subset_selectors[0].fallback_keys_subset",
        ),
        (
            "a default subset of structs",
            |c| {
                let value = pb::Value { kind: Some(pb::value::Kind::StructValue(Default::default())) };
                let default = pb::Struct { fields: [("a".to_owned(), value)].into() };
                c.lb_subset_config = Some(LbSubsetConfig { default_subset: Some(default), ..subset_config() });
            },
            Code::Unsupported,
            "lb_subset_config.default_subset.a",
        ),
        ("no EDS", |c| c.eds_cluster_config = None, Code::MissingField, "eds_cluster_config"),
        (
            "no source",
            |c| c.eds_cluster_config = Some(Default::default()),
            Code::MissingField,
            "eds_cluster_config.eds_config",
        ),
        (
            "success rate of local failures",
            |c| {
                let share = number(100);
                let outlier =
                    cluster::OutlierDetection { enforcing_local_origin_success_rate: share, ..Default::default() };
                c.outlier_detection = Some(outlier);
            },
            Code::Unsupported,
            "outlier_detection.enforcing_local_origin_success_rate",
        ),
        ("no time to connect", |c| c.connect_timeout = secs(0), Code::InvalidValue, "timeouts.connect"),
        (
            "a metadata of ours that is not",
            |c| {
                let mut metadata = core::Metadata::default();
                metadata.typed_filter_metadata.insert("outrigger.dev".into(), any("something.Else", b""));
                c.metadata = Some(metadata);
            },
            Code::WrongType,
            "metadata.typed_filter_metadata[\"outrigger.dev\"].type_url",
        ),
    ];
    for (label, change, code, path) in cases {
        let mut cluster = base();
        change(&mut cluster);
        refused(label, read(&cluster), code, path);
    }
}

fn subset_config() -> LbSubsetConfig {
    let selector = |keys: &[&str]| LbSubsetSelector {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Default::default()
    };
    LbSubsetConfig {
        subset_selectors: vec![selector(&["stage", "version"]), selector(&["version"])],
        ..Default::default()
    }
}

#[test]
fn subsets_are_taken_as_envoy_writes_them() {
    let mut config = LbSubsetConfig {
        fallback_policy: LbSubsetFallbackPolicy::DefaultSubset.into(),
        default_subset: Some(super::labels(&[("stage", "prod")])),
        locality_weight_aware: true,
        scale_locality_weight: true,
        panic_mode_any: true,
        list_as_any: true,
        ..subset_config()
    };
    config.subset_selectors[0].fallback_policy = LbSubsetSelectorFallbackPolicy::KeysSubset.into();
    config.subset_selectors[0].fallback_keys_subset = vec!["version".into()];
    config.subset_selectors[1].single_host_per_subset = true;
    // The same keys in another order: the first of the two counts.
    let mut again = config.subset_selectors[0].clone();
    again.keys.reverse();
    again.fallback_policy = LbSubsetSelectorFallbackPolicy::AnyEndpoint.into();
    config.subset_selectors.push(again);
    let with = |config| cluster::Cluster { lb_subset_config: Some(config), ..base() };
    let subsets = read(&with(config.clone())).expect("taken").subsets.expect("some");
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).into()).collect();
    assert_eq!(
        subsets,
        Subsets {
            selectors: vec![
                Selector { keys: keys(&["stage", "version"]), fallback: Some(Fallback::Fewer(keys(&["version"]))) },
                Selector { keys: keys(&["version"]), fallback: None },
            ],
            fallback: Fallback::Default,
            default: [("stage", "prod")].into_iter().collect(),
            panic_any: true,
            lists: true,
            places: PlaceWeights::Scaled,
        }
    );
    // Without selectors Envoy has none, whatever else is said.
    let bare = LbSubsetConfig { subset_selectors: Vec::new(), ..config };
    assert_eq!(read(&with(bare)).expect("taken").subsets, None);
}

#[test]
fn subsets_around_another_policy_are_taken() {
    use balancing::subset::v3::subset::LbSubsetSelector;
    let entry = |any: pb::Any| {
        let config = core::TypedExtensionConfig { name: "policy".into(), typed_config: Some(any) };
        let policy = cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) };
        cluster::LoadBalancingPolicy { policies: vec![policy] }
    };
    let maglev = pack(&balancing::maglev::v3::Maglev::default());
    let subset = balancing::subset::v3::Subset {
        fallback_policy: 1,
        subset_selectors: vec![LbSubsetSelector { keys: vec!["version".into()], ..Default::default() }],
        subset_lb_policy: Some(entry(maglev.clone())),
        ..Default::default()
    };
    let with = |any| read(&cluster::Cluster { load_balancing_policy: Some(entry(any)), ..base() });
    let taken = with(pack(&subset)).expect("taken");
    let subsets = taken.subsets.expect("some");
    assert_eq!((taken.balancing, subsets.fallback), (Balancing::Maglev { table_size: 65_537 }, Fallback::Any));
    assert_eq!(with(maglev).expect("taken").subsets, None);
    // Here Envoy needs no selectors to have a default subset.
    let bare = balancing::subset::v3::Subset { subset_selectors: Vec::new(), ..subset.clone() };
    assert!(with(pack(&bare)).expect("taken").subsets.is_some());
    let place = "load_balancing_policy.policies[0].typed_extension_config.typed_config";
    for (label, changed, code, field) in [
        (
            "keys passed over",
            balancing::subset::v3::Subset { allow_redundant_keys: true, ..subset.clone() },
            Code::Unsupported,
            "allow_redundant_keys",
        ),
        (
            "subsets of subsets",
            balancing::subset::v3::Subset { subset_lb_policy: Some(entry(pack(&subset))), ..subset.clone() },
            Code::Unsupported,
            "subset_lb_policy",
        ),
        (
            "nothing inside",
            balancing::subset::v3::Subset { subset_lb_policy: None, ..subset.clone() },
            Code::MissingField,
            "subset_lb_policy",
        ),
        (
            "nothing known inside",
            balancing::subset::v3::Subset { subset_lb_policy: Some(entry(any("a.Policy", b""))), ..subset },
            Code::Unsupported,
            "subset_lb_policy",
        ),
    ] {
        let path = format!("{place}.{field}");
        refused(label, with(pack(&changed)), code, path.trim_start_matches("load_balancing_policy."));
    }
}

#[test]
fn static_clusters_carry_their_endpoints() {
    let assignment = assignments::base(vec![assignments::one("10.0.0.1", 80)]);
    let cluster = cluster::Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(assignment),
        ..base()
    };
    let Discovery::Static(assignment) = read(&cluster).expect("taken").discovery else { panic!() };
    assert_eq!(assignment.endpoints.len(), 1);
}
