//! Endpoints.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::endpoint::{Assignment, Health};
use outrigger_config::error::{Code, Problem};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::subset::{Known, Value};
use outrigger_config::xds::decode;
use prost::Message;

use super::{address, labels, number, refused};

use pb::value::Kind;

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
    use core::HealthStatus::{Degraded, Draining, Healthy, Timeout, Unhealthy, Unknown};
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
fn what_is_known_of_endpoints_is_taken() {
    let value = |kind| pb::Value { kind: Some(kind) };
    let mut fields = labels(&[("version", "v1")]);
    let list = pb::ListValue { values: vec![value(Kind::StringValue("a".into())), value(Kind::NullValue(0))] };
    fields.fields.extend([
        ("canary".to_owned(), value(Kind::BoolValue(true))),
        ("shard".to_owned(), value(Kind::NumberValue(3.0))),
        ("of".to_owned(), value(Kind::ListValue(list))),
        // Nobody can ask for these.
        ("deep".to_owned(), value(Kind::StructValue(labels(&[("a", "b")])))),
        ("nothing".to_owned(), value(Kind::NullValue(0))),
        ("number".to_owned(), value(Kind::NumberValue(f64::NAN))),
    ]);
    let filter_metadata = [("envoy.lb".to_owned(), fields), ("other".to_owned(), labels(&[("x", "y")]))].into();
    let metadata = Some(core::Metadata { filter_metadata, ..Default::default() });
    let assignment = read(&base(vec![endpoint::LbEndpoint { metadata, ..one("10.0.0.1", 80) }])).expect("taken");
    let known = &assignment.endpoints[0].metadata;
    let of = |key: &str| known.get(key).cloned();
    assert_eq!(known.len(), 4, "{known:?}");
    assert_eq!(of("version"), Some(Known::One(Value::Text("v1".into()))));
    assert_eq!(of("canary"), Some(Known::One(Value::Bool(true))));
    assert_eq!(of("shard"), Some(Known::One(Value::number(3.0))));
    assert_eq!(of("of"), Some(Known::Several([Value::Text("a".into())].into())));
}

#[test]
fn an_empty_assignment_is_one() {
    assert!(read(&base(Vec::new())).expect("taken").endpoints.is_empty());
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_its_path() {
    let mut failover = base(vec![one("10.0.0.1", 80)]);
    failover.endpoints[0].priority = 200;
    refused("priority", read(&failover), Code::InvalidValue, "endpoints.priority");
    failover.endpoints[0].priority = 1;
    failover.policy =
        Some(endpoint::cluster_load_assignment::Policy { overprovisioning_factor: number(200), ..Default::default() });
    let taken = read(&failover).expect("taken");
    assert_eq!((taken.endpoints[0].priority, taken.overprovisioning), (1, 200));
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
