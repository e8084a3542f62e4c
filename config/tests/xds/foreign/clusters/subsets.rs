//! Subsets of a cluster, in both of their places.

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::load_balancing_policies as balancing;
use envoy_types::pb::google::protobuf as pb;
use outrigger_config::cluster::Balancing;
use outrigger_config::error::Code;
use outrigger_config::subset::{Fallback, PlaceWeights, Selector, Subsets};

use super::super::{any, pack, refused};
use super::{base, read, subset_config};

use cluster::cluster::LbSubsetConfig;
use cluster::cluster::lb_subset_config::LbSubsetFallbackPolicy;
use cluster::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;

#[test]
fn subsets_are_taken_as_envoy_writes_them() {
    let mut config = LbSubsetConfig {
        fallback_policy: LbSubsetFallbackPolicy::DefaultSubset.into(),
        default_subset: Some(super::super::labels(&[("stage", "prod")])),
        locality_weight_aware: true,
        scale_locality_weight: true,
        panic_mode_any: true,
        list_as_any: true,
        ..subset_config()
    };
    config.subset_selectors[0].fallback_policy = LbSubsetSelectorFallbackPolicy::KeysSubset.into();
    config.subset_selectors[0].fallback_keys_subset = vec!["version".into()];
    config.subset_selectors[1].single_host_per_subset = true;
    // The same keys in another order: the first of the two counts.
    let mut again = config.subset_selectors[0].clone();
    again.keys.reverse();
    again.fallback_policy = LbSubsetSelectorFallbackPolicy::AnyEndpoint.into();
    config.subset_selectors.push(again);
    let with = |config| cluster::Cluster { lb_subset_config: Some(config), ..base() };
    let subsets = read(&with(config.clone())).expect("taken").subsets.expect("some");
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).into()).collect();
    assert_eq!(
        subsets,
        Subsets {
            selectors: vec![
                Selector { keys: keys(&["stage", "version"]), fallback: Some(Fallback::Fewer(keys(&["version"]))) },
                Selector { keys: keys(&["version"]), fallback: None },
            ],
            fallback: Fallback::Default,
            default: [("stage", "prod")].into_iter().collect(),
            panic_any: true,
            lists: true,
            places: PlaceWeights::Scaled,
        }
    );
    // Without selectors Envoy has none, whatever else is said.
    let bare = LbSubsetConfig { subset_selectors: Vec::new(), ..config };
    assert_eq!(read(&with(bare)).expect("taken").subsets, None);
}

#[test]
fn subsets_around_another_policy_are_taken() {
    use balancing::subset::v3::subset::LbSubsetSelector;
    let entry = |any: pb::Any| {
        let config = core::TypedExtensionConfig { name: "policy".into(), typed_config: Some(any) };
        let policy = cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) };
        cluster::LoadBalancingPolicy { policies: vec![policy] }
    };
    let maglev = pack(&balancing::maglev::v3::Maglev::default());
    let subset = balancing::subset::v3::Subset {
        fallback_policy: 1,
        subset_selectors: vec![LbSubsetSelector { keys: vec!["version".into()], ..Default::default() }],
        subset_lb_policy: Some(entry(maglev.clone())),
        ..Default::default()
    };
    let with = |any| read(&cluster::Cluster { load_balancing_policy: Some(entry(any)), ..base() });
    let taken = with(pack(&subset)).expect("taken");
    let subsets = taken.subsets.expect("some");
    assert_eq!((taken.balancing, subsets.fallback), (Balancing::Maglev { table_size: 65_537 }, Fallback::Any));
    assert_eq!(with(maglev).expect("taken").subsets, None);
    // Here Envoy needs no selectors to have a default subset.
    let bare = balancing::subset::v3::Subset { subset_selectors: Vec::new(), ..subset.clone() };
    assert!(with(pack(&bare)).expect("taken").subsets.is_some());
    let place = "load_balancing_policy.policies[0].typed_extension_config.typed_config";
    for (label, changed, code, field) in [
        (
            "keys passed over",
            balancing::subset::v3::Subset { allow_redundant_keys: true, ..subset.clone() },
            Code::Unsupported,
            "allow_redundant_keys",
        ),
        (
            "subsets of subsets",
            balancing::subset::v3::Subset { subset_lb_policy: Some(entry(pack(&subset))), ..subset.clone() },
            Code::Unsupported,
            "subset_lb_policy",
        ),
        (
            "nothing inside",
            balancing::subset::v3::Subset { subset_lb_policy: None, ..subset.clone() },
            Code::MissingField,
            "subset_lb_policy",
        ),
        (
            "nothing known inside",
            balancing::subset::v3::Subset { subset_lb_policy: Some(entry(any("a.Policy", b""))), ..subset },
            Code::Unsupported,
            "subset_lb_policy",
        ),
    ] {
        let path = format!("{place}.{field}");
        refused(label, with(pack(&changed)), code, path.trim_start_matches("load_balancing_policy."));
    }
}
