//! What is encoded for our own proxy decodes to what it was; what is encoded for others is stable; and the bytes are the
//! same whenever and wherever they are made.

use std::process::Command;

use outrigger_config::resource::{ClientKind, Resource};
use outrigger_config::xds::{decode, encode, version};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::strategies::{api_listener, resource};

/// Set for the second process of [`two_processes_encode_the_same_bytes`].
const CHILD: &str = "OUTRIGGER_TEST_ENCODE";

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn our_proxy_gets_exactly_what_was_meant(resource in resource()) {
        let bytes = encode(&resource, ClientKind::Outrigger).expect("our proxy gets everything");
        prop_assert_eq!(decode(resource.resource_type(), &bytes), Ok(resource));
    }

    #[test]
    fn grpc_clients_get_exactly_the_listeners_that_were_meant(listener in api_listener()) {
        let listener = Resource::ApiListener(listener);
        let bytes = encode(&listener, ClientKind::Grpc).expect("gRPC gets API listeners");
        prop_assert_eq!(decode(listener.resource_type(), &bytes), Ok(listener.clone()));
        prop_assert_eq!(encode(&listener, ClientKind::Envoy), None);
        prop_assert_eq!(encode(&listener, ClientKind::Outrigger), None);
    }

    /// Standard fields lose what they cannot say; what they say reads back as what was said.
    #[test]
    fn standard_fields_read_back_as_they_were_said(resource in resource()) {
        for client in [ClientKind::Envoy, ClientKind::Grpc] {
            let Some(bytes) = encode(&resource, client) else { continue };
            let read = decode(resource.resource_type(), &bytes);
            prop_assert!(read.is_ok(), "{client:?}: {read:?}");
            let again = read.ok().and_then(|read| encode(&read, client));
            prop_assert_eq!(again, Some(bytes), "{:?}", client);
        }
    }

    #[test]
    fn encoding_twice_gives_the_same_bytes(resource in resource()) {
        for client in [ClientKind::Outrigger, ClientKind::Envoy, ClientKind::Grpc] {
            prop_assert_eq!(encode(&resource, client), encode(&resource.clone(), client));
        }
    }
}

/// One version for many resources, the same ones each time.
fn fingerprint() -> String {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut all = Vec::new();
    for _ in 0..200 {
        let resource = resource().new_tree(&mut runner).expect("a resource").current();
        for client in [ClientKind::Outrigger, ClientKind::Envoy, ClientKind::Grpc] {
            all.extend_from_slice(&encode(&resource, client).unwrap_or_default());
        }
    }
    version(&all)
}

/// The order of a hash map differs from process to process.
#[test]
fn two_processes_encode_the_same_bytes() {
    let here = fingerprint();
    if let Some(file) = std::env::var_os(CHILD) {
        return std::fs::write(file, here).expect("the parent's file can be written");
    }
    let file = std::env::temp_dir().join(format!("outrigger-encode-{}", std::process::id()));
    let status = Command::new(std::env::current_exe().expect("this test's own path"))
        .args(["--exact", "roundtrip::two_processes_encode_the_same_bytes"])
        .env(CHILD, &file)
        .status()
        .expect("this test runs once more");
    assert!(status.success());
    let there = std::fs::read_to_string(&file).expect("the child wrote its answer");
    std::fs::remove_file(&file).expect("the file can be removed");
    assert_eq!(here, there);
}

#[test]
fn a_version_is_sixteen_hexadecimal_digits_of_the_content() {
    assert_eq!(version(b""), "af1349b9f5f9a1a6");
    assert_ne!(version(b"a"), version(b"b"));
}
