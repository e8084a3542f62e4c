//! What a caller and the upstream saw of a call, as a value that can be compared place by place.
//!
//! What is never compared stands in the lists here, and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::upstream::{ANSWERED, CALL, COUNT, Seen};
use crate::client::Reply;

/// Response fields that two proxies never share: who they are, when it is, how long it took, and that it was Envoy who
/// refused.
pub const NEVER_IN_RESPONSES: [&str; 5] =
    ["date", "server", "proxy-status", "x-envoy-upstream-service-time", "x-envoy-overloaded"];
/// Fields of a response that a proxy made: its words are its own.
pub const OWN_WORDS: [&str; 3] = ["content-length", "content-type", "grpc-message"];
/// Request fields that two proxies never share: ids, traces, and what Envoy tells other Envoys.
pub const NEVER_IN_REQUESTS: [&str; 11] = [
    CALL,
    COUNT,
    "host",
    "x-request-id",
    "x-forwarded-proto",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "traceparent",
    "tracestate",
    "baggage",
];
/// How much earlier than announced something may end: clocks tick, and a call begins a little before its timers.
const EARLY: Duration = Duration::from_millis(30);
/// How much later: the machine may be busy.
const LATE: Duration = Duration::from_millis(2500);
/// And how much more for each of many calls.
const EACH: Duration = Duration::from_millis(200);

/// How a call went.
#[derive(Debug)]
pub enum Ending {
    /// It was answered.
    Reply(Box<Reply>),
    /// The connection ended before the head.
    Broken,
    /// The caller went away, as it had waited too long: for what.
    Left(&'static str),
}

/// When so many calls had ended, in classes that a busy machine does not blur.
pub fn timing(took: Duration, after: Option<Duration>, calls: usize) -> String {
    let late = LATE + EACH * u32::try_from(calls).unwrap_or(u32::MAX);
    match after {
        None if took <= late => "at once".to_owned(),
        None => "late".to_owned(),
        Some(after) if took + EARLY < after => format!("before {after:?}"),
        Some(after) if took <= after + late => format!("after {after:?}"),
        Some(after) => format!("long after {after:?}"),
    }
}

/// All there is to compare of one call. `told`: what a proxy says by itself was written in the resources.
pub fn of_one(ending: &Ending, seen: &[Seen], time: &str, told: bool) -> Value {
    let requests: Vec<Value> = seen.iter().map(request).collect();
    let mut outcome = json!({ "time": time, "attempts": seen.len(), "requests": requests });
    match ending {
        Ending::Broken => outcome["status"] = "broken".into(),
        Ending::Left(place) => outcome["status"] = format!("left {place}").into(),
        Ending::Reply(reply) => {
            let from_upstream = reply.headers.contains_key(ANSWERED);
            let ignored = |name: &str| {
                NEVER_IN_RESPONSES.contains(&name) || (!from_upstream && !told && OWN_WORDS.contains(&name))
            };
            outcome["status"] = reply.status.into();
            outcome["headers"] = fields(&reply.headers, ignored);
            outcome["complete"] = reply.complete.into();
            if let Some(code) = grpc_status(reply) {
                outcome["grpc"] = code.into();
            }
            if let Some(trailers) = &reply.trailers {
                outcome["trailers"] = fields(trailers, |_| false);
            }
            if from_upstream || told {
                outcome["body"] = reply.text().into();
            }
        }
    }
    outcome
}

/// All there is to compare of many calls.
pub fn of_many(endings: &[Ending], seen: &[Seen], most_at_once: Option<usize>, time: &str) -> Value {
    let endpoints = tally(seen.iter().map(|one| one.endpoint.clone()));
    let mut outcome = json!({
        "time": time,
        "attempts": seen.len(),
        "spread": endpoints.len(),
        "outcomes": counted(endings.iter().map(label)),
        "endpoints": counted(seen.iter().map(|one| one.endpoint.clone())),
    });
    if let Some(most) = most_at_once {
        outcome["at once"] = most.into();
    }
    outcome
}

/// Whether many calls went in the shares that were told, in percent of the calls by endpoint or by outcome: within four
/// standard deviations, so that chance fails one case in ten thousand.
pub fn of_shares(endings: &[Ending], seen: &[Seen], shares: &Map<String, Value>) -> Value {
    let mut counts = tally(endings.iter().map(label));
    counts.extend(tally(seen.iter().map(|one| one.endpoint.clone())));
    let total = endings.len() as f64;
    let mut said = Map::new();
    for (name, share) in shares {
        let share = share.as_f64().unwrap_or_default() / 100.0;
        let count = counts.get(name).copied().unwrap_or_default() as f64;
        let off = (count - total * share).abs();
        let as_told = off <= 4.0 * (total * share * (1.0 - share)).sqrt();
        said.insert(name.clone(), if as_told { "as told".into() } else { format!("{count} of {total}").into() });
    }
    let outcomes: Vec<String> = tally(endings.iter().map(label)).into_keys().collect();
    json!({ "shares": said, "outcomes": outcomes })
}

/// These places of an outcome alone; all of it where there are none, but for the number of endpoints, which stands in
/// their names already.
pub fn only(mut outcome: Value, places: &[String]) -> Value {
    if places.is_empty() {
        outcome.as_object_mut().map(|places| places.remove("spread"));
        return outcome;
    }
    let mut kept = json!({});
    for place in places {
        let (first, second) = place.split_once('/').unwrap_or((place, ""));
        let value = outcome.pointer(&format!("/{place}")).cloned().unwrap_or_default();
        match second {
            "" => kept[first] = value,
            second => kept[first][second] = value,
        }
    }
    kept
}

/// `200`, or `200 grpc 14`.
fn label(ending: &Ending) -> String {
    match ending {
        Ending::Broken => "broken".to_owned(),
        Ending::Left(place) => format!("left {place}"),
        Ending::Reply(reply) => match grpc_status(reply) {
            Some(code) => format!("{} grpc {code}", reply.status),
            None => reply.status.to_string(),
        },
    }
}

fn grpc_status(reply: &Reply) -> Option<u32> {
    reply.trailer("grpc-status").or_else(|| reply.header("grpc-status"))?.parse().ok()
}

fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

fn counted(names: impl Iterator<Item = String>) -> Value {
    tally(names).into_iter().map(|(name, count)| (name, Value::from(count))).collect::<Map<_, _>>().into()
}

fn request(seen: &Seen) -> Value {
    let mut fields = fields(&seen.headers, |name| NEVER_IN_REQUESTS.contains(&name));
    // What is left of the time is never twice the same.
    if let Some(Value::String(timeout)) = fields.get_mut("grpc-timeout") {
        *timeout = time_left(timeout);
    }
    json!({
        "endpoint": seen.endpoint,
        "method": seen.method,
        "path": seen.path,
        "host": seen.host,
        "headers": fields,
        "body": seen.body,
    })
}

/// `grpc-timeout` as the next higher half second.
fn time_left(timeout: &str) -> String {
    let (number, unit) = timeout.split_at(timeout.len().saturating_sub(1));
    let per_unit = match unit {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "M" => 60.0,
        "H" => 3600.0,
        _ => 1.0,
    };
    let seconds = number.parse::<f64>().unwrap_or(f64::NAN) * per_unit;
    format!("at most {}s", (seconds * 2.0).ceil() / 2.0)
}

/// The values of each field, in their order.
fn fields(headers: &HeaderMap, ignored: impl Fn(&str) -> bool) -> Value {
    let mut fields = Map::new();
    for name in headers.keys().filter(|name| !ignored(name.as_str())) {
        let text = |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned());
        let values: Vec<Value> = headers.get_all(name).iter().map(text).collect();
        fields.insert(name.to_string(), if values.len() == 1 { values[0].clone() } else { values.into() });
    }
    fields.into()
}

/// Every place where two values differ, `headers/x-added`, with what is there; null is nothing.
pub fn differences(envoy: &Value, ours: &Value) -> BTreeMap<String, (Value, Value)> {
    let mut found = BTreeMap::new();
    compare("", envoy, ours, &mut found);
    found
}

fn compare(at: &str, one: &Value, other: &Value, found: &mut BTreeMap<String, (Value, Value)>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}/{key}") };
    match (one, other) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let get = |side: &Map<String, Value>| side.get(key).cloned().unwrap_or_default();
                compare(&below(key), &get(left), &get(right), found);
            }
        }
        // What one has more of is a difference in number, which stands beside them.
        (Value::Array(left), Value::Array(right)) if at.ends_with("requests") => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&below(&index.to_string()), left, right, found);
            }
        }
        (Value::Array(left), Value::Array(right)) if at.is_empty() && left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&below(&index.to_string()), left, right, found);
            }
        }
        _ if one == other => {}
        _ => drop(found.insert(at.to_owned(), (one.clone(), other.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{differences, timing};

    #[test]
    fn differences_are_named_by_their_place() {
        let one = json!({ "status": 200, "headers": { "a": "1" }, "requests": [{ "path": "/a" }, {}], "attempts": 2 });
        let other = json!({ "status": 200, "headers": { "b": "1" }, "requests": [{ "path": "/b" }], "attempts": 1 });
        let found: Vec<_> = differences(&one, &other).into_keys().collect();
        assert_eq!(found, ["attempts", "headers/a", "headers/b", "requests/0/path"]);
        assert!(differences(&one, &one).is_empty());
    }

    #[test]
    fn timing_has_classes() {
        let ms = Duration::from_millis;
        assert_eq!(timing(ms(20), None, 0), "at once");
        assert_eq!(timing(ms(400), Some(ms(500)), 0), "before 500ms");
        assert_eq!(timing(ms(700), Some(ms(500)), 0), "after 500ms");
        assert_eq!(timing(ms(9000), Some(ms(500)), 0), "long after 500ms");
    }
}
