//! Bytes that nobody encoded: the answer is a resource or a problem, never a panic.

use outrigger_config::resource::{ClientKind, ResourceType};
use outrigger_config::xds::{MAX_RESOURCE_BYTES, decode, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

use super::strategies::resource;

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(value in vec(any::<u8>(), 0..200)) {
        for kind in ResourceType::ALL {
            let _ = decode(kind, &value);
        }
    }

    /// Bytes that are nearly right reach deeper.
    #[test]
    fn damaged_resources_never_panic(
        resource in resource(),
        client in prop_oneof![Just(ClientKind::Outrigger), Just(ClientKind::Envoy)],
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Index>(),
    ) {
        let mut bytes = encode(&resource, client).expect("both get everything").to_vec();
        for (place, value) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
        }
        let whole = decode(resource.resource_type(), &bytes);
        if let Ok(read) = whole {
            // Whatever is accepted can be sent on.
            prop_assert!(encode(&read, client).is_some() || encode(&read, ClientKind::Grpc).is_some());
        }
        let _ = decode(resource.resource_type(), &bytes[..cut.index(bytes.len() + 1)]);
    }
}

#[test]
fn a_resource_that_is_too_long_is_refused_unread() {
    let problem = decode(ResourceType::Cluster, &vec![0; MAX_RESOURCE_BYTES + 1]).expect_err("too long");
    assert!(problem.reason.contains("at most"), "{problem}");
}

/// A message inside a message inside a message: prost stops at a hundred.
#[test]
fn deep_nesting_is_refused() {
    let mut value = Vec::new();
    // Struct { fields { value { struct_value { fields { value ..
    for _ in 0..200 {
        value = [0x2a, 0x12, 0x0a].into_iter().fold(value, nest);
    }
    // Cluster { metadata { filter_metadata { value: this Struct } } }: the key of field 25 takes two bytes.
    let metadata = [0x12, 0x0a].into_iter().fold(value, nest);
    let mut cluster = vec![0xca, 0x01];
    push_varint(&mut cluster, metadata.len());
    cluster.extend(metadata);
    let problem = decode(ResourceType::Cluster, &cluster).expect_err("too deep");
    assert!(problem.reason.contains("recursion"), "{problem}");
}

/// A message as the field with this one-byte key of another.
fn nest(inner: Vec<u8>, key: u8) -> Vec<u8> {
    let mut outer = vec![key];
    push_varint(&mut outer, inner.len());
    outer.extend(inner);
    outer
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
