//! Listeners.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use outrigger_config::listener::{ApiListener, Direction, Listener, TableSource, Telemetry};
use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::xds::encode;

use super::{check_ads, name, read, unpack};

fn listener_of(table: TableSource) -> Resource {
    Resource::Listener(Listener {
        name: name("outbound/shop/web/80"),
        address: "127.0.0.1:15001".parse().expect("an address"),
        direction: Direction::Outbound,
        table,
        identity: None,
        telemetry: Telemetry::default(),
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    })
}

#[test]
fn a_listener_of_envoy_has_all_that_envoy_insists_on() {
    let listener: listener::Listener = read(&listener_of(TableSource::Rds(name("outbound/shop"))), ClientKind::Envoy);
    assert_eq!(listener.traffic_direction(), core::TrafficDirection::Outbound);
    assert!(listener.metadata.is_none(), "our own words are for our own proxy");
    let filter = &listener.filter_chains[0].filters[0];
    let Some(listener::filter::ConfigType::TypedConfig(any)) = &filter.config_type else { panic!("{filter:?}") };
    let manager: hcm::HttpConnectionManager = unpack(any);
    assert!(!manager.stat_prefix.is_empty());
    assert_eq!(manager.upgrade_configs[0].upgrade_type, "websocket");
    let Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)) = &manager.route_specifier else { panic!() };
    assert_eq!(rds.route_config_name, "outbound/shop");
    check_ads(rds.config_source.as_ref());
    let types: Vec<_> = manager
        .http_filters
        .iter()
        .map(|filter| match &filter.config_type {
            Some(hcm::http_filter::ConfigType::TypedConfig(any)) => (filter.name.as_str(), any.type_url.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        types,
        [
            (
                "envoy.filters.http.local_ratelimit",
                "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
            ),
            (
                "envoy.filters.http.ratelimit",
                "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit"
            ),
            ("envoy.filters.http.fault", "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"),
            (
                "envoy.filters.http.stateful_session",
                "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
            ),
            ("envoy.filters.http.router", "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"),
        ]
    );
}

#[test]
fn grpc_gets_api_listeners_with_a_router_alone_and_no_sockets() {
    assert_eq!(encode(&listener_of(TableSource::Rds(name("t"))), ClientKind::Grpc), None);
    let api = Resource::ApiListener(ApiListener { name: name("pricing"), table: name("outbound/shop") });
    let listener: listener::Listener = read(&api, ClientKind::Grpc);
    assert_eq!(listener.name, "pricing");
    assert!(listener.address.is_none() && listener.filter_chains.is_empty());
    let any = listener.api_listener.expect("an API listener").api_listener.expect("its manager");
    let manager: hcm::HttpConnectionManager = unpack(&any);
    let names: Vec<_> = manager.http_filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!(names, ["envoy.filters.http.router"]);
    let Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)) = &manager.route_specifier else { panic!() };
    check_ads(rds.config_source.as_ref());
}
