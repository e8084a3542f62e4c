//! What routes change on the way, and answer by themselves.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::error::Code;
use outrigger_config::rewrite::{Answer, PathRewrite, Redirect, Rewrite, Scheme};

use super::super::{number, refused};
use super::{base, field, read, read_route, table_of};

use route::route_action::ClusterSpecifier;
use route::route_match::PathSpecifier;

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
