//! The written list of differences, and the judgement of each case by it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::case::Case;
use super::outcome::differences;

/// An entry of `deviations.yaml`: a difference, for some cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// What deviates, in a few words.
    pub what: String,
    /// Whether it is meant, or a defect that is known.
    pub kind: Kind,
    /// What Envoy does, for people.
    pub envoy: String,
    /// What ours does, for people.
    pub ours: String,
    /// Why.
    pub why: String,
    /// Which cases it is seen in; a `*` stands for anything.
    pub cases: Vec<String>,
    /// Every place that differs, with what Envoy shows there and what ours does. `*` in a place stands for any call
    /// or attempt.
    pub differs: BTreeMap<String, (Value, Value)>,
}

/// What kind of difference it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ours is meant to be so.
    Deliberate,
    /// Ours is wrong, and not yet mended.
    Defect,
}

/// How a case came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The same on both sides, as expected.
    Agrees,
    /// Differs as it is written, to the letter.
    Deviates,
    /// Anything else, with what is wrong.
    Fails(String),
}

/// Reads the list.
pub fn read(file: &Path) -> Vec<Deviation> {
    let text = std::fs::read_to_string(file).expect("a readable file");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether a text is what a pattern with `*` says.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| is_like(after, &rest[at..]))
}

/// Judges a case by what both sides showed.
pub fn judge(case: &Case, envoy: &Value, ours: &Value, deviations: &[Deviation]) -> Verdict {
    let mut wrong = unexpected(case, envoy);
    let mut written: BTreeMap<&str, &(Value, Value)> = BTreeMap::new();
    for deviation in deviations.iter().filter(|one| one.cases.iter().any(|pattern| is_like(pattern, &case.name))) {
        written.extend(deviation.differs.iter().map(|(place, both)| (place.as_str(), both)));
    }
    // What was never served can only differ by that.
    let found = match ours.get("refused") {
        Some(problem) => BTreeMap::from([("refused".to_owned(), (Value::Null, problem.clone()))]),
        None => differences(envoy, ours),
    };
    for (place, both) in &found {
        match written.iter().find(|(pattern, _)| is_like(pattern, place)) {
            Some((_, known)) if is_same(&known.0, &both.0) && is_same(&known.1, &both.1) => {}
            Some((_, known)) => wrong.push(format!("{place}: {} (written: {})", shown(both), shown(known))),
            None => wrong.push(format!("{place}: {}", shown(both))),
        }
    }
    for (pattern, known) in &written {
        if !found.keys().any(|place| is_like(pattern, place)) {
            wrong.push(format!("{pattern}: no longer differs (written: {})", shown(known)));
        }
    }
    match (wrong.is_empty(), written.is_empty()) {
        (true, true) => Verdict::Agrees,
        (true, false) => Verdict::Deviates,
        (false, _) => Verdict::Fails(wrong.join("\n    ")),
    }
}

/// A `*` stands for what depends on the machine: some text, but not nothing.
fn is_same(written: &Value, found: &Value) -> bool {
    written == found || (written == "*" && !found.is_null())
}

fn shown((envoy, ours): &(Value, Value)) -> String {
    format!("Envoy {envoy}, ours {ours}")
}

/// What Envoy did otherwise than the case expects.
fn unexpected(case: &Case, envoy: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |outcome: &Value, wanted: &Value, prefix: &str| {
        for (place, wanted) in wanted.as_object().into_iter().flatten() {
            let pointer = format!("/{place}");
            let got = outcome.pointer(&pointer).cloned().unwrap_or_default();
            if got != *wanted {
                wrong.push(format!("{prefix}{place}: Envoy is expected to show {wanted}, and shows {got}"));
            }
        }
    };
    match (&case.envoy, envoy) {
        (Value::Array(wanted), Value::Array(outcomes)) if wanted.len() == outcomes.len() => {
            for (index, (wanted, outcome)) in wanted.iter().zip(outcomes).enumerate() {
                check(outcome, wanted, &format!("{index}/"));
            }
        }
        (wanted @ Value::Object(_), Value::Array(outcomes)) => {
            for (index, outcome) in outcomes.iter().enumerate() {
                check(outcome, wanted, &format!("{index}/"));
            }
        }
        (wanted @ Value::Object(_), outcome) => check(outcome, wanted, ""),
        _ => wrong.push("what Envoy is expected to do must stand for all calls, or for each of them".to_owned()),
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Deviation, Kind, Verdict, is_like, judge};
    use crate::differ::case::Case;

    fn case() -> Case {
        serde_json::from_value(json!({ "name": "retry: one", "envoy": { "status": 504 } })).expect("a case")
    }

    fn deviation() -> Deviation {
        Deviation {
            what: String::new(),
            kind: Kind::Deliberate,
            envoy: String::new(),
            ours: String::new(),
            why: String::new(),
            cases: vec!["retry: *".into()],
            differs: BTreeMap::from([("status".into(), (json!(504), json!(200)))]),
        }
    }

    #[test]
    fn a_deviation_is_exact() {
        let (envoy, ours, other) = (json!({ "status": 504 }), json!({ "status": 200 }), json!({ "status": 201 }));
        let judged = |ours, list: &[Deviation]| judge(&case(), &envoy, ours, list);
        assert_eq!(judged(&envoy, &[]), Verdict::Agrees);
        assert_eq!(judged(&ours, &[deviation()]), Verdict::Deviates);
        for (ours, list) in [(&ours, vec![]), (&other, vec![deviation()]), (&envoy, vec![deviation()])] {
            assert!(matches!(judged(ours, &list), Verdict::Fails(_)), "{ours} {list:?}");
        }
    }

    #[test]
    fn envoy_must_do_what_the_case_expects() {
        let both = json!({ "status": 404 });
        assert!(matches!(judge(&case(), &both, &both, &[]), Verdict::Fails(_)));
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(is_like("a*c*", "abcd") && is_like("*", "") && is_like("a*b", "ab"));
        assert!(!is_like("a*c", "abcd") && !is_like("a", "ab"));
    }
}
