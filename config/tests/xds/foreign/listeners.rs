//! Listeners.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http as http_filters;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::error::{Code, Problem};
use outrigger_config::listener::{Direction, Listener, TableSource};
use outrigger_config::policy::adaptive::{AdaptiveConcurrency, Baseline, Measured};
use outrigger_config::policy::{Mode, Origin};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::xds::decode;
use prost::Message;

use super::tables;
use super::{address, ads, any, pack, refused};
use concurrency::adaptive_concurrency::ConcurrencyControllerConfig as Config;
use concurrency::gradient_controller_config::{
    ConcurrencyLimitCalculationParams as Limit, MinimumRttCalculationParams as Rtt,
};
use http_filters::adaptive_concurrency::v3 as concurrency;

fn filter(config: pb::Any) -> hcm::HttpFilter {
    let config_type = Some(hcm::http_filter::ConfigType::TypedConfig(config));
    hcm::HttpFilter { name: "filter".into(), config_type, ..Default::default() }
}

fn router() -> hcm::HttpFilter {
    filter(pack(&http_filters::router::v3::Router::default()))
}

fn manager() -> hcm::HttpConnectionManager {
    let rds = hcm::Rds { config_source: ads(), route_config_name: "t".into() };
    hcm::HttpConnectionManager {
        stat_prefix: "s".into(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters: vec![router()],
        ..Default::default()
    }
}

fn chain(manager: &hcm::HttpConnectionManager) -> listener::FilterChain {
    let config_type = Some(listener::filter::ConfigType::TypedConfig(pack(manager)));
    let filters = vec![listener::Filter { name: "hcm".into(), config_type }];
    listener::FilterChain { filters, ..Default::default() }
}

fn base(manager: &hcm::HttpConnectionManager) -> listener::Listener {
    listener::Listener {
        name: "l".into(),
        address: address("0.0.0.0", 8080),
        filter_chains: vec![chain(manager)],
        ..Default::default()
    }
}

fn read(message: &listener::Listener) -> Result<Listener, Problem> {
    match decode(ResourceType::Listener, &message.encode_to_vec())? {
        Resource::Listener(listener) => Ok(listener),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_without_our_words_is_taken() {
    let listener = read(&base(&manager())).expect("taken");
    assert_eq!(listener.address, "0.0.0.0:8080".parse().expect("an address"));
    assert_eq!(listener.direction, Direction::Outbound);
    assert_eq!(listener.identity, None);
    assert!(!listener.telemetry.access_log);
}

#[test]
fn a_table_may_be_written_into_the_listener() {
    let mut manager = manager();
    let table = route::RouteConfiguration { name: String::new(), ..tables::plain() };
    manager.route_specifier = Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table));
    manager.access_log = vec![Default::default()];
    let listener = read(&base(&manager)).expect("taken");
    assert!(listener.telemetry.access_log);
    let TableSource::Inline(table) = listener.table else { panic!("{listener:?}") };
    assert_eq!(table.hosts.len(), 1);
}

#[test]
fn filters_that_change_nothing_are_taken() {
    let stats = any("stats.PluginConfig", b"anything");
    let mut typed_struct = vec![0x0a, 40 - 1 - 1];
    typed_struct.extend_from_slice(b"type.googleapis.com/stats.PluginConfig");
    for harmless in [
        filter(stats),
        filter(any("udpa.type.v1.TypedStruct", &typed_struct)),
        filter(pack(&http_filters::cors::v3::Cors::default())),
        filter(pack(&http_filters::fault::v3::HttpFault::default())),
        filter(pack(&http_filters::local_ratelimit::v3::LocalRateLimit::default())),
        hcm::HttpFilter { is_optional: true, ..filter(any("unknown", b"")) },
        hcm::HttpFilter { disabled: true, ..filter(any("unknown", b"")) },
    ] {
        let label = format!("{harmless:?}");
        let manager = hcm::HttpConnectionManager { http_filters: vec![harmless, router()], ..manager() };
        read(&base(&manager)).expect(&label);
    }
}

#[test]
fn adaptive_concurrency_of_a_chain_is_the_listeners() {
    let whole = |value| Some(pb::UInt32Value { value });
    let interval = |seconds| Some(pb::Duration { seconds, nanos: 0 });
    let controller = |limit, rtt| {
        Config::GradientControllerConfig(concurrency::GradientControllerConfig {
            concurrency_limit_params: Some(limit),
            min_rtt_calc_params: Some(rtt),
            ..Default::default()
        })
    };
    let limit = Limit { concurrency_update_interval: interval(1), ..Default::default() };
    let rtt = Rtt { interval: interval(30), ..Default::default() };
    let with = |limit, rtt| concurrency::AdaptiveConcurrency {
        concurrency_controller_config: Some(controller(limit, rtt)),
        ..Default::default()
    };
    let chain = |filters: Vec<hcm::HttpFilter>| {
        let manager = hcm::HttpConnectionManager { http_filters: filters, ..manager() };
        read(&base(&manager))
    };
    let plain = with(limit, rtt);
    let policy = chain(vec![filter(pack(&plain)), router()]).expect("taken").adaptive.expect("a policy");
    let usual = AdaptiveConcurrency::with_defaults(Origin::default(), Mode::Enforce);
    let baseline = Baseline::Measured(Measured { interval: Duration::from_secs(30), ..Measured::DEFAULT });
    assert_eq!(policy, AdaptiveConcurrency { update_interval: Duration::from_secs(1), baseline, ..usual });
    let off = core::RuntimeFeatureFlag { default_value: Some(pb::BoolValue { value: false }), ..Default::default() };
    let off = concurrency::AdaptiveConcurrency { enabled: Some(off), ..plain };
    assert_eq!(chain(vec![filter(pack(&off)), router()]).expect("taken").adaptive, None);
    const AT: &str = "filter_chains[0].filters[0].typed_config.http_filters";
    let at = |path: &str| format!("{AT}[0].typed_config.{path}");
    let twice = vec![filter(pack(&plain)), filter(pack(&plain)), router()];
    refused("twice", chain(twice), Code::Conflict, &format!("{AT}[1].typed_config"));
    for (label, wrong, code, path) in [
        ("no numbers", Default::default(), Code::MissingField, "gradient_controller_config"),
        (
            "no interval",
            with(limit, Rtt::default()),
            Code::MissingField,
            "gradient_controller_config.min_rtt_calc_params.interval",
        ),
        (
            "none at once",
            with(Limit { min_concurrency_limit: whole(0), ..limit }, rtt),
            Code::InvalidValue,
            "minConcurrency",
        ),
    ] {
        refused(label, chain(vec![filter(pack(&wrong)), router()]), code, &at(path));
    }
}

#[test]
fn an_adaptive_limit_is_found_anew_after_a_millisecond_at_least() {
    let nanos = |nanos| Some(pb::Duration { seconds: 0, nanos });
    let limit = Limit { concurrency_update_interval: nanos(1), ..Default::default() };
    let read = |rtt| {
        let controller = concurrency::GradientControllerConfig {
            concurrency_limit_params: Some(limit),
            min_rtt_calc_params: Some(rtt),
            ..Default::default()
        };
        let policy = concurrency::AdaptiveConcurrency {
            concurrency_controller_config: Some(Config::GradientControllerConfig(controller)),
            ..Default::default()
        };
        let http_filters = vec![filter(pack(&policy)), router()];
        read(&base(&hcm::HttpConnectionManager { http_filters, ..manager() }))
    };
    let policy = read(Rtt { fixed_value: nanos(1_000_000), ..Default::default() }).expect("taken").adaptive;
    assert_eq!(policy.expect("a policy").update_interval, Duration::from_millis(1));
    let problem = read(Rtt { interval: nanos(999_999), ..Default::default() }).expect_err("Envoy refuses it as well");
    assert!(problem.path.ends_with("minRtt.interval"), "{problem:?}");
}

#[test]
fn a_rate_limit_service_has_the_time_that_envoy_gives_it() {
    use envoy_types::pb::envoy::config::core::v3::{GrpcService, grpc_service};
    use envoy_types::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
    let timeout = |timeout| {
        let grpc = grpc_service::EnvoyGrpc { cluster_name: "limits".into(), ..Default::default() };
        let target_specifier = Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc));
        let service = RateLimitServiceConfig {
            grpc_service: Some(GrpcService { target_specifier, ..Default::default() }),
            ..Default::default()
        };
        let limit = http_filters::ratelimit::v3::RateLimit {
            domain: "d".into(),
            timeout,
            rate_limit_service: Some(service),
            ..Default::default()
        };
        let http_filters = vec![filter(pack(&limit)), router()];
        let listener = read(&base(&hcm::HttpConnectionManager { http_filters, ..manager() })).expect("taken");
        listener.limits[0].timeout
    };
    let of = |seconds, nanos| Some(pb::Duration { seconds, nanos });
    assert_eq!(timeout(None), Duration::from_millis(20));
    assert_eq!(timeout(of(0, 5_000_000)), Duration::from_millis(5));
    assert_eq!(timeout(of(0, 0)), Duration::from_secs(60), "no bound there, the longest here");
}

#[test]
fn filters_that_are_unknown_or_out_of_order_are_refused() {
    const AT: &str = "filter_chains[0].filters[0].typed_config.http_filters";
    let fault = any("envoy.extensions.filters.http.fault.v3.HTTPFault", b"\x0a\x00");
    for (label, filters, code, at) in [
        ("unknown", vec![filter(any("unknown", b"")), router()], Code::Unsupported, "[0].typed_config"),
        ("fault", vec![filter(fault), router()], Code::Unsupported, "[0].typed_config"),
        ("no router", vec![filter(any("stats.PluginConfig", b""))], Code::Conflict, "[0]"),
        ("two routers", vec![router(), router()], Code::Conflict, "[0]"),
        ("nothing", vec![], Code::MissingField, ""),
    ] {
        let manager = hcm::HttpConnectionManager { http_filters: filters, ..manager() };
        refused(label, read(&base(&manager)), code, &format!("{AT}{at}"));
    }
}

#[test]
fn listener_filters_that_only_look_are_taken() {
    let filter = |name: &str| listener::ListenerFilter {
        name: name.into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(any(name, b""))),
        ..Default::default()
    };
    let mut listener = base(&manager());
    listener.listener_filters.push(filter("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"));
    read(&listener).expect("taken");
    listener.listener_filters.push(filter("envoy.extensions.filters.listener.original_dst.v3.OriginalDst"));
    refused("original_dst", read(&listener), Code::Unsupported, "listener_filters[1]");
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_its_path() {
    type Change = fn(&mut listener::Listener);
    let cases: [(&str, Change, Code, &str); 8] = [
        (
            "TLS",
            |l| {
                let tls = any("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", b"");
                let config_type = Some(core::transport_socket::ConfigType::TypedConfig(tls));
                let socket = core::TransportSocket { name: "tls".into(), config_type };
                l.filter_chains[0].transport_socket = Some(socket);
            },
            Code::Unsupported,
            "filter_chains[0].transport_socket.typed_config",
        ),
        (
            "a match",
            |l| {
                let matches = listener::FilterChainMatch { transport_protocol: "tls".into(), ..Default::default() };
                l.filter_chains[0].filter_chain_match = Some(matches);
            },
            Code::Unsupported,
            "filter_chains[0].filter_chain_match",
        ),
        ("two chains", |l| l.filter_chains.push(l.filter_chains[0].clone()), Code::Unsupported, "filter_chains"),
        ("no chain", |l| l.filter_chains.clear(), Code::MissingField, "filter_chains"),
        ("a host name", |l| l.address = address("localhost", 80), Code::InvalidValue, "address.socket_address.address"),
        (
            "a great port",
            |l| l.address = address("127.0.0.1", 65536),
            Code::InvalidValue,
            "address.socket_address.port_value",
        ),
        (
            "original destination",
            |l| l.use_original_dst = Some(pb::BoolValue { value: true }),
            Code::Unsupported,
            "use_original_dst",
        ),
        ("no name", |l| l.name.clear(), Code::InvalidValue, "name"),
    ];
    for (label, change, code, path) in cases {
        let mut listener = base(&manager());
        change(&mut listener);
        refused(label, read(&listener), code, path);
    }
}

#[test]
fn a_table_from_elsewhere_is_refused() {
    let mut manager = manager();
    let path = core::config_source::ConfigSourceSpecifier::ApiConfigSource(Default::default());
    let source = core::ConfigSource { config_source_specifier: Some(path), ..Default::default() };
    let rds = hcm::Rds { config_source: Some(source), route_config_name: "t".into() };
    manager.route_specifier = Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds));
    let path = "filter_chains[0].filters[0].typed_config.rds.config_source";
    refused("path", read(&base(&manager)), Code::Unsupported, path);
}
