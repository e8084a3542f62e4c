//! The table: what a case says, and how one entry with `each` becomes many.
//!
//! `each: { fails: [502, 503], protocol: [h1, h2] }` makes four cases of one, with `$fails` and `$protocol` replaced in
//! everything it says. A value that is a map gives all its keys at once: `each: { condition: [{ retry: 5xx, fails: 500 }] }`.
//! `$id` is the case's own name in xDS: its route table's and, with a suffix, its clusters'.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One case as it is played.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows; unique.
    pub name: String,
    /// Its name in xDS; made, not written.
    #[serde(default)]
    pub id: String,
    /// Added to the cluster `$id`.
    #[serde(default)]
    pub cluster: Map<String, Value>,
    /// Further clusters `$id-NAME`; what is said is added to a cluster with every default.
    #[serde(default)]
    pub clusters: BTreeMap<String, Map<String, Value>>,
    /// The endpoints of `$id`.
    #[serde(default = "one_endpoint")]
    pub endpoints: Vec<Endpoint>,
    /// Which protocol is spoken to them: `h1`, `h2`, or the caller's where nothing is said.
    #[serde(default)]
    pub speaks: String,
    /// Added to the action of the only route, which leads to `$id`.
    #[serde(default)]
    pub action: Map<String, Value>,
    /// Added to the only route itself.
    #[serde(default)]
    pub route: Map<String, Value>,
    /// All routes, in place of the only one.
    #[serde(default)]
    pub routes: Vec<Value>,
    /// All virtual hosts, in place of the only one.
    #[serde(default)]
    pub hosts: Vec<Value>,
    /// Added to the table of routes.
    #[serde(default)]
    pub table: Map<String, Value>,
    /// Added to the HTTP connection manager.
    #[serde(default)]
    pub manager: Map<String, Value>,
    /// What the upstream answers to each attempt of a call, the last to all further ones; or, for each endpoint, to each
    /// request that comes to it.
    #[serde(default)]
    pub upstream: Value,
    /// The calls, one after the other.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// The only call.
    pub call: Option<Call>,
    /// What Envoy is expected to do, by the names of [`super::outcome`]; each call's, or one for all of them.
    pub envoy: Value,
}

/// An endpoint: its name alone, or with more to say of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Endpoint {
    /// See [`super::upstream::Upstream::endpoint`].
    Plain(String),
    /// With its weight, its health, its priority and what is known of it.
    Told {
        /// Its name.
        at: String,
        /// Its share.
        #[serde(default = "one")]
        weight: u32,
        /// What its source says of it: `HEALTHY`, `DRAINING`.
        #[serde(default = "healthy")]
        health: String,
        /// Who comes first.
        #[serde(default)]
        priority: u32,
        /// What balancers know of it.
        #[serde(default)]
        known: Map<String, Value>,
    },
}

/// A call, or many of the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `h1`, `h2` or `grpc`.
    #[serde(default = "first_protocol")]
    pub protocol: String,
    /// The method; POST where there is a body.
    pub method: Option<String>,
    /// The path.
    #[serde(default = "root")]
    pub path: String,
    /// The authority.
    #[serde(default = "host")]
    pub host: String,
    /// Further fields; a list is a field for each value.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// So many bytes of body.
    #[serde(default)]
    pub body: usize,
    /// When it should end, if not at once: `500ms`.
    pub after: Option<String>,
    /// So many, one after the other; what came of them is counted.
    #[serde(default)]
    pub repeat: usize,
    /// So many at once; what came of them is counted.
    #[serde(default)]
    pub parallel: usize,
    /// How many of those at once must stand at the upstream's `gate` or have ended before it opens; all, if not said.
    #[serde(default)]
    pub settled: usize,
    /// Of those many, the shares in percent that are expected, by endpoint or by outcome, within chance.
    #[serde(default)]
    pub shares: Map<String, Value>,
    /// Of those many, only these places are compared, where a balancer's start is chance.
    #[serde(default)]
    pub only: Vec<String>,
    /// What the upstream answers, in the place of what the case says.
    pub upstream: Option<Value>,
    /// Waits this long before the call: for state that time changes.
    pub pause: Option<String>,
    /// Breaks off where it has to wait longer for the head: a caller without patience.
    pub patience: Option<String>,
}

fn one_endpoint() -> Vec<Endpoint> {
    vec![Endpoint::Plain("a".to_owned())]
}

fn one() -> u32 {
    1
}

fn healthy() -> String {
    "HEALTHY".to_owned()
}

fn first_protocol() -> String {
    "h1".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

fn host() -> String {
    "differ.test".to_owned()
}

impl Case {
    /// All calls in order.
    pub fn all_calls(&self) -> Vec<Call> {
        self.call.iter().chain(&self.calls).cloned().collect()
    }
}

/// `500ms` or `2s`.
pub fn duration(text: &str) -> Duration {
    let parse = |number: &str| number.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} is no duration"));
    match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => Duration::from_millis(parse(number)),
        (None, Some(number)) => Duration::from_secs(parse(number)),
        _ => panic!("{text:?} is no duration"),
    }
}

/// Every case of every file in the folder but the deviations, by file and place.
pub fn read(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let entries = std::fs::read_dir(folder).expect("the folder of the cases");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    for file in files {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if stem == "deviations" || file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let entries: Vec<Value> =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for entry in entries.into_iter().flat_map(expand) {
            let id = format!("{stem}-{:03}", cases.len() + 1);
            let entry = substitute(entry, &Map::from_iter([("id".to_owned(), id.as_str().into())]));
            let mut case: Case = serde_json::from_value(entry.clone())
                .unwrap_or_else(|error| panic!("{}: {error}: {}", file.display(), entry["name"]));
            case.name = format!("{stem}: {}", case.name);
            case.id = id;
            cases.push(case);
        }
    }
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        panic!("two cases are called {:?}", pair[0]);
    }
    cases
}

/// One entry for each combination of the values in `each`.
fn expand(mut entry: Value) -> Vec<Value> {
    let each = entry.as_object_mut().and_then(|fields| fields.remove("each"));
    let Some(Value::Object(each)) = each else { return vec![entry] };
    let mut combinations = vec![Map::new()];
    for (name, values) in each {
        let values = values.as_array().unwrap_or_else(|| panic!("each.{name} must be a list")).clone();
        let with = |combination: &Map<String, Value>, value: &Value| {
            let mut combination = combination.clone();
            match value {
                Value::Object(several) => combination.extend(several.clone()),
                one => drop(combination.insert(name.clone(), one.clone())),
            }
            combination
        };
        combinations = combinations.iter().flat_map(|old| values.iter().map(move |value| with(old, value))).collect();
    }
    combinations.iter().map(|combination| substitute(entry.clone(), combination)).collect()
}

/// Replaces `$name`. A text that is nothing else becomes the value itself, whatever it is.
fn substitute(value: Value, by: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => {
            if let Some(whole) = text.strip_prefix('$').and_then(|name| by.get(name)) {
                return whole.clone();
            }
            let mut text = text;
            // Longer names first, or `$ab` would be taken for `$a` and a `b`.
            let mut names: Vec<_> = by.iter().collect();
            names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            for (name, value) in names {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text = text.replace(&format!("${name}"), &value);
            }
            Value::String(text)
        }
        Value::Array(list) => list.into_iter().map(|item| substitute(item, by)).collect(),
        Value::Object(fields) => {
            let replaced = |(key, value)| {
                let Value::String(key) = substitute(Value::String(key), by) else { panic!("a key must be a text") };
                (key, substitute(value, by))
            };
            Value::Object(fields.into_iter().map(replaced).collect())
        }
        other => other,
    }
}

/// Adds `more` to `to`: maps within maps, anything else in the place of what was there.
pub fn merge(to: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (key, value) in more {
        match (to.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more),
            _ => drop(to.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::expand;

    #[test]
    fn one_entry_becomes_a_case_for_each_combination() {
        let entry = json!({
            "name": "$retry after $fails over $way",
            "each": { "what": [{ "retry": "5xx", "fails": 500 }, { "retry": "reset", "fails": "reset" }], "way": ["h1", "h2"] },
            "upstream": ["$fails", "200"],
        });
        let cases = expand(entry);
        assert_eq!(cases.len(), 4);
        assert_eq!(cases[0], json!({ "name": "5xx after 500 over h1", "upstream": [500, "200"] }));
        assert_eq!(cases[3]["name"], "reset after reset over h2");
    }
}
