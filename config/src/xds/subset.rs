//! Subsets of endpoints (`Cluster.lb_subset_config`), what endpoints are divided by (`LbEndpoint.metadata`) and what
//! requests ask of them (`metadata_match`): standard fields for our own proxy too, as they say all of it.
//!
//! gRPC has no subsets and gets none of this: its requests go to any endpoint.

use std::collections::{BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;

use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::google::protobuf as pb;

use super::value::{each, refuse_all, unsupported};
use super::wire::balancing::Subset as Entry;
use crate::error::Problem;
use crate::resource::ClientKind;
use crate::subset::{Criteria, Fallback, Keys, Known, Metadata, PlaceWeights, Selector, Subsets, Value};

use pb::value::Kind;
use xds::cluster::LbSubsetConfig;
use xds::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy as Own;
use xds::cluster::lb_subset_config::{LbSubsetFallbackPolicy, LbSubsetMetadataFallbackPolicy, LbSubsetSelector};

/// Under which name Envoy's balancers look at metadata.
const FILTER: &str = "envoy.lb";

/// How many hashers are tried. One in 720 has the right order for six keys, which is as many as documents may have.
const MAX_TRIES: usize = 50_000;

/// Makes structs whose fields come in the order of their names, so that every process encodes the same bytes. A hash map's
/// order is another with each hasher; one that has the right order is kept, since endpoints mostly have the same keys.
#[derive(Default)]
pub(super) struct Ordered(Vec<(Vec<String>, RandomState)>);

impl Ordered {
    fn fields(&mut self, fields: &[(String, pb::Value)]) -> pb::Struct {
        let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        let known = self.0.iter().find(|(known, _)| *known == names).map(|(_, state)| state.clone());
        let mut state = known.clone().unwrap_or_default();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut map = HashMap::with_hasher(state.clone());
            fields.iter().cloned().for_each(|(name, value)| drop(map.insert(name, value)));
            if map.keys().is_sorted() || tries == MAX_TRIES {
                if known.is_none() {
                    self.0.push((names, state));
                }
                return pb::Struct { fields: map };
            }
            state = RandomState::new();
        }
    }

    fn metadata(&mut self, fields: &[(String, pb::Value)]) -> core::Metadata {
        let fields = self.fields(fields);
        core::Metadata { filter_metadata: [(FILTER.to_owned(), fields)].into(), ..Default::default() }
    }

    /// What is known of an endpoint.
    pub(super) fn known(&mut self, metadata: &Metadata) -> Option<core::Metadata> {
        let said = |(key, known): (&Arc<str>, &Known)| {
            let value = match known {
                Known::One(value) => say(value),
                Known::Several(values) => {
                    let values = values.iter().map(say).collect();
                    pb::Value { kind: Some(Kind::ListValue(pb::ListValue { values })) }
                }
            };
            (key.to_string(), value)
        };
        (!metadata.is_empty()).then(|| self.metadata(&metadata.iter().map(said).collect::<Vec<_>>()))
    }
}

fn say(value: &Value) -> pb::Value {
    let kind = match value {
        Value::Text(text) => Kind::StringValue(text.to_string()),
        Value::Number(bits) => Kind::NumberValue(f64::from_bits(*bits)),
        Value::Bool(value) => Kind::BoolValue(*value),
    };
    pb::Value { kind: Some(kind) }
}

fn said(criteria: &Criteria) -> Vec<(String, pb::Value)> {
    criteria.0.iter().map(|(key, value)| (key.to_string(), say(value))).collect()
}

/// Encodes what is asked; nothing where nothing is.
pub(super) fn encode_criteria(criteria: &Criteria, client: ClientKind) -> Option<core::Metadata> {
    (!criteria.is_empty() && client != ClientKind::Grpc).then(|| Ordered::default().metadata(&said(criteria)))
}

/// Encodes how endpoints are divided.
pub(super) fn encode(subsets: &Subsets) -> LbSubsetConfig {
    let names = |keys: &Keys| keys.iter().map(|key| key.to_string()).collect();
    let selector = |selector: &Selector| LbSubsetSelector {
        keys: names(&selector.keys),
        fallback_policy: match &selector.fallback {
            None => Own::NotDefined,
            Some(Fallback::Nobody) => Own::NoFallback,
            Some(Fallback::Any) => Own::AnyEndpoint,
            Some(Fallback::Default) => Own::DefaultSubset,
            Some(Fallback::Fewer(_)) => Own::KeysSubset,
        }
        .into(),
        fallback_keys_subset: match &selector.fallback {
            Some(Fallback::Fewer(keys)) => names(keys),
            _ => Vec::new(),
        },
        single_host_per_subset: false,
    };
    LbSubsetConfig {
        fallback_policy: match subsets.fallback {
            Fallback::Nobody | Fallback::Fewer(_) => LbSubsetFallbackPolicy::NoFallback,
            Fallback::Any => LbSubsetFallbackPolicy::AnyEndpoint,
            Fallback::Default => LbSubsetFallbackPolicy::DefaultSubset,
        }
        .into(),
        default_subset: (!subsets.default.is_empty()).then(|| Ordered::default().fields(&said(&subsets.default))),
        subset_selectors: subsets.selectors.iter().map(selector).collect(),
        locality_weight_aware: subsets.places != PlaceWeights::Ignored,
        scale_locality_weight: subsets.places == PlaceWeights::Scaled,
        panic_mode_any: subsets.panic_any,
        list_as_any: subsets.lists,
        metadata_fallback_policy: LbSubsetMetadataFallbackPolicy::MetadataNoFallback.into(),
    }
}

/// Encodes it as an entry of `Cluster.load_balancing_policy`, around other entries.
pub(super) fn encode_around(subsets: &Subsets, list: xds::LoadBalancingPolicy) -> Entry {
    let config = encode(subsets);
    Entry {
        fallback_policy: config.fallback_policy,
        default_subset: config.default_subset,
        subset_selectors: config.subset_selectors,
        locality_weight_aware: config.locality_weight_aware,
        scale_locality_weight: config.scale_locality_weight,
        panic_mode_any: config.panic_mode_any,
        list_as_any: config.list_as_any,
        metadata_fallback_policy: config.metadata_fallback_policy,
        subset_lb_policy: Some(list),
        allow_redundant_keys: false,
    }
}

/// The same message under another name, as an entry of `Cluster.load_balancing_policy`.
fn as_config(entry: Entry) -> LbSubsetConfig {
    LbSubsetConfig {
        fallback_policy: entry.fallback_policy,
        default_subset: entry.default_subset,
        subset_selectors: entry.subset_selectors,
        locality_weight_aware: entry.locality_weight_aware,
        scale_locality_weight: entry.scale_locality_weight,
        panic_mode_any: entry.panic_mode_any,
        list_as_any: entry.list_as_any,
        metadata_fallback_policy: entry.metadata_fallback_policy,
    }
}

/// Decodes it. Without selectors there are no subsets, whatever else is said, as with Envoy, where it does not stand in a
/// policy ([`decode_entry`]). A selector that promises a
/// single endpoint for each of its subsets (`single_host_per_subset`) is taken for any other: where the promise holds, the
/// same endpoint is chosen, and where it does not, Envoy asks one of them alone.
pub(super) fn decode(message: Option<&LbSubsetConfig>) -> Result<Option<Subsets>, Problem> {
    let message = message.filter(|message| !message.subset_selectors.is_empty());
    message.map(read_config).transpose()
}

/// Decodes an entry of `Cluster.load_balancing_policy`, which needs no selectors to have a default subset.
pub(super) fn decode_entry(entry: Entry) -> Result<Subsets, Problem> {
    read_config(&as_config(entry))
}

fn read_config(message: &LbSubsetConfig) -> Result<Subsets, Problem> {
    let in_metadata = LbSubsetMetadataFallbackPolicy::MetadataNoFallback as i32;
    refuse_all([("metadata_fallback_policy", message.metadata_fallback_policy != in_metadata)])?;
    let fallback = match LbSubsetFallbackPolicy::try_from(message.fallback_policy) {
        Ok(LbSubsetFallbackPolicy::NoFallback) => Fallback::Nobody,
        Ok(LbSubsetFallbackPolicy::AnyEndpoint) => Fallback::Any,
        Ok(LbSubsetFallbackPolicy::DefaultSubset) => Fallback::Default,
        Err(_) => return Err(unsupported("fallback_policy", "is not known").with_value(message.fallback_policy)),
    };
    let default = message.default_subset.as_ref().map_or(Ok(Criteria::default()), read);
    let mut selectors = each("subset_selectors", &message.subset_selectors, decode_selector)?;
    // Two with the same keys are one; Envoy takes what the first says.
    let mut seen = BTreeSet::new();
    selectors.retain(|selector| seen.insert(selector.keys.clone()));
    Ok(Subsets {
        selectors,
        fallback,
        default: default.map_err(|problem| problem.at_field("default_subset"))?,
        panic_any: message.panic_mode_any,
        lists: message.list_as_any,
        places: match (message.locality_weight_aware, message.scale_locality_weight) {
            (false, _) => PlaceWeights::Ignored,
            (true, false) => PlaceWeights::Whole,
            (true, true) => PlaceWeights::Scaled,
        },
    })
}

fn decode_selector(message: &LbSubsetSelector) -> Result<Selector, Problem> {
    let keys = |names: &[String]| -> Keys { names.iter().map(|name| Arc::from(name.as_str())).collect() };
    let own = keys(&message.keys);
    if own.is_empty() {
        return Err(unsupported("keys", "needs at least one item"));
    }
    let fewer = keys(&message.fallback_keys_subset);
    let fallback = match Own::try_from(message.fallback_policy) {
        Ok(Own::NotDefined) => None,
        Ok(Own::NoFallback) => Some(Fallback::Nobody),
        Ok(Own::AnyEndpoint) => Some(Fallback::Any),
        Ok(Own::DefaultSubset) => Some(Fallback::Default),
        Ok(Own::KeysSubset) if fewer.is_empty() || !fewer.is_subset(&own) || fewer == own => {
            return Err(unsupported(
                "fallback_keys_subset",
                "must be some of the selector's keys, and not all of them",
            ));
        }
        Ok(Own::KeysSubset) => Some(Fallback::Fewer(fewer)),
        Err(_) => return Err(unsupported("fallback_policy", "is not known").with_value(message.fallback_policy)),
    };
    Ok(Selector { keys: own, fallback })
}

/// Decodes what a route asks; what metadata says under other names is not for balancers.
pub(super) fn decode_criteria(message: Option<&core::Metadata>) -> Result<Criteria, Problem> {
    let Some(fields) = message.and_then(|message| message.filter_metadata.get(FILTER)) else {
        return Ok(Criteria::default());
    };
    let inner =
        |problem: Problem| problem.at_field(&format!("filter_metadata[\"{FILTER}\"]")).at_field("metadata_match");
    read(fields).map_err(inner)
}

fn read(message: &pb::Struct) -> Result<Criteria, Problem> {
    let mut asked = Criteria::default();
    for (key, value) in &message.fields {
        let value = scalar(value).ok_or_else(|| unsupported(key, "must be a string, a number or a boolean"))?;
        asked.0.insert(key.as_str().into(), value);
    }
    Ok(asked)
}

/// Decodes what is known of an endpoint; what no request can ask for is left out.
pub(super) fn decode_known(message: Option<&core::Metadata>) -> Metadata {
    let fields = message.and_then(|message| message.filter_metadata.get(FILTER));
    let known = |(key, value): (&String, &pb::Value)| {
        let known = match &value.kind {
            Some(Kind::ListValue(list)) => Known::Several(list.values.iter().filter_map(scalar).collect()),
            _ => Known::One(scalar(value)?),
        };
        Some((key.as_str().into(), known))
    };
    fields.into_iter().flat_map(|fields| &fields.fields).filter_map(known).collect()
}

fn scalar(value: &pb::Value) -> Option<Value> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(Value::Text(text.as_str().into())),
        // What is no number is nobody's equal.
        Kind::NumberValue(number) if !number.is_nan() => Some(Value::number(*number)),
        Kind::BoolValue(value) => Some(Value::Bool(*value)),
        _ => None,
    }
}
