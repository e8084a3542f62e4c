//! Clusters.

mod subsets;
mod ejection;

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::load_balancing_policies as balancing;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol};
use outrigger_config::error::{Code, Problem};
use outrigger_config::policy::{Budget, Limits, Priority, Thresholds};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::value::Percent;
use outrigger_config::xds::decode;
use prost::Message;

use super::assignments;
use super::{ads, any, number, pack, refused, secs};

use cluster::cluster::lb_subset_config::LbSubsetSelector;
use cluster::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
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
fn many_selectors_are_read_as_fast_as_they_come() {
    let selector = |number: u32| LbSubsetSelector { keys: vec![number.to_string()], ..Default::default() };
    let config = LbSubsetConfig { subset_selectors: (0..30_000).map(selector).collect(), ..Default::default() };
    let many = cluster::Cluster { lb_subset_config: Some(config), ..base() };
    let begun = std::time::Instant::now();
    let subsets = read(&many).expect("taken").subsets.expect("divided");
    assert_eq!(subsets.selectors.len(), 30_000);
    // Each held against each took more than a minute.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn policies_inside_policies_come_to_an_end() {
    let inside = |depth: usize| {
        let mut any = pack(&balancing::random::v3::Random::default());
        for _ in 0..=depth {
            let config = core::TypedExtensionConfig { typed_config: Some(any), ..Default::default() };
            let entry = cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) };
            let list = cluster::LoadBalancingPolicy { policies: vec![entry] };
            any = pack(&balancing::wrr_locality::v3::WrrLocality { endpoint_picking_policy: Some(list) });
        }
        let outer: balancing::wrr_locality::v3::WrrLocality = Message::decode(&*any.value).expect("just encoded");
        cluster::Cluster { load_balancing_policy: outer.endpoint_picking_policy, ..base() }
    };
    assert_eq!(read(&inside(2)).expect("taken").balancing, Balancing::Random);
    // The last are some hundred kilobytes, and would not fit on the stack.
    for depth in [16, 3000] {
        let problem = read(&inside(depth)).expect_err("too deep");
        assert!(problem.to_string().contains("inside each other"), "{problem}");
    }
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
fn endpoints_are_asked_for_their_load_ten_times_a_second_at_most() {
    for (nanos, period) in [(0, 100), (1, 100), (250_000_000, 250)] {
        let reports = balancing::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin {
            enable_oob_load_report: Some(pb::BoolValue { value: true }),
            oob_reporting_period: Some(pb::Duration { seconds: 0, nanos }),
            ..Default::default()
        };
        let config = core::TypedExtensionConfig { name: "reports".into(), typed_config: Some(pack(&reports)) };
        let policies = vec![cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) }];
        let policy = cluster::LoadBalancingPolicy { policies };
        let cluster = read(&cluster::Cluster { load_balancing_policy: Some(policy), ..base() }).expect("taken");
        let Balancing::ClientSideWeightedRoundRobin(reports) = cluster.balancing else { panic!("{cluster:?}") };
        assert_eq!(reports.asks_every, Some(Duration::from_millis(period)));
    }
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
        (vec![of(1, None, Some(30.0))], [None, None], share(30.0)),
    ] {
        let breakers = cluster::CircuitBreakers { thresholds, ..Default::default() };
        let cluster = read(&cluster::Cluster { circuit_breakers: Some(breakers), ..base() }).expect("taken");
        let limits = cluster.limits.expect("limits");
        assert_eq!([limits.max_retries, limits.high.max_retries], expected);
        assert_eq!(cluster.budget, budget);
    }
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
