use envoy_types::pb::envoy::config::bootstrap::v3 as b;
use outrigger_config::resource::*;
use outrigger_config::xds::encode;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use prost::Message;
#[test]
fn write() {
    let rng = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[9; 32]);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(Default::default(), rng);
    let mut s = b::bootstrap::StaticResources::default();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let r = super::strategies::resource().new_tree(&mut runner).unwrap().current();
        if !seen.insert((r.name().to_string(), r.resource_type())) {
            continue;
        }
        let Some(bytes) = encode(&r, ClientKind::Envoy) else { continue };
        match r {
            Resource::Listener(mut l) => {
                l.address = format!("127.0.0.1:{}", 20000 + s.listeners.len()).parse().unwrap();
                let bytes = encode(&Resource::Listener(l), ClientKind::Envoy).unwrap();
                s.listeners.push(Message::decode(bytes).unwrap())
            }
            Resource::Cluster(_) => s.clusters.push(Message::decode(bytes).unwrap()),
            _ => {}
        }
    }
    let mut ads = envoy_types::pb::envoy::config::cluster::v3::Cluster::default();
    ads.name = "ADS".into();
    s.clusters.push(ads);
    use envoy_types::pb::envoy::config::core::v3 as core;
    let boot = b::Bootstrap {
        node: Some(core::Node { id: "n".into(), cluster: "c".into(), ..Default::default() }),
        static_resources: Some(s),
        dynamic_resources: Some(b::bootstrap::DynamicResources {
            ads_config: Some(core::ApiConfigSource {
                api_type: 2,
                transport_api_version: 2,
                grpc_services: vec![core::GrpcService {
                    target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                        core::grpc_service::EnvoyGrpc { cluster_name: "ADS".into(), ..Default::default() },
                    )),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    std::fs::write("/tmp/t/envoy-check.pb", boot.encode_to_vec()).unwrap();
}
