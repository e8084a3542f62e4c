//! Our hand-written messages tag by tag: encoded by us, read by the newest protos, and back.

mod nested;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as delays;
use envoy_types::pb::envoy::extensions::filters::http::adaptive_concurrency::v3 as adaptive_concurrency;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as fault;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
use envoy_types::pb::envoy::extensions::load_balancing_policies as balancing;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google;
use outrigger_config::xds::transport::{self, Any, value};
use prost::Message;

/// Their message of our bytes. Nothing was lost on the way: their own bytes are the same again.
fn theirs<T: Message + Default>(ours: &[u8]) -> T {
    let theirs = T::decode(ours).expect("our bytes are valid");
    assert_eq!(theirs.encode_to_vec(), ours, "a field of ours is none of theirs");
    theirs
}

/// As [`theirs`], and our message of their bytes is ours.
fn both_ways<O: Message + Default + PartialEq + std::fmt::Debug, T: Message + Default>(ours: &O) -> T {
    let theirs: T = theirs(&ours.encode_to_vec());
    assert_eq!(&O::decode(theirs.encode_to_vec().as_slice()).expect("their bytes are valid"), ours);
    theirs
}

#[test]
fn questions_and_answers_about_rate_limits() {
    use envoy_types::pb::envoy::service::ratelimit::v3 as theirs;
    use outrigger_config::xds::rls;
    let entry = rls::Entry { key: "rule".into(), value: "all".into() };
    let descriptors = vec![rls::Descriptor { entries: vec![entry] }];
    let question = rls::RateLimitRequest { domain: "outrigger".into(), descriptors, hits_addend: 3 };
    let read: theirs::RateLimitRequest = both_ways(&question);
    assert_eq!((read.domain.as_str(), read.hits_addend), ("outrigger", 3));
    assert_eq!(read.descriptors[0].entries[0].value, "all");
    let limit = rls::CurrentLimit { requests_per_unit: 5, unit: rls::Unit::Hour.into(), name: "all".into() };
    let status = rls::DescriptorStatus {
        code: rls::Code::OverLimit.into(),
        current_limit: Some(limit),
        limit_remaining: 4,
        duration_until_reset: Some(transport::Duration { seconds: 6, nanos: 7 }),
    };
    let answer = rls::RateLimitResponse { overall_code: rls::Code::OverLimit.into(), statuses: vec![status] };
    let read: theirs::RateLimitResponse = both_ways(&answer);
    assert_eq!(read.overall_code, theirs::rate_limit_response::Code::OverLimit as i32);
    let limit = read.statuses[0].current_limit.as_ref().expect("a limit");
    assert_eq!(limit.unit, theirs::rate_limit_response::rate_limit::Unit::Hour as i32);
    assert_eq!((limit.requests_per_unit, read.statuses[0].limit_remaining), (5, 4));
}

fn any(text: &str) -> Any {
    Any { type_url: format!("type.googleapis.com/{text}"), value: Bytes::from(text.to_owned()) }
}

fn status(code: i32, message: &str) -> transport::Status {
    transport::Status { code, message: message.into(), details: vec![any("detail")] }
}

fn node() -> transport::Node {
    let mut metadata = transport::Struct::of_texts([("NAMESPACE", "shop")]);
    let nested = value::Kind::Object(transport::Struct::of_texts([("inner", "text")]));
    let list = transport::ListValue {
        values: [value::Kind::Null(0), value::Kind::Number(1.5), value::Kind::Bool(true), nested]
            .map(|kind| transport::Value { kind: Some(kind) })
            .to_vec(),
    };
    metadata.fields.insert("list".into(), transport::Value { kind: Some(value::Kind::List(list)) });
    transport::Node {
        id: "shop/catalog-1".into(),
        cluster: "catalog".into(),
        metadata: Some(metadata),
        locality: Some(transport::Locality { region: "r".into(), zone: "z".into(), sub_zone: "s".into() }),
        user_agent_name: "outrigger-proxy".into(),
        user_agent_version: "0.1.0".into(),
        client_features: vec!["feature".into()],
    }
}

fn resource_error() -> transport::ResourceError {
    let name = transport::ResourceName { name: "gone".into() };
    transport::ResourceError { resource_name: Some(name), error_detail: Some(status(5, "not there")) }
}

#[test]
fn discovery_request() {
    let ours = transport::DiscoveryRequest {
        version_info: "v1".into(),
        node: Some(node()),
        resource_names: vec!["a".into(), "b".into()],
        type_url: "type".into(),
        response_nonce: "n1".into(),
        error_detail: Some(status(3, "refused")),
    };
    // Their metadata is a hash map, so that its bytes have no order of their own.
    let theirs = discovery::DiscoveryRequest::decode(ours.encode_to_vec().as_slice()).expect("valid");
    assert_eq!(theirs.version_info, "v1");
    assert_eq!(theirs.resource_names, ["a", "b"]);
    assert_eq!(theirs.type_url, "type");
    assert_eq!(theirs.response_nonce, "n1");
    let error = theirs.error_detail.as_ref().expect("an error");
    assert_eq!((error.code, error.message.as_str()), (3, "refused"));
    assert_eq!(error.details[0].type_url, "type.googleapis.com/detail");
    assert_eq!(error.details[0].value, b"detail");
    let their_node = theirs.node.as_ref().expect("a node");
    assert_eq!((their_node.id.as_str(), their_node.cluster.as_str()), ("shop/catalog-1", "catalog"));
    assert_eq!(their_node.user_agent_name, "outrigger-proxy");
    assert_eq!(their_node.client_features, ["feature"]);
    assert_eq!(
        their_node.user_agent_version_type,
        Some(core::node::UserAgentVersionType::UserAgentVersion("0.1.0".into()))
    );
    let locality = their_node.locality.as_ref().expect("a locality");
    assert_eq!([&locality.region, &locality.zone, &locality.sub_zone], ["r", "z", "s"]);
    let fields = &their_node.metadata.as_ref().expect("metadata").fields;
    assert_eq!(fields["NAMESPACE"].kind, Some(google::protobuf::value::Kind::StringValue("shop".into())));
    let Some(google::protobuf::value::Kind::ListValue(list)) = &fields["list"].kind else { panic!("{fields:?}") };
    assert_eq!(list.values[1].kind, Some(google::protobuf::value::Kind::NumberValue(1.5)));
    assert_eq!(list.values[2].kind, Some(google::protobuf::value::Kind::BoolValue(true)));
    let back = transport::DiscoveryRequest::decode(theirs.encode_to_vec().as_slice()).expect("valid");
    assert_eq!(back, ours);
}

#[test]
fn the_extensions_of_a_node_are_dropped() {
    let extensions = vec![core::Extension { name: "envoy.filters.http.router".into(), ..Default::default() }; 500];
    let theirs = core::Node { id: "n".into(), extensions, ..Default::default() };
    let ours = transport::Node::decode(theirs.encode_to_vec().as_slice()).expect("valid");
    assert_eq!(ours, transport::Node { id: "n".into(), ..Default::default() });
}

#[test]
fn discovery_response() {
    let theirs: discovery::DiscoveryResponse = both_ways(&transport::DiscoveryResponse {
        version_info: "v1".into(),
        resources: vec![any("resource")],
        type_url: "type".into(),
        nonce: "n1".into(),
        control_plane: Some(transport::ControlPlane { identifier: "replica".into() }),
        resource_errors: vec![resource_error()],
    });
    assert_eq!(theirs.version_info, "v1");
    assert_eq!(theirs.resources[0].value, b"resource");
    assert_eq!(theirs.type_url, "type");
    assert_eq!(theirs.nonce, "n1");
    assert_eq!(theirs.control_plane.expect("a control plane").identifier, "replica");
    let error = &theirs.resource_errors[0];
    assert_eq!(error.resource_name.as_ref().expect("a name").name, "gone");
    assert_eq!(error.error_detail.as_ref().expect("a reason").code, 5);
}

#[test]
fn delta_discovery_request() {
    let theirs: discovery::DeltaDiscoveryRequest = both_ways(&transport::DeltaDiscoveryRequest {
        node: Some(transport::Node { id: "n".into(), ..Default::default() }),
        type_url: "type".into(),
        resource_names_subscribe: vec!["more".into()],
        resource_names_unsubscribe: vec!["less".into()],
        initial_resource_versions: [("a".into(), "v".into())].into(),
        response_nonce: "n1".into(),
        error_detail: Some(status(3, "refused")),
    });
    assert_eq!(theirs.node.expect("a node").id, "n");
    assert_eq!(theirs.type_url, "type");
    assert_eq!(theirs.resource_names_subscribe, ["more"]);
    assert_eq!(theirs.resource_names_unsubscribe, ["less"]);
    assert_eq!(theirs.initial_resource_versions["a"], "v");
    assert_eq!(theirs.response_nonce, "n1");
    assert_eq!(theirs.error_detail.expect("an error").code, 3);
}

#[test]
fn delta_discovery_response() {
    let ours = transport::DeltaDiscoveryResponse {
        system_version_info: "s1".into(),
        resources: vec![transport::Resource {
            version: "v".into(),
            resource: Some(any("resource")),
            name: "name".into(),
            aliases: vec!["alias".into()],
            ttl: Some(transport::Duration { seconds: 3, nanos: 4 }),
        }],
        type_url: "type".into(),
        nonce: "n1".into(),
        removed_resources: vec!["gone".into()],
        control_plane: Some(transport::ControlPlane { identifier: "replica".into() }),
        resource_errors: vec![resource_error()],
    };
    let theirs: discovery::DeltaDiscoveryResponse = both_ways(&ours);
    assert_eq!(theirs.system_version_info, "s1");
    assert_eq!(theirs.type_url, "type");
    assert_eq!(theirs.nonce, "n1");
    assert_eq!(theirs.removed_resources, ["gone"]);
    assert_eq!(theirs.control_plane.expect("a control plane").identifier, "replica");
    assert_eq!(theirs.resource_errors.len(), 1);
    let resource = &theirs.resources[0];
    assert_eq!((resource.version.as_str(), resource.name.as_str()), ("v", "name"));
    assert_eq!(resource.aliases, ["alias"]);
    assert_eq!(resource.resource.as_ref().expect("a resource").value, b"resource");
    let ttl = resource.ttl.as_ref().expect("a time to live");
    assert_eq!((ttl.seconds, ttl.nanos), (3, 4));
}
