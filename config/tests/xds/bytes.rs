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
    // Cluster.load_balancing_policy = 41, LoadBalancingPolicy.policies = 1, Policy.typed_extension_config = 4: a
    // Struct in Metadata (25, filter_metadata 1, value 2) nests without bound, each level five bytes of header.
    let mut value = Vec::new();
    for _ in 0..2000 {
        // Value.struct_value (5) { fields (1) { value (2) { .. } } }
        for tag in [0x12, 0x0a, 0x2a] {
            let mut outer = vec![tag];
            push_varint(&mut outer, value.len());
            outer.append(&mut value);
            value = outer;
        }
    }
    for tags in [&[0x12, 0x0a, 0x12, 0x0a][..], &[0xca, 0x01]] {
        if tags.len() == 2 {
            let mut outer = tags.to_vec();
            push_varint(&mut outer, value.len());
            outer.append(&mut value);
            value = outer;
            continue;
        }
        for tag in tags {
            let mut outer = vec![*tag];
            push_varint(&mut outer, value.len());
            outer.append(&mut value);
            value = outer;
        }
    }
    let problem = decode(ResourceType::Cluster, &value).expect_err("too deep");
    assert!(problem.reason.contains("recursion"), "{problem}");
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
