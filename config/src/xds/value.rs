//! The small things every resource is made of: durations, wrapped numbers, addresses, sources, metadata, refusals.
//!
//! Reading is strict and total: whatever bytes come in, the answer is a value or a [`Problem`].

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prost_xds::{Message, Name};
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::google::protobuf as pb;

use super::wire::{self, outrigger};
use crate::error::{Code, Problem};
use crate::value::MAX_DURATION;

/// A duration as a message.
pub(super) fn duration(value: Duration) -> Option<pb::Duration> {
    // A year is the longest duration any document takes; the cast of nanoseconds (below 10^9) cannot cut.
    Some(pb::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos() as i32,
    })
}

/// Reads a duration; zero is one.
pub(super) fn read_duration(message: &pb::Duration) -> Result<Duration, Problem> {
    let refuse = |reason: &str| Problem::invalid(format!("{}s {}ns", message.seconds, message.nanos), reason);
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(message.seconds), u32::try_from(message.nanos)) else {
        return Err(refuse("must not be negative"));
    };
    if nanos >= 1_000_000_000 {
        return Err(refuse("must have less than 1000000000 nanoseconds"));
    }
    let value = Duration::new(seconds, nanos);
    if value > MAX_DURATION {
        return Err(refuse("must be at most 8760h"));
    }
    Ok(value)
}

/// Reads the duration of a field that may be absent.
pub(super) fn optional_duration(field: &str, message: Option<&pb::Duration>) -> Result<Option<Duration>, Problem> {
    message.map(read_duration).transpose().map_err(|problem| problem.at_field(field))
}

/// Reads the duration of a field that must be there.
pub(super) fn required_duration(field: &str, message: Option<&pb::Duration>) -> Result<Duration, Problem> {
    optional_duration(field, message)?.ok_or_else(|| missing(field))
}

/// A timeout: absent in the model is zero on the wire, because absent on the wire is a default of xDS.
pub(super) fn timeout(value: Option<Duration>) -> Option<pb::Duration> {
    duration(value.unwrap_or(Duration::ZERO))
}

/// Reads a timeout: absent is `default`, zero is none.
pub(super) fn read_timeout(
    field: &str,
    message: Option<&pb::Duration>,
    default: Duration,
) -> Result<Option<Duration>, Problem> {
    let value = optional_duration(field, message)?.unwrap_or(default);
    Ok((!value.is_zero()).then_some(value))
}

/// A wrapped number.
pub(super) fn number(value: u32) -> Option<pb::UInt32Value> {
    Some(pb::UInt32Value { value })
}

/// Reads a wrapped number; absent is `default`.
pub(super) fn read_number(message: Option<&pb::UInt32Value>, default: u32) -> u32 {
    message.map_or(default, |message| message.value)
}

/// The ADS stream as the source of another resource.
pub(super) fn ads() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    })
}

/// Requires that a source is the stream the resource itself came over: `ads`, or `self` as gRPC has it.
pub(super) fn check_ads(field: &str, source: Option<&core::ConfigSource>) -> Result<(), Problem> {
    use core::config_source::ConfigSourceSpecifier;
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        Some(_) => Err(unsupported(field, "only ads and self are supported as a source")),
        None => Err(missing(field)),
    }
}

/// An IP address and a port.
pub(super) fn address(value: SocketAddr) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: value.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(value.port().into())),
        ..Default::default()
    };
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}

/// Reads an IP address and a port of TCP.
pub(super) fn read_address(field: &str, message: Option<&core::Address>) -> Result<SocketAddr, Problem> {
    let Some(address) = message.and_then(|message| message.address.as_ref()) else { return Err(missing(field)) };
    let core::address::Address::SocketAddress(socket) = address else {
        return Err(unsupported(field, "only a socket_address is supported"));
    };
    let inner = |problem: Problem| problem.at_field("socket_address").at_field(field);
    refuse(socket.protocol != i32::from(core::socket_address::Protocol::Tcp), "protocol").map_err(inner)?;
    let ip: IpAddr = socket
        .address
        .parse()
        .map_err(|_| inner(Problem::invalid(&socket.address, "must be an IPv4 or IPv6 address").at_field("address")))?;
    let port = match socket.port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port)
            .map_err(|_| inner(Problem::invalid(port, "must be at most 65535").at_field("port_value")))?,
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => {
            return Err(inner(unsupported("named_port", "only port_value is supported")));
        }
        None => return Err(inner(missing("port_value"))),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Metadata with one of our own messages in it.
pub(super) fn metadata<M: Message + Name>(message: &M) -> Option<core::Metadata> {
    // One entry: a hash map of several would be encoded in another order by each process.
    let entry = (outrigger::KEY.to_owned(), wire::pack(message));
    Some(core::Metadata { typed_filter_metadata: [entry].into(), ..Default::default() })
}

/// Reads our own message, if the metadata has one.
pub(super) fn read_metadata<M>(metadata: Option<&core::Metadata>) -> Result<Option<M>, Problem>
where
    M: Message + Name + Default,
{
    let Some(any) = metadata.and_then(|metadata| metadata.typed_filter_metadata.get(outrigger::KEY)) else {
        return Ok(None);
    };
    wire::unpack(any).map(Some).map_err(|problem| {
        problem.at_field(&format!("typed_filter_metadata[\"{}\"]", outrigger::KEY)).at_field("metadata")
    })
}

/// A map whose order is that of its keys, so that every process encodes the same bytes. A hash map's order is another
/// with each hasher, and there are few entries: some hasher soon has the right one.
pub(super) fn ordered<'a>(entries: impl Iterator<Item = (&'a str, pb::Any)>) -> HashMap<String, pb::Any> {
    let mut entries: Vec<_> = entries.map(|(key, value)| (key.to_owned(), value)).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    loop {
        let map: HashMap<String, pb::Any> = entries.iter().cloned().collect();
        if map.keys().is_sorted() {
            return map;
        }
    }
}

/// A field that must be there and is not.
pub(super) fn missing(field: &str) -> Problem {
    Problem::new(Code::MissingField, "must be set").at_field(field)
}

/// A field that asks for what this version cannot carry out.
pub(super) fn unsupported(field: &str, reason: &str) -> Problem {
    Problem::new(Code::Unsupported, reason).at_field(field)
}

/// The problem of a field that is to be left out, because this version cannot carry it out.
pub(super) fn refused(field: &str) -> Problem {
    unsupported(field, "is not supported; leave it out")
}

/// Refuses a field if it is set to anything that this version cannot carry out.
pub(super) fn refuse(set: bool, field: &str) -> Result<(), Problem> {
    if set { Err(refused(field)) } else { Ok(()) }
}

/// [`refused`] for one element of a list.
pub(super) fn refused_at(field: &str, index: usize) -> Problem {
    Problem::new(Code::Unsupported, "is not supported; leave it out").at_index(index).at_field(field)
}

/// [`refuse`] for several fields: the first that is set.
pub(super) fn refuse_all<const N: usize>(fields: [(&str, bool); N]) -> Result<(), Problem> {
    fields.into_iter().try_for_each(|(field, set)| refuse(set, field))
}

/// Reads each element, with its index in the path of a problem.
pub(super) fn each<T, U>(
    field: &str,
    items: impl IntoIterator<Item = T>,
    mut read: impl FnMut(T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    let at = |index, problem: Problem| problem.at_index(index).at_field(field);
    items.into_iter().enumerate().map(|(index, item)| read(item).map_err(|problem| at(index, problem))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xds_api::pb::google::protobuf as pb;

    use super::{address, duration, each, read_address, read_duration, read_timeout, timeout};
    use crate::error::Problem;

    #[test]
    fn durations_read_back_and_have_bounds() {
        for value in [Duration::ZERO, Duration::from_nanos(1), Duration::new(86_400, 999_999_999)] {
            assert_eq!(read_duration(&duration(value).expect("present")).expect("valid"), value);
        }
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (365 * 86_400, 1)] {
            assert!(read_duration(&pb::Duration { seconds, nanos }).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn no_timeout_is_zero_on_the_wire_and_absent_is_the_default() {
        let default = Duration::from_secs(15);
        assert_eq!(read_timeout("timeout", timeout(None).as_ref(), default).expect("valid"), None);
        assert_eq!(read_timeout("timeout", None, default).expect("valid"), Some(default));
    }

    #[test]
    fn addresses_read_back() {
        for text in ["127.0.0.1:80", "[2001:db8::1]:65535"] {
            let value = text.parse().expect("an address");
            assert_eq!(read_address("address", address(value).as_ref()).expect("valid"), value);
        }
        assert_eq!(read_address("address", None).expect_err("absent").path, "address");
    }

    #[test]
    fn a_problem_names_the_element_it_is_in() {
        let read = |item: u8| if item == 2 { Err(Problem::invalid(item, "no").at_field("name")) } else { Ok(item) };
        assert_eq!(each("items", [1, 2], read).expect_err("the second").path, "items[1].name");
    }
}
