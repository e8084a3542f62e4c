//! What other control planes send: taken where it is within the model, refused with the field's path where it is not.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::error::{Code, Problem};
use prost::Message;

mod assignments;
mod clusters;
mod listeners;
mod tables;

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

/// Labels, as metadata says them.
fn labels(labels: &[(&str, &str)]) -> pb::Struct {
    let label = |(key, value): &(&str, &str)| {
        let kind = Some(pb::value::Kind::StringValue((*value).to_owned()));
        ((*key).to_owned(), pb::Value { kind })
    };
    pb::Struct { fields: labels.iter().map(label).collect() }
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
