//! Arbitrary assignments of endpoints, and the subsets that divide them.

use std::sync::Arc;

use outrigger_config::endpoint::{Assignment, Endpoint, Health, Locality, LocalityWeight};
use outrigger_config::subset::{Criteria, Fallback, Known, Metadata, PlaceWeights, Selector, Subsets, Value};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::value::{address, name, text};

/// Any assignment.
pub(crate) fn assignment() -> impl Strategy<Value = Assignment> {
    let weights = of((locality(), 0..5u32));
    (name(), vec(endpoint(), 0..6), 100..300u32, weights).prop_map(|(name, mut endpoints, factor, weights)| {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let weight = |(locality, weight)| LocalityWeight { priority: 0, locality, weight };
        let assignment = Assignment::try_new(name, endpoints).expect("distinct addresses");
        assignment.overprovisioned(factor).weighing(weights.into_iter().map(weight).collect())
    })
}

pub(super) fn locality() -> impl Strategy<Value = Locality> {
    ("[ab]?", "[ab]?").prop_map(|(region, zone)| Locality { region: region.into(), zone: zone.into() })
}

pub(super) fn endpoint() -> impl Strategy<Value = Endpoint> {
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Draining), Just(Health::Unhealthy)];
    let place = (locality(), prop_oneof![Just(0), 0..129u32]);
    (address(), 1..u32::MAX, health, place, text(), text(), metadata()).prop_map(
        |(address, weight, health, (locality, priority), workload, version, metadata)| Endpoint {
            address,
            weight,
            health,
            priority,
            locality,
            workload,
            version,
            metadata,
        },
    )
}

fn label() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Text),
        any::<i16>().prop_map(|one| Value::number(one.into())),
        any::<bool>().prop_map(Value::Bool)
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let list = vec(label(), 0..3).prop_map(|values| Known::Several(values.into()));
    btree_map("[ab]{1,2}".prop_map(Arc::from), prop_oneof![label().prop_map(Known::One), list], 0..4)
}

pub(super) fn criteria() -> impl Strategy<Value = Criteria> {
    btree_map("[ab]{1,2}".prop_map(Arc::from), label(), 0..4).prop_map(Criteria)
}

pub(super) fn subsets() -> impl Strategy<Value = Subsets> {
    let fallback = || prop_oneof![Just(Fallback::Nobody), Just(Fallback::Any), Just(Fallback::Default)];
    let keys = btree_set("[ab]{1,2}".prop_map(Arc::from), 1..4);
    let selector = (keys, of(fallback()), any::<bool>()).prop_map(|(keys, fallback, fewer)| {
        let first = keys.iter().take(1).cloned().collect();
        let fewer = (fewer && keys.len() > 1).then_some(Fallback::Fewer(first));
        Selector { keys, fallback: fewer.or(fallback) }
    });
    let places = prop_oneof![Just(PlaceWeights::Ignored), Just(PlaceWeights::Whole), Just(PlaceWeights::Scaled)];
    (vec(selector, 1..4), fallback(), criteria(), any::<bool>(), any::<bool>(), places).prop_map(
        |(mut selectors, fallback, default, panic_any, lists, places)| {
            selectors.sort_by(|a, b| a.keys.cmp(&b.keys));
            selectors.dedup_by(|a, b| a.keys == b.keys);
            Subsets { selectors, fallback, default, panic_any, lists, places }
        },
    )
}
