//! Tables of routes.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http as http_filters;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::error::{Code, Problem};
use outrigger_config::policy::fault::{Abort, AbortWith, Scope, Throttle};
use outrigger_config::policy::{Condition, Conditions, Methods, Mode};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::rewrite::{Answer, PathRewrite, Redirect, Rewrite, Scheme};
use outrigger_config::route::{Backend, HashKey, PathMatch, Route, RouteTable, ValueMatch};
use outrigger_config::value::Percent;
use outrigger_config::xds::decode;
use prost::Message;

use super::{any, labels, number, pack, refused, regex, secs, text};

use route::route_action::{ClusterSpecifier, HashPolicy, hash_policy};
use route::route_match::PathSpecifier;

fn base() -> (route::Route, route::RouteAction) {
    let path = Some(PathSpecifier::Prefix("/".into()));
    let matches = route::RouteMatch { path_specifier: path, ..Default::default() };
    let to = Some(ClusterSpecifier::Cluster("c".into()));
    let action = route::RouteAction { cluster_specifier: to, ..Default::default() };
    (route::Route { r#match: Some(matches), ..Default::default() }, action)
}

pub(super) fn table_of(mut route: route::Route, action: route::RouteAction) -> route::RouteConfiguration {
    route.action.get_or_insert(route::route::Action::Route(action));
    let host =
        route::VirtualHost { name: "h".into(), domains: vec!["*".into()], routes: vec![route], ..Default::default() };
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
        route.backends.iter().map(|Backend { cluster, weight, .. }| (cluster.as_str(), *weight)).collect();
    assert_eq!(split, [("v1", 90), ("v2", 10)]);
    assert_eq!(route.hash, [HashKey::Header("x-user".into()), HashKey::SourceIp]);
}

fn asking(fields: pb::Struct) -> core::Metadata {
    core::Metadata { filter_metadata: [("envoy.lb".to_owned(), fields)].into(), ..Default::default() }
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
fn a_retry_policy_as_istio_writes_it_is_taken() {
    let policy = route::RetryPolicy {
        retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,some-new-token".into(),
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
    assert_eq!((route.timeouts.request, route.timeouts.stream), (None, None));
    assert_eq!(route.timeouts.grpc_max, Some(Duration::ZERO));
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
        token_bucket: Some(kinds::TokenBucket { max_tokens: 20, tokens_per_fill: number(10), fill_interval: secs(1) }),
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

fn field(name: &str, value: &str) -> core::HeaderValueOption {
    let header = core::HeaderValue { key: name.into(), value: value.into(), ..Default::default() };
    core::HeaderValueOption { header: Some(header), ..Default::default() }
}

#[test]
fn changes_of_header_fields_are_taken() {
    #[allow(deprecated)] // Deprecated, and still what many control planes send.
    let old = core::HeaderValueOption { append: Some(pb::BoolValue { value: false }), ..field("X-Old", "100%%") };
    let route = read_route(|route, _| {
        route.request_headers_to_add = vec![field("x-a", "1"), old];
        route.response_headers_to_remove = vec!["Server".into()];
    });
    let headers = route.expect("taken").headers;
    assert_eq!(headers.request.add, [("x-a".into(), "1".into())]);
    assert_eq!(headers.request.set, [("x-old".into(), "100%".into())]);
    assert_eq!(headers.response.remove, ["server".into()]);
    let host = read_route(|route, _| route.request_headers_to_remove.push("Host".into()));
    refused("Host", host, Code::InvalidValue, "virtual_hosts[0].routes[0].request_headers_to_remove[0]");
}

#[test]
fn a_field_changed_by_route_and_backend_ends_as_envoy_has_it() {
    let (mut route, mut action) = base();
    route.request_headers_to_add = vec![field("x-a", "route")];
    let cluster = route::weighted_cluster::ClusterWeight {
        name: "c".into(),
        weight: number(1),
        request_headers_to_add: vec![field("x-a", "backend")],
        ..Default::default()
    };
    let weighted = route::WeightedCluster { clusters: vec![cluster], ..Default::default() };
    action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
    let table = read(&table_of(route, action)).expect("taken");
    let route = &table.hosts[0].routes[0];
    assert!(route.headers.is_empty());
    assert_eq!(route.backends[0].headers.request.set, []);
    assert_eq!(
        route.backends[0].headers.request.add,
        [("x-a".into(), "backend".into()), ("x-a".into(), "route".into())]
    );
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

#[test]
fn a_stream_with_a_bound_of_its_own_has_no_timeout_by_default() {
    let stream = |limits: route::route_action::MaxStreamDuration, timeout: Option<pb::Duration>| {
        read_route(|_, action| {
            action.timeout = timeout;
            action.max_stream_duration = Some(limits);
        })
    };
    let hour = route::route_action::MaxStreamDuration { max_stream_duration: secs(3600), ..Default::default() };
    let timeouts = stream(hour, None).expect("taken").timeouts;
    assert_eq!((timeouts.request, timeouts.stream), (None, Some(Duration::from_secs(3600))));
    let timeouts = stream(hour, secs(5)).expect("taken").timeouts;
    assert_eq!(timeouts.request, Some(Duration::from_secs(5)));
    let early = route::route_action::MaxStreamDuration { grpc_timeout_header_offset: secs(1), ..hour };
    let path = "virtual_hosts[0].routes[0].route.max_stream_duration.grpc_timeout_header_offset";
    refused("an offset", stream(early, None), Code::Unsupported, path);
}

#[test]
fn faults_of_a_route_are_taken() {
    use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
        FaultRateLimit,
        fault_rate_limit::{FixedLimit, HeaderLimit, LimitType},
    };
    use http_filters::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
    let fault_of = |fault: HttpFault| {
        read_route(|route, _| {
            let any = pack(&fault);
            route.typed_per_filter_config.insert("envoy.filters.http.fault".into(), any);
        })
    };
    let half = Some(kinds::FractionalPercent { numerator: 5000, denominator: 1 });
    let abort = FaultAbort { error_type: Some(ErrorType::GrpcStatus(14)), percentage: half, ..Default::default() };
    let fault = fault_of(HttpFault { abort: Some(abort.clone()), ..Default::default() });
    let fault = fault.expect("taken").fault.expect("a fault");
    let percent = Percent::try_new(50.0).expect("a share");
    assert_eq!(fault.abort, Some(Abort { with: AbortWith::Grpc(14), percent }));
    assert_eq!((fault.mode, fault.scope, fault.delay), (Mode::Enforce, Scope::Request, None));
    assert_eq!(fault_of(HttpFault::default()).expect("taken").fault, None);
    let throttle = |limit_type| HttpFault {
        response_rate_limit: Some(FaultRateLimit { percentage: half, limit_type }),
        ..Default::default()
    };
    let fixed = |limit_kbps| Some(LimitType::FixedLimit(FixedLimit { limit_kbps }));
    let fault = fault_of(throttle(fixed(u64::MAX))).expect("taken").fault.expect("a fault");
    assert_eq!(fault.throttle, Some(Throttle { kib_per_second: Some(u32::MAX), percent }));
    let fault = fault_of(throttle(Some(LimitType::HeaderLimit(HeaderLimit {})))).expect("taken").fault;
    assert_eq!(fault.expect("a fault").throttle, Some(Throttle { kib_per_second: None, percent }));
    let at = "virtual_hosts[0].routes[0].typed_per_filter_config[\"envoy.filters.http.fault\"].response_rate_limit";
    let never = fault_of(throttle(fixed(0)));
    refused("a rate of nothing", never, Code::InvalidValue, &format!("{at}.fixed_limit.limit_kbps"));
    refused("no rate", fault_of(throttle(None)), Code::MissingField, &format!("{at}.fixed_limit"));
    let narrow = fault_of(HttpFault { upstream_cluster: "c".into(), abort: Some(abort), ..Default::default() });
    let path = "virtual_hosts[0].routes[0].typed_per_filter_config[\"envoy.filters.http.fault\"].upstream_cluster";
    refused("of one cluster", narrow, Code::Unsupported, path);
}

#[test]
fn rewrites_and_answers_are_taken() {
    let rewritten = read_route(|route, action| {
        let path = Some(PathSpecifier::Prefix("/api/".into()));
        route.r#match = Some(route::RouteMatch { path_specifier: path, ..Default::default() });
        action.prefix_rewrite = "/".into();
        action.host_rewrite_specifier =
            Some(route::route_action::HostRewriteSpecifier::HostRewriteLiteral("B.example:81".into()));
    });
    let rewrite = rewritten.expect("taken").rewrite;
    assert_eq!(rewrite, Rewrite { host: Some("b.example:81".into()), path: Some(PathRewrite::Prefix("/".into())) });
    let redirected = read_route(|route, _| {
        let redirect = route::RedirectAction {
            scheme_rewrite_specifier: Some(route::redirect_action::SchemeRewriteSpecifier::HttpsRedirect(true)),
            ..Default::default()
        };
        route.action = Some(route::route::Action::Redirect(redirect));
    });
    let answer = redirected.expect("taken").answer;
    let https = Redirect { scheme: Some(Scheme::Https), host: None, port: None, path: None, status: 301 };
    assert_eq!(answer, Some(Answer::Redirect(https)));
    let direct = read_route(|route, _| {
        let direct = route::DirectResponseAction { status: 99, ..Default::default() };
        route.action = Some(route::route::Action::DirectResponse(direct));
    });
    refused("no status", direct, Code::InvalidValue, "virtualHosts[0].routes[0].status");
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_its_path() {
    type Change = fn(&mut route::Route, &mut route::RouteAction);
    let cases: [(&str, Change, &str); 15] = [
        (
            "a redirect without the query",
            |r, _| {
                let redirect = route::RedirectAction { strip_query: true, ..Default::default() };
                r.action = Some(route::route::Action::Redirect(redirect));
            },
            "redirect.strip_query",
        ),
        (
            "a body from a file",
            |r, _| {
                let file = core::data_source::Specifier::Filename("/etc/motd".into());
                let body = Some(core::DataSource { specifier: Some(file), ..Default::default() });
                let direct = route::DirectResponseAction { status: 200, body, ..Default::default() };
                r.action = Some(route::route::Action::DirectResponse(direct));
            },
            "direct_response.body",
        ),
        (
            "a format command",
            |r, _| r.request_headers_to_add.push(field("x-a", "%DOWNSTREAM_REMOTE_ADDRESS%")),
            "request_headers_to_add[0].header.value",
        ),
        (
            "a field only where it is absent",
            |r, _| {
                let append_action = core::header_value_option::HeaderAppendAction::AddIfAbsent.into();
                r.response_headers_to_add.push(core::HeaderValueOption { append_action, ..field("x-a", "1") });
            },
            "response_headers_to_add[0].append_action",
        ),
        (
            "a part of the path by its pattern",
            |_, a| {
                let pattern = Some(regex("^/a/"));
                a.regex_rewrite = Some(matcher::RegexMatchAndSubstitute { pattern, substitution: "/".into() });
            },
            "route.regex_rewrite",
        ),
        (
            "the host of a header field",
            |_, a| {
                a.host_rewrite_specifier =
                    Some(route::route_action::HostRewriteSpecifier::HostRewriteHeader("x".into()));
            },
            "route.host_rewrite_specifier",
        ),
        (
            "a mirror by header",
            |_, a| {
                let by_header =
                    route::route_action::RequestMirrorPolicy { cluster_header: "x-to".into(), ..Default::default() };
                a.request_mirror_policies.push(by_header);
            },
            "route.request_mirror_policies[0].cluster_header",
        ),
        ("a priority that is none", |_, a| a.priority = 7, "route.priority"),
        (
            "cluster by header",
            |_, a| a.cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x".into())),
            "route.cluster_header",
        ),
        (
            "a subset by a list",
            |_, a| {
                let value = pb::Value { kind: Some(pb::value::Kind::ListValue(Default::default())) };
                a.metadata_match = Some(asking(pb::Struct { fields: [("version".to_owned(), value)].into() }));
            },
            "route.metadata_match.filter_metadata[\"envoy.lb\"].version",
        ),
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
            "retry status",
            |_, a| {
                let policy = route::RetryPolicy { retry_on: "503".into(), ..Default::default() };
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

#[test]
fn a_session_of_a_route_is_taken_and_a_strict_one_refused() {
    use envoy_types::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
    use envoy_types::pb::envoy::r#type::http::v3::Cookie;
    use http_filters::stateful_session::v3::{StatefulSession, StatefulSessionPerRoute, stateful_session_per_route};
    use stateful_session_per_route::Override;
    let cookie = Cookie { name: "sid".into(), ttl: secs(60), ..Default::default() };
    let state = pack(&CookieBasedSessionState { cookie: Some(cookie) });
    let state = core::TypedExtensionConfig { name: "cookie".into(), typed_config: Some(state) };
    let stateful = |strict| {
        Override::StatefulSession(StatefulSession { session_state: Some(state.clone()), strict, ..Default::default() })
    };
    let read = |settings| {
        read_route(|route, _| {
            let config = pack(&StatefulSessionPerRoute { r#override: Some(settings) });
            route.typed_per_filter_config.insert("envoy.filters.http.stateful_session".into(), config);
        })
    };
    let session = read(stateful(false)).expect("taken").session.expect("a session");
    assert_eq!((&*session.name, &*session.path, session.permanent), ("sid", "/", true));
    assert_eq!(read(Override::Disabled(true)).expect("taken").session, None);
    assert!(read(stateful(true)).is_err());
}
