//! `loadBalancing.subsets` of a BackendPolicy, and `subset` wherever one is picked: by labels of workloads.

use std::sync::Arc;

use super::reader::Field;
use crate::error::{Code, Problem};
use crate::subset::{Criteria, Fallback, Keys, PlaceWeights, Selector, Subsets};

/// What a selector falls back to where a document says nothing: nobody gets what is meant for others.
const OF_SELECTOR: Fallback = Fallback::Nobody;

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Nobody,
    Any,
    Default,
    Fewer,
}

const NOBODY: (&str, Word) = ("NoFallback", Word::Nobody);
const ANY: (&str, Word) = ("AnyEndpoint", Word::Any);
const DEFAULT: (&str, Word) = ("DefaultSubset", Word::Default);
const FEWER: (&str, Word) = ("KeysSubset", Word::Fewer);

/// Which endpoints a request may go to: `subset`, the labels that their workloads have.
pub(super) fn read_criteria(field: &Field<'_>) -> Criteria {
    field.some_labels().into_iter().collect()
}

/// `selectors` with their `keys`, `fallback` and `fallbackKeys`; `fallback` and `defaultSubset` for all.
pub(super) fn read_subsets(field: &Field<'_>) -> Option<Subsets> {
    let mut fields = field.fields();
    let selectors = fields.required("selectors").some(read_selector);
    let word = fields.optional("fallback").and_then(|field| field.choice(&[NOBODY, ANY, DEFAULT])).unwrap_or(Word::Any);
    let default = fields.optional("defaultSubset").map(|field| read_criteria(&field));
    let field = fields.finish();
    let fallback = match word {
        Word::Nobody => Fallback::Nobody,
        Word::Default => Fallback::Default,
        Word::Any | Word::Fewer => Fallback::Any,
    };
    let falls_back =
        fallback == Fallback::Default || selectors.iter().any(|one| one.fallback == Some(Fallback::Default));
    if falls_back && default.is_none() {
        let reason = "is required, because a fallback is DefaultSubset";
        field.note(Problem::new(Code::MissingField, reason).at_field("defaultSubset"));
    }
    if default.is_some() && !falls_back {
        let reason = "means something with a fallback of DefaultSubset only";
        field.note(Problem::new(Code::Conflict, reason).at_field("defaultSubset"));
    }
    let (panic_any, lists, places) = (false, false, PlaceWeights::Ignored);
    let subsets = Subsets { selectors, fallback, default: default.unwrap_or_default(), panic_any, lists, places };
    if subsets.keys().len() > Subsets::MAX_KEYS {
        let reason = format!("name {} keys together; there can be {}", subsets.keys().len(), Subsets::MAX_KEYS);
        field.note(Problem::new(Code::InvalidValue, reason).at_field("selectors"));
        return None;
    }
    for (index, selector) in subsets.selectors.iter().enumerate() {
        let Some(Fallback::Fewer(fewer)) = &selector.fallback else { continue };
        // Envoy takes it, and sends such requests where those go that ask for what is not divided.
        if fewer.is_subset(&selector.keys) && subsets.selector(fewer).is_none() {
            let reason = "no selector has exactly these keys, so that there are no subsets to fall back to; add one";
            let problem = Problem::new(Code::DanglingReference, reason).at_field("fallbackKeys");
            field.note(problem.at_index(index).at_field("selectors"));
        }
    }
    // What is missing is noted already.
    match subsets.check() {
        Ok(()) => Some(subsets),
        Err(problem) => {
            if problem.code != Code::MissingField {
                field.note(problem);
            }
            None
        }
    }
}

fn read_selector(field: &Field<'_>) -> Selector {
    let mut fields = field.fields();
    let keys = read_keys(&fields.required("keys"));
    let word = fields.optional("fallback").and_then(|field| field.choice(&[NOBODY, ANY, DEFAULT, FEWER]));
    let fewer = fields.optional("fallbackKeys").map(|field| read_keys(&field));
    let field = fields.finish();
    if word == Some(Word::Fewer) && fewer.is_none() {
        let reason = "is required by KeysSubset";
        field.note(Problem::new(Code::MissingField, reason).at_field("fallbackKeys"));
    }
    if fewer.is_some() && word != Some(Word::Fewer) {
        let reason = "means something with the fallback KeysSubset only";
        field.note(Problem::new(Code::Conflict, reason).at_field("fallbackKeys"));
    }
    let fallback = match word {
        None => OF_SELECTOR,
        Some(Word::Nobody) => Fallback::Nobody,
        Some(Word::Any) => Fallback::Any,
        Some(Word::Default) => Fallback::Default,
        // Without keys it is noted, and nothing is done by it.
        Some(Word::Fewer) => fewer.filter(|fewer| !fewer.is_empty()).map_or(OF_SELECTOR, Fallback::Fewer),
    };
    Selector { keys, fallback: Some(fallback) }
}

fn read_keys(field: &Field<'_>) -> Keys {
    let check = |key: &str| match key {
        "" => Err(Problem::new(Code::InvalidValue, "must be the key of a label")),
        _ => Ok(()),
    };
    let keys: Vec<Arc<str>> = field.some(|field| field.checked(check));
    let mut seen = Keys::new();
    for (index, key) in keys.into_iter().enumerate() {
        if key.is_empty() {
            // Noted already.
            continue;
        }
        if !seen.insert(Arc::clone(&key)) {
            field.note(Problem::new(Code::Conflict, "is there twice").with_value(key).at_index(index));
        }
    }
    seen
}
