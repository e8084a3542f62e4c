//! What other control planes send: taken where it is within the model, refused with the field's path where it is not.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http as http_filters;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::load_balancing_policies as balancing;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol};
use outrigger_config::endpoint::{Assignment, Health};
use outrigger_config::error::{Code, Problem};
use outrigger_config::listener::{Direction, Listener, TableSource};
use outrigger_config::policy::{Budget, Condition, Conditions, Limits, Methods, Mode};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::route::{Backend, HashKey, PathMatch, Route, RouteTable, ValueMatch};
use outrigger_config::value::Percent;
use outrigger_config::xds::decode;
use prost::Message;

use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy};
use route::route_action::{ClusterSpecifier, HashPolicy, hash_policy};
use route::route_match::PathSpecifier;

fn pack<T: Message + prost::Name>(message: &T) -> pb::Any {
    pb::Any { type_url: format!("type.googleapis.com/{}", T::full_name()), value: message.encode_to_vec() }
}

fn any(type_name: &str, value: &[u8]) -> pb::Any {
    pb::Any { type_url: format!("type.googleapis.com/{type_name}"), value: value.to_vec() }
}

fn secs(seconds: i64) -> Option<pb::Duration> {
    Some(pb::Duration { seconds, nanos: 0 })
}

fn number(value: u32) -> Option<pb::UInt32Value> {
    Some(pb::UInt32Value { value })
}

fn regex(text: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: text.into(), ..Default::default() }
}

fn text(pattern: matcher::string_matcher::MatchPattern, ignore_case: bool) -> matcher::StringMatcher {
    matcher::StringMatcher { match_pattern: Some(pattern), ignore_case }
}

fn ads() -> Option<core::ConfigSource> {
    let source = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    Some(core::ConfigSource { config_source_specifier: Some(source), ..Default::default() })
}

fn address(ip: &str, port: u32) -> Option<core::Address> {
    let port_specifier = Some(core::socket_address::PortSpecifier::PortValue(port));
    let socket = core::SocketAddress { address: ip.into(), port_specifier, ..Default::default() };
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}

/// Fails unless the message is refused at this path with this code.
fn refused(label: &str, result: Result<impl std::fmt::Debug, Problem>, code: Code, path: &str) {
    let problem = result.expect_err(label);
    assert_eq!((problem.code, problem.path.as_str()), (code, path), "{label}: {problem}");
    assert!(!problem.reason.is_empty(), "{label}");
}

mod tables {
    use super::*;

    fn base() -> (route::Route, route::RouteAction) {
        let path = Some(PathSpecifier::Prefix("/".into()));
        let matches = route::RouteMatch { path_specifier: path, ..Default::default() };
        let to = Some(ClusterSpecifier::Cluster("c".into()));
        let action = route::RouteAction { cluster_specifier: to, ..Default::default() };
        (route::Route { r#match: Some(matches), ..Default::default() }, action)
    }

    pub(super) fn table_of(mut route: route::Route, action: route::RouteAction) -> route::RouteConfiguration {
        route.action.get_or_insert(route::route::Action::Route(action));
        let host = route::VirtualHost {
            name: "h".into(),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        };
        route::RouteConfiguration { name: "t".into(), virtual_hosts: vec![host], ..Default::default() }
    }

    pub(super) fn plain() -> route::RouteConfiguration {
        let (route, action) = base();
        table_of(route, action)
    }

    fn read(message: &route::RouteConfiguration) -> Result<RouteTable, Problem> {
        match decode(ResourceType::Table, &message.encode_to_vec())? {
            Resource::Table(table) => Ok(table),
            other => panic!("{other:?}"),
        }
    }

    fn read_route(change: impl FnOnce(&mut route::Route, &mut route::RouteAction)) -> Result<Route, Problem> {
        let (mut route, mut action) = base();
        change(&mut route, &mut action);
        read(&table_of(route, action)).map(|table| table.hosts[0].routes[0].clone())
    }

    fn read_path(path: PathSpecifier) -> PathMatch {
        let route = read_route(|route, _| route.r#match.as_mut().expect("a match").path_specifier = Some(path));
        route.expect("a path that is taken").matches.path
    }

    #[test]
    fn absent_fields_mean_what_xds_says_they_mean() {
        let route = read_route(|_, _| {}).expect("taken");
        assert_eq!(route.timeouts.request, Some(Duration::from_secs(15)));
        assert_eq!(route.timeouts.idle, Some(Duration::from_secs(300)));
        assert_eq!((route.retry, route.rate_limit), (None, None));
        assert_eq!(route.backends.len(), 1);
    }

    #[test]
    fn paths_of_every_kind_are_taken() {
        assert_eq!(read_path(PathSpecifier::Prefix("".into())), PathMatch::Prefix("/".into()));
        assert_eq!(read_path(PathSpecifier::Prefix("/a".into())), PathMatch::RawPrefix("/a".into()));
        assert_eq!(read_path(PathSpecifier::PathSeparatedPrefix("/a".into())), PathMatch::Prefix("/a".into()));
        assert_eq!(read_path(PathSpecifier::Path("/a".into())), PathMatch::Exact("/a".into()));
        let PathMatch::Regex(pattern) = read_path(PathSpecifier::SafeRegex(regex("/a.*"))) else { panic!() };
        assert!(pattern.is_match("/abc"));
    }

    #[test]
    fn header_matchers_of_every_kind_are_taken() {
        use matcher::string_matcher::MatchPattern;
        use route::header_matcher::HeaderMatchSpecifier as Specifier;
        #[allow(deprecated)] // Deprecated, and still what many control planes send.
        let cases = [
            (Specifier::ExactMatch("A".into()), "A", "a"),
            (Specifier::PrefixMatch("a.".into()), "a.b", "ab"),
            (Specifier::SuffixMatch("b".into()), "ab", "ba"),
            (Specifier::ContainsMatch("b".into()), "abc", "ac"),
            (Specifier::SafeRegexMatch(regex("a+")), "aa", "aab"),
            (Specifier::StringMatch(text(MatchPattern::Exact("a".into()), false)), "a", "A"),
            (Specifier::StringMatch(text(MatchPattern::Exact("a".into()), true)), "A", "b"),
            (Specifier::StringMatch(text(MatchPattern::Prefix("a".into()), true)), "Ab", "b"),
            (Specifier::StringMatch(text(MatchPattern::Suffix("a".into()), false)), "ba", "ab"),
            (Specifier::StringMatch(text(MatchPattern::Contains("a".into()), false)), "bab", "b"),
            (Specifier::StringMatch(text(MatchPattern::SafeRegex(regex("a|b")), false)), "b", "ab"),
        ];
        for (specifier, yes, no) in cases {
            let label = format!("{specifier:?}");
            let header = route::HeaderMatcher {
                name: "X-Group".into(),
                header_match_specifier: Some(specifier),
                ..Default::default()
            };
            let route = read_route(|route, _| route.r#match.as_mut().expect("a match").headers.push(header));
            let headers = route.expect(&label).matches.headers;
            assert_eq!(&*headers[0].name, "x-group", "{label}");
            let matches = |value: &str| match &headers[0].value {
                ValueMatch::Exact(text) => &**text == value,
                ValueMatch::Regex(pattern) => pattern.is_match(value),
                ValueMatch::Present => true,
            };
            assert!(matches(yes) && !matches(no), "{label}");
        }
    }

    #[test]
    fn the_method_is_found_among_the_headers() {
        let exact = route::header_matcher::HeaderMatchSpecifier::StringMatch(text(
            matcher::string_matcher::MatchPattern::Exact("POST".into()),
            false,
        ));
        let header = |name: &str| route::HeaderMatcher {
            name: name.into(),
            header_match_specifier: Some(exact.clone()),
            ..Default::default()
        };
        let route = read_route(|route, _| {
            route.r#match.as_mut().expect("a match").headers = vec![header("x-a"), header(":method")];
        });
        let matches = route.expect("taken").matches;
        assert_eq!((matches.method.as_deref(), matches.headers.len()), (Some("POST"), 1));
        let route = read_route(|route, _| route.r#match.as_mut().expect("a match").headers = vec![header(":path")]);
        refused("a pseudo-header", route, Code::Unsupported, "virtual_hosts[0].routes[0].match.headers");
    }

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
            route.backends.iter().map(|Backend { cluster, weight }| (cluster.as_str(), *weight)).collect();
        assert_eq!(split, [("v1", 90), ("v2", 10)]);
        assert_eq!(route.hash, [HashKey::Header("x-user".into()), HashKey::SourceIp]);
    }

    #[test]
    fn a_retry_policy_as_istio_writes_it_is_taken() {
        let policy = route::RetryPolicy {
            retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,some-new-token"
                .into(),
            num_retries: number(2),
            retriable_status_codes: vec![503],
            retry_host_predicate: vec![Default::default()],
            host_selection_retry_max_attempts: 5,
            ..Default::default()
        };
        let stream = route::route_action::MaxStreamDuration {
            max_stream_duration: secs(0),
            grpc_timeout_header_max: secs(0),
            ..Default::default()
        };
        let route = read_route(|_, action| {
            action.retry_policy = Some(policy.clone());
            action.timeout = secs(0);
            action.max_stream_duration = Some(stream);
        });
        let route = route.expect("taken");
        assert_eq!(route.timeouts.request, None);
        let retry = route.retry.expect("a policy");
        let on = Conditions::from_iter([Condition::ConnectFailure, Condition::RefusedStream]);
        assert_eq!((retry.attempts, retry.on, retry.codes), (2, on, vec![503]));
        assert_eq!(retry.grpc_codes.iter().collect::<Vec<_>>(), [1, 14]);
        assert_eq!((retry.methods, retry.mode), (Methods::Any, Mode::Enforce));

        // A host's policy holds for the routes that have none.
        let (route, action) = base();
        let mut table = table_of(route, action);
        table.virtual_hosts[0].retry_policy = Some(policy);
        assert_eq!(read(&table).expect("taken").hosts[0].routes[0].retry.as_ref().map(|retry| retry.attempts), Some(2));
    }

    fn limit(enforced: u32) -> http_filters::local_ratelimit::v3::LocalRateLimit {
        let share = |numerator| {
            let value = kinds::FractionalPercent { numerator, ..Default::default() };
            Some(core::RuntimeFractionalPercent { default_value: Some(value), runtime_key: "key".into() })
        };
        http_filters::local_ratelimit::v3::LocalRateLimit {
            stat_prefix: "limit".into(),
            token_bucket: Some(kinds::TokenBucket {
                max_tokens: 20,
                tokens_per_fill: number(10),
                fill_interval: secs(1),
            }),
            filter_enabled: share(100),
            filter_enforced: share(enforced),
            ..Default::default()
        }
    }

    const FILTER: &str = "envoy.filters.http.local_ratelimit";

    #[test]
    fn a_local_rate_limit_of_a_route_is_taken() {
        for (enforced, mode) in [(100, Mode::Enforce), (0, Mode::Observe)] {
            let wrapped = route::FilterConfig { config: Some(pack(&limit(enforced))), ..Default::default() };
            for config in [pack(&limit(enforced)), pack(&wrapped)] {
                let route = read_route(|route, _| {
                    route.typed_per_filter_config.insert(FILTER.into(), config);
                });
                let limit = route.expect("taken").rate_limit.expect("a limit");
                let rule = &limit.rules[0];
                assert_eq!((limit.mode, limit.status), (mode, 429));
                assert_eq!((rule.requests, rule.burst, rule.interval), (10, 20, Duration::from_secs(1)));
            }
        }
        let disabled = route::FilterConfig { config: Some(pack(&limit(100))), disabled: true, ..Default::default() };
        let route = read_route(|route, _| {
            route.typed_per_filter_config.insert(FILTER.into(), pack(&disabled));
        });
        assert_eq!(route.expect("taken").rate_limit, None);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_its_path() {
        type Change = fn(&mut route::Route, &mut route::RouteAction);
        let cases: [(&str, Change, &str); 15] = [
            ("redirect", |r, _| r.action = Some(route::route::Action::Redirect(Default::default())), "redirect"),
            (
                "direct response",
                |r, _| r.action = Some(route::route::Action::DirectResponse(Default::default())),
                "direct_response",
            ),
            ("header added", |r, _| r.request_headers_to_add.push(Default::default()), "request_headers_to_add"),
            ("prefix rewrite", |_, a| a.prefix_rewrite = "/b".into(), "route.prefix_rewrite"),
            (
                "host rewrite",
                |_, a| {
                    a.host_rewrite_specifier =
                        Some(route::route_action::HostRewriteSpecifier::HostRewriteLiteral("b".into()));
                },
                "route.host_rewrite_specifier",
            ),
            ("mirror", |_, a| a.request_mirror_policies.push(Default::default()), "route.request_mirror_policies"),
            ("high priority", |_, a| a.priority = 1, "route.priority"),
            ("hedging", |_, a| a.hedge_policy = Some(Default::default()), "route.hedge_policy"),
            (
                "cluster by header",
                |_, a| a.cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x".into())),
                "route.cluster_header",
            ),
            ("subset", |_, a| a.metadata_match = Some(Default::default()), "route.metadata_match"),
            (
                "cookie to be made",
                |_, a| {
                    let cookie = hash_policy::Cookie { name: "c".into(), ttl: secs(1), ..Default::default() };
                    let specifier = Some(hash_policy::PolicySpecifier::Cookie(cookie));
                    a.hash_policy.push(HashPolicy { policy_specifier: specifier, terminal: true });
                },
                "route.hash_policy[0].cookie.ttl",
            ),
            (
                "case",
                |r, _| r.r#match.as_mut().expect("a match").case_sensitive = Some(pb::BoolValue { value: false }),
                "match.case_sensitive",
            ),
            (
                "inverted header",
                |r, _| {
                    let header = route::HeaderMatcher { name: "x".into(), invert_match: true, ..Default::default() };
                    r.r#match.as_mut().expect("a match").headers.push(header);
                },
                "match.headers[0].invert_match",
            ),
            (
                "another filter",
                |r, _| {
                    r.typed_per_filter_config.insert("cors".into(), any("a.CorsPolicy", b""));
                },
                "typed_per_filter_config[\"cors\"].typed_config",
            ),
            (
                "retry header",
                |_, a| {
                    let policy = route::RetryPolicy { retry_on: "envoy-ratelimited".into(), ..Default::default() };
                    a.retry_policy = Some(policy);
                },
                "route.retry_policy.retry_on",
            ),
        ];
        for (label, change, path) in cases {
            let path = format!("virtual_hosts[0].routes[0].{path}");
            refused(label, read_route(change), Code::Unsupported, &path);
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_path() {
        let broken = read_route(|route, _| {
            route.r#match.as_mut().expect("a match").path_specifier = Some(PathSpecifier::SafeRegex(regex("(")));
        });
        let path = "virtual_hosts[0].routes[0].match.safe_regex.regex";
        refused("regex", broken, Code::InvalidValue, path);
        let negative = read_route(|_, action| action.timeout = secs(-1));
        refused("timeout", negative, Code::InvalidValue, "virtual_hosts[0].routes[0].route.timeout");
        let nothing = read_route(|_, action| action.cluster_specifier = None);
        refused("no cluster", nothing, Code::MissingField, "virtual_hosts[0].routes[0].route.cluster_specifier");
        let (route, action) = base();
        let mut twice = table_of(route, action);
        twice.virtual_hosts.push(twice.virtual_hosts[0].clone());
        assert_eq!(read(&twice).expect_err("a domain twice").code, Code::Conflict);
        let mut shared = plain();
        shared.virtual_hosts[0].typed_per_filter_config.insert(FILTER.into(), pack(&limit(100)));
        refused("a shared bucket", read(&shared), Code::Unsupported, "virtual_hosts[0].typed_per_filter_config");
    }
}

mod listeners {
    use super::*;

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
            (
                "a host name",
                |l| l.address = address("localhost", 80),
                Code::InvalidValue,
                "address.socket_address.address",
            ),
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
}

mod clusters {
    use super::*;

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
        let limits =
            Limits { max_connections: limit, max_pending_requests: limit, max_requests: limit, ..Limits::default() };
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
            let options =
                upstream::HttpProtocolOptions { upstream_protocol_options: Some(options), ..Default::default() };
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
        ] {
            let cluster = cluster::Cluster { lb_policy: policy.into(), ..base() };
            assert_eq!(read(&cluster).expect("taken").balancing, expected);
        }
        let maglev = cluster::Cluster { lb_policy: LbPolicy::Maglev.into(), ..base() };
        refused("maglev", read(&maglev), Code::Unsupported, "lb_policy");
    }

    #[test]
    fn limits_are_those_of_the_default_priority() {
        use cluster::circuit_breakers::Thresholds;
        let thresholds = vec![
            Thresholds { priority: 1, max_requests: number(1), ..Default::default() },
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
        assert_eq!(
            (limits.max_connections, limits.max_requests, limits.max_pending_requests),
            (None, Some(7), Some(1024))
        );
        let budget = Budget { percent: Percent::ZERO, min_concurrent: 5, min_per_second: 0, ..Budget::default() };
        assert_eq!(cluster.budget, budget);
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
        assert_eq!((outlier.consecutive_errors, outlier.mode), (3, Mode::Observe));
        assert_eq!(outlier.max_ejection, Duration::from_secs(400), "never below the first");
        assert_eq!(outlier.max_percent, Percent::try_new(50.0).expect("a share"));
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_its_path() {
        type Change = fn(&mut cluster::Cluster);
        let cases: [(&str, Change, Code, &str); 9] = [
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
            ("health checks", |c| c.health_checks.push(Default::default()), Code::Unsupported, "health_checks"),
            ("subsets", |c| c.lb_subset_config = Some(Default::default()), Code::Unsupported, "lb_subset_config"),
            ("no EDS", |c| c.eds_cluster_config = None, Code::MissingField, "eds_cluster_config"),
            (
                "no source",
                |c| c.eds_cluster_config = Some(Default::default()),
                Code::MissingField,
                "eds_cluster_config.eds_config",
            ),
            (
                "success rate",
                |c| {
                    let outlier =
                        cluster::OutlierDetection { enforcing_success_rate: number(100), ..Default::default() };
                    c.outlier_detection = Some(outlier);
                },
                Code::Unsupported,
                "outlier_detection.enforcing_success_rate",
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
}

mod assignments {
    use super::*;

    pub(super) fn one(ip: &str, port: u32) -> endpoint::LbEndpoint {
        let inner = endpoint::Endpoint { address: address(ip, port), ..Default::default() };
        let host_identifier = Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(inner));
        endpoint::LbEndpoint { host_identifier, ..Default::default() }
    }

    pub(super) fn base(lb_endpoints: Vec<endpoint::LbEndpoint>) -> endpoint::ClusterLoadAssignment {
        let group = endpoint::LocalityLbEndpoints { lb_endpoints, ..Default::default() };
        endpoint::ClusterLoadAssignment { cluster_name: "c".into(), endpoints: vec![group], ..Default::default() }
    }

    fn read(message: &endpoint::ClusterLoadAssignment) -> Result<Assignment, Problem> {
        match decode(ResourceType::Assignment, &message.encode_to_vec())? {
            Resource::Assignment(assignment) => Ok(assignment),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn health_is_known_in_every_shade() {
        use self::core::HealthStatus::{Degraded, Draining, Healthy, Timeout, Unhealthy, Unknown};
        for (status, health) in [
            (Unknown, Health::Healthy),
            (Healthy, Health::Healthy),
            (Draining, Health::Draining),
            (Unhealthy, Health::Unhealthy),
            (Timeout, Health::Unhealthy),
            (Degraded, Health::Unhealthy),
        ] {
            let endpoint = endpoint::LbEndpoint { health_status: status.into(), ..one("10.0.0.1", 80) };
            let assignment = read(&base(vec![endpoint])).expect("taken");
            assert_eq!((assignment.endpoints[0].health, assignment.endpoints[0].weight), (health, 1));
        }
    }

    #[test]
    fn an_empty_assignment_is_one() {
        assert!(read(&base(Vec::new())).expect("taken").endpoints.is_empty());
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_its_path() {
        let mut failover = base(vec![one("10.0.0.1", 80)]);
        failover.endpoints[0].priority = 1;
        refused("priority", read(&failover), Code::Unsupported, "endpoints[0].priority");
        let mut drops = base(Vec::new());
        let overload = endpoint::cluster_load_assignment::policy::DropOverload::default();
        drops.policy =
            Some(endpoint::cluster_load_assignment::Policy { drop_overloads: vec![overload], ..Default::default() });
        refused("drops", read(&drops), Code::Unsupported, "policy.drop_overloads");
        let twice = base(vec![one("10.0.0.1", 80), one("10.0.0.1", 80)]);
        refused("twice", read(&twice), Code::InvalidValue, "endpoints.address");
        let weightless = endpoint::LbEndpoint { load_balancing_weight: number(0), ..one("10.0.0.1", 80) };
        refused("weight 0", read(&base(vec![weightless])), Code::InvalidValue, "endpoints.weight");
        let host = base(vec![one("catalog", 80)]);
        let path = "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address";
        refused("a host name", read(&host), Code::InvalidValue, path);
    }
}
