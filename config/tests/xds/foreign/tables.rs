//! Tables of routes.

mod matches;
mod destinations;
mod policies;
mod changes;

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http as http_filters;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::error::{Code, Problem};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::route::{Route, RouteTable};
use outrigger_config::xds::decode;
use prost::Message;

use super::{any, number, pack, refused, regex, secs};

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

#[test]
fn absent_fields_mean_what_xds_says_they_mean() {
    let route = read_route(|_, _| {}).expect("taken");
    assert_eq!(route.timeouts.request, Some(Duration::from_secs(15)));
    assert_eq!(route.timeouts.idle, Some(Duration::from_secs(300)));
    assert_eq!((route.retry, route.rate_limit), (None, None));
    assert_eq!(route.backends.len(), 1);
}

fn asking(fields: pb::Struct) -> core::Metadata {
    core::Metadata { filter_metadata: [("envoy.lb".to_owned(), fields)].into(), ..Default::default() }
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

fn field(name: &str, value: &str) -> core::HeaderValueOption {
    let header = core::HeaderValue { key: name.into(), value: value.into(), ..Default::default() };
    core::HeaderValueOption { header: Some(header), ..Default::default() }
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
