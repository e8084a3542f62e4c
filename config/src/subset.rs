//! Parts of a destination's endpoints, told apart by what their source knows of them (Envoy's subset load balancing,
//! `Cluster.lb_subset_config`).
//!
//! A selector names keys, and makes a subset of each combination of values that endpoints have under them. A request that
//! comes with exactly the keys of a selector goes to an endpoint with its values; where there is none, or no selector has
//! its keys, a [`Fallback`] says what becomes of it. Here is only what that means; `proxy::balance` makes it fast.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::error::{Code, Problem};

/// Names of what is known of endpoints, as a selector has them.
pub type Keys = BTreeSet<Arc<str>>;

/// A value under a key: text for labels of workloads; another control plane may say numbers and truths, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Text.
    Text(Arc<str>),
    /// The bits of a number; those of minus zero are of zero.
    Number(u64),
    /// True or false.
    Bool(bool),
}

impl Value {
    /// A number.
    pub fn number(value: f64) -> Self {
        Value::Number(if value == 0.0 { 0.0_f64.to_bits() } else { value.to_bits() })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(bits) => f64::from_bits(*bits).fmt(f),
            Value::Bool(value) => value.fmt(f),
        }
    }
}

/// What is known of an endpoint under one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// One value.
    One(Value),
    /// A list, of which one counts where [`Subsets::lists`] says so, and else none.
    Several(Box<[Value]>),
}

/// What the source of an endpoint knows of it (`LbEndpoint.metadata.filter_metadata["envoy.lb"]`): of all that, what
/// subsets are made by.
pub type Metadata = BTreeMap<Arc<str>, Known>;

/// What a request asks of its endpoint (`RouteAction.metadata_match`); empty: nothing in particular.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Criteria(pub BTreeMap<Arc<str>, Value>);

impl Criteria {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is asked about.
    pub fn keys(&self) -> Keys {
        self.0.keys().map(Arc::clone).collect()
    }

    /// With what `nearer` asks, which counts where both speak of one key.
    #[must_use]
    pub fn with(&self, nearer: &Criteria) -> Criteria {
        Criteria(self.0.iter().chain(&nearer.0).map(|(key, value)| (Arc::clone(key), value.clone())).collect())
    }

    /// What it asks as `other` does.
    #[must_use]
    pub fn shared(&self, other: &Criteria) -> Criteria {
        let kept = self.0.iter().filter(|(key, value)| other.0.get(*key) == Some(value));
        Criteria(kept.map(|(key, value)| (Arc::clone(key), value.clone())).collect())
    }

    /// What of it is about these keys.
    #[must_use]
    pub fn about(&self, keys: &Keys) -> Criteria {
        let kept = self.0.iter().filter(|(key, _)| keys.contains(*key));
        Criteria(kept.map(|(key, value)| (Arc::clone(key), value.clone())).collect())
    }

    /// Whether an endpoint of which this is known is one that is asked for; `lists`: whether one of a list is enough.
    pub fn fits(&self, metadata: &Metadata, lists: bool) -> bool {
        self.0.iter().all(|(key, wanted)| match metadata.get(key) {
            Some(Known::One(value)) => value == wanted,
            Some(Known::Several(values)) => lists && values.contains(wanted),
            None => false,
        })
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Criteria {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        Criteria(labels.into_iter().map(|(key, value)| (key.into(), Value::Text(value.into()))).collect())
    }
}

impl fmt::Display for Criteria {
    /// `stage=prod, version=1.0`; nothing where nothing is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key}={value}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Where a request goes whose subset is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Nowhere, as if there were no endpoints.
    #[default]
    Nobody,
    /// To any endpoint.
    Any,
    /// To an endpoint of the default subset.
    Default,
    /// To whomever it would go if it asked about these keys alone; only where a selector says it.
    Fewer(Keys),
}

/// Keys that make subsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The keys, at least one.
    pub keys: Keys,
    /// What becomes of requests with these keys whose subset has no endpoint; absent: what holds for all.
    pub fallback: Option<Fallback>,
}

/// How much the weights of places count inside a subset, where places are weighed at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaceWeights {
    /// Not at all.
    #[default]
    Ignored,
    /// As they are (`locality_weight_aware`).
    Whole,
    /// As far as the endpoints of the place are in the subset (`scale_locality_weight`).
    Scaled,
}

/// How the endpoints of a destination are divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsets {
    /// What makes subsets; no keys twice. Without any there is the default subset alone.
    pub selectors: Vec<Selector>,
    /// What becomes of requests that ask for nothing, or about keys that no selector has; never
    /// [`Fallback::Fewer`].
    pub fallback: Fallback,
    /// Who is in the default subset; empty: every endpoint.
    pub default: Criteria,
    /// Whether any endpoint will do where `fallback` finds none (`panic_mode_any`).
    pub panic_any: bool,
    /// Whether an endpoint with a list of values is in the subset of each of them (`list_as_any`).
    pub lists: bool,
    /// How much the weights of places count in a subset.
    pub places: PlaceWeights,
}

impl Subsets {
    /// How many keys documents may have in all: each is said of every endpoint.
    pub const MAX_KEYS: usize = 6;

    /// What becomes of a request that asks so: the subset it goes to, if an endpoint `is_there`, or what it falls back to.
    pub fn lead(&self, asked: &Criteria, is_there: &dyn Fn(&Criteria) -> bool) -> Lead {
        // Each turn has fewer keys than the one before.
        let mut asked = asked.clone();
        let mut fewer = false;
        loop {
            let selector = if asked.is_empty() { None } else { self.selector(&asked.keys()) };
            let (miss, fallback) = match selector {
                Some(_) if is_there(&asked) => return Lead::Subset { of: asked, fewer },
                Some(Selector { fallback: Some(own), .. }) => (Miss::Empty, own),
                Some(_) => (Miss::Empty, &self.fallback),
                None if asked.is_empty() => (Miss::Unasked, &self.fallback),
                None => (Miss::Unknown, &self.fallback),
            };
            let rescued = self.panic_any && selector.is_none_or(|selector| selector.fallback.is_none());
            match fallback {
                Fallback::Fewer(keys) if keys.len() < asked.0.len() => (asked, fewer) = (asked.about(keys), true),
                Fallback::Fewer(_) | Fallback::Nobody => return Lead::Nobody(miss),
                Fallback::Any => return Lead::Any(miss),
                Fallback::Default if self.default.is_empty() || is_there(&self.default) => {
                    return Lead::Default { miss, rescued };
                }
                Fallback::Default if rescued => return Lead::Any(miss),
                Fallback::Default => return Lead::Nobody(miss),
            }
        }
    }

    /// The selector of exactly these keys.
    pub fn selector(&self, keys: &Keys) -> Option<&Selector> {
        self.selectors.iter().find(|selector| selector.keys == *keys)
    }

    /// Every key that counts.
    pub fn keys(&self) -> Keys {
        let of_selectors = self.selectors.iter().flat_map(|selector| &selector.keys);
        of_selectors.chain(self.default.0.keys()).map(Arc::clone).collect()
    }

    /// The parts hold together.
    pub fn check(&self) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for (index, selector) in self.selectors.iter().enumerate() {
            let at = |problem: Problem| problem.at_index(index).at_field("selectors");
            if selector.keys.is_empty() || selector.keys.iter().any(|key| key.is_empty()) {
                return Err(at(
                    Problem::new(Code::MissingField, "needs at least one key, and none empty").at_field("keys")
                ));
            }
            if !seen.insert(&selector.keys) {
                return Err(at(Problem::new(Code::Conflict, "another one has the same keys").at_field("keys")));
            }
            if let Some(Fallback::Fewer(keys)) = &selector.fallback
                && (keys.is_empty() || !keys.is_subset(&selector.keys) || *keys == selector.keys)
            {
                let reason = "must be some of the selector's keys, and not all of them";
                return Err(at(Problem::new(Code::Conflict, reason).at_field("fallbackKeys")));
            }
        }
        match self.fallback {
            Fallback::Fewer(_) => Err(Problem::new(Code::Conflict, "has no keys to leave out").at_field("fallback")),
            _ => Ok(()),
        }
    }
}

/// Why a request did not get the subset it might have asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// It asked for none.
    Unasked,
    /// No selector has its keys.
    Unknown,
    /// No endpoint has its values.
    Empty,
}

/// Where a request is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To a subset that has endpoints; `fewer`: by some of its keys alone.
    Subset {
        /// Which one.
        of: Criteria,
        /// Whether that is less than what was asked.
        fewer: bool,
    },
    /// To any endpoint.
    Any(Miss),
    /// To the default subset, which has endpoints, and if it is `rescued` to any where none of them takes it.
    Default {
        /// Why.
        miss: Miss,
        /// Whether any endpoint will do then.
        rescued: bool,
    },
    /// Nowhere.
    Nobody(Miss),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Criteria, Fallback, Keys, Known, Lead, Metadata, Miss, PlaceWeights, Selector, Subsets, Value};
    use crate::error::Code;

    fn keys(keys: &[&str]) -> Keys {
        keys.iter().map(|key| Arc::from(*key)).collect()
    }

    fn asks(labels: &[(&'static str, &'static str)]) -> Criteria {
        labels.iter().copied().collect()
    }

    /// The hosts of the example in Envoy's documentation ("Load Balancer Subsets", "Example"), and what is known of them.
    const HOSTS: [(&str, &[(&str, &str)]); 7] = [
        ("e1", &[("stage", "prod"), ("version", "1.0"), ("type", "std"), ("xlarge", "true")]),
        ("e2", &[("stage", "prod"), ("version", "1.0"), ("type", "std")]),
        ("e3", &[("stage", "prod"), ("version", "1.1"), ("type", "std")]),
        ("e4", &[("stage", "prod"), ("version", "1.1"), ("type", "std")]),
        ("e5", &[("stage", "prod"), ("version", "1.0"), ("type", "bigmem")]),
        ("e6", &[("stage", "prod"), ("version", "1.1"), ("type", "bigmem")]),
        ("e7", &[("stage", "dev"), ("version", "1.2-pre"), ("type", "std")]),
    ];

    fn known(labels: &[(&str, &str)]) -> Metadata {
        let known = |(key, value): &(&str, &str)| (Arc::from(*key), Known::One(Value::Text(Arc::from(*value))));
        labels.iter().map(known).collect()
    }

    fn example() -> Subsets {
        let selector = |of: &[&str]| Selector { keys: keys(of), fallback: None };
        Subsets {
            selectors: vec![
                selector(&["stage", "type"]),
                selector(&["stage", "version"]),
                selector(&["version"]),
                selector(&["xlarge", "version"]),
            ],
            fallback: Fallback::Default,
            default: asks(&[("stage", "prod"), ("type", "std"), ("version", "1.0")]),
            panic_any: false,
            lists: false,
            places: PlaceWeights::Ignored,
        }
    }

    /// The hosts that a request may go to.
    fn hosts(subsets: &Subsets, asked: &Criteria) -> Vec<&'static str> {
        let of = |criteria: &Criteria| -> Vec<&'static str> {
            HOSTS
                .iter()
                .filter(|(_, labels)| criteria.fits(&known(labels), subsets.lists))
                .map(|(name, _)| *name)
                .collect()
        };
        match subsets.lead(asked, &|criteria| !of(criteria).is_empty()) {
            Lead::Subset { of: criteria, .. } => of(&criteria),
            Lead::Any(_) => of(&Criteria::default()),
            Lead::Default { .. } => of(&subsets.default),
            Lead::Nobody(_) => Vec::new(),
        }
    }

    #[test]
    fn hosts_are_those_of_envoys_worked_example() {
        let subsets = example();
        subsets.check().expect("valid");
        // The ten subsets that the documentation lists, by selector.
        for (asked, expected) in [
            (&[("stage", "prod"), ("type", "std")][..], &["e1", "e2", "e3", "e4"][..]),
            (&[("stage", "prod"), ("type", "bigmem")], &["e5", "e6"]),
            (&[("stage", "dev"), ("type", "std")], &["e7"]),
            (&[("stage", "prod"), ("version", "1.0")], &["e1", "e2", "e5"]),
            (&[("stage", "prod"), ("version", "1.1")], &["e3", "e4", "e6"]),
            (&[("stage", "dev"), ("version", "1.2-pre")], &["e7"]),
            (&[("version", "1.0")], &["e1", "e2", "e5"]),
            (&[("version", "1.1")], &["e3", "e4", "e6"]),
            (&[("version", "1.2-pre")], &["e7"]),
            (&[("version", "1.0"), ("xlarge", "true")], &["e1"]),
        ] {
            assert_eq!(hosts(&subsets, &asks(asked)), expected, "{asked:?}");
        }
        // And the default subset, for whoever asks for nothing, or for what is not there.
        for asked in [&[][..], &[("stage", "prod")], &[("version", "1.3")], &[("other", "x"), ("version", "1.0")]] {
            assert_eq!(hosts(&subsets, &asks(asked)), ["e1", "e2"], "{asked:?}");
        }
    }

    #[test]
    fn a_selectors_fallback_is_for_its_own_keys_alone() {
        let mut subsets = example();
        subsets.fallback = Fallback::Any;
        subsets.selectors[2].fallback = Some(Fallback::Nobody);
        subsets.selectors[1].fallback = Some(Fallback::Fewer(keys(&["version"])));
        let all: Vec<_> = HOSTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(hosts(&subsets, &asks(&[("version", "1.3")])), [""; 0]);
        assert_eq!(hosts(&subsets, &asks(&[])), all);
        assert_eq!(hosts(&subsets, &asks(&[("stage", "prod"), ("type", "odd")])), all);
        // One stage more than there is: by the version alone, and nobody where that is not there either.
        assert_eq!(hosts(&subsets, &asks(&[("stage", "dev"), ("version", "1.1")])), ["e3", "e4", "e6"]);
        assert_eq!(hosts(&subsets, &asks(&[("stage", "dev"), ("version", "1.3")])), [""; 0]);
    }

    #[test]
    fn why_a_request_falls_back_is_known() {
        let mut subsets = example();
        let lead = |subsets: &Subsets, asked: &[(&'static str, &'static str)], there: bool| {
            subsets.lead(&asks(asked), &|criteria| there && *criteria == subsets.default)
        };
        assert_eq!(lead(&subsets, &[], true), Lead::Default { miss: Miss::Unasked, rescued: false });
        assert_eq!(lead(&subsets, &[("stage", "x")], true), Lead::Default { miss: Miss::Unknown, rescued: false });
        assert_eq!(lead(&subsets, &[("version", "x")], true), Lead::Default { miss: Miss::Empty, rescued: false });
        assert_eq!(lead(&subsets, &[], false), Lead::Nobody(Miss::Unasked));
        subsets.panic_any = true;
        assert_eq!(lead(&subsets, &[], true), Lead::Default { miss: Miss::Unasked, rescued: true });
        assert_eq!(lead(&subsets, &[], false), Lead::Any(Miss::Unasked));
        subsets.fallback = Fallback::Nobody;
        assert_eq!(lead(&subsets, &[], true), Lead::Nobody(Miss::Unasked), "what has no fallback needs no rescue");
    }

    #[test]
    fn one_of_a_list_is_enough_where_lists_count() {
        let list = Known::Several([Value::number(1.0), Value::Text("a".into())].into());
        let metadata: Metadata = [("k".into(), list)].into();
        for (value, fits) in [(Value::Text("a".into()), true), (Value::number(1.0), true), (Value::Bool(true), false)] {
            let asked = Criteria([("k".into(), value)].into());
            assert_eq!((asked.fits(&metadata, true), asked.fits(&metadata, false)), (fits, false));
        }
        assert_eq!(Value::number(-0.0), Value::number(0.0));
    }

    #[test]
    fn what_holds_together_is_checked() {
        let bad = |change: fn(&mut Subsets)| {
            let mut subsets = example();
            change(&mut subsets);
            let problem = subsets.check().expect_err("refused");
            (problem.code, problem.path)
        };
        let expected = |code, path: &str| (code, path.to_owned());
        assert_eq!(bad(|one| one.selectors[1].keys.clear()), expected(Code::MissingField, "selectors[1].keys"));
        assert_eq!(
            bad(|one| one.selectors[1].keys = one.selectors[0].keys.clone()),
            expected(Code::Conflict, "selectors[1].keys")
        );
        for of in [&["version"][..], &["stage"], &[]] {
            let fewer = Some(Fallback::Fewer(keys(of)));
            let mut subsets = example();
            subsets.selectors[2].fallback = fewer;
            assert_eq!(subsets.check().expect_err("refused").path, "selectors[2].fallbackKeys");
        }
        assert_eq!(bad(|one| one.fallback = Fallback::Fewer(Keys::new())), expected(Code::Conflict, "fallback"));
    }
}
