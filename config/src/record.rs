//! How one request was decided, as a proxy records it, the control plane keeps it and the command line reads it: which
//! route and why not its neighbours, where the split fell, who could have answered, each attempt, and the answer with
//! its reason.
//!
//! JSON on the wire. What a reader does not know it passes over, and what a writer left out is empty, so that proxies
//! and control planes of different versions understand each other. No header field's value and no query is ever in a
//! record: that is where secrets are.

use serde::{Deserialize, Serialize};

mod cause;

pub use cause::Cause;

/// The largest record, bytes of JSON. A writer leaves out the least important until it fits.
pub const MAX_BYTES: usize = 16 << 10;

/// How one request was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its trace, 32 hexadecimal digits.
    pub trace: String,
    /// When its head was here, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From there to the last byte of the answer; for a record inside an answer, to its head.
    pub took_ms: f64,
    /// Why it was recorded: `failed`, `retried`, `slow`, `asked`.
    pub kept: Vec<String>,
    /// Which way it passed: `outbound` or `inbound`.
    pub hop: String,
    /// The workload beside the proxy, `NAMESPACE/NAME`.
    pub workload: String,
    /// Its service.
    pub service: String,
    /// Who sent it.
    pub caller: String,
    /// Its method.
    pub method: String,
    /// The host it was for, or its destination's.
    pub host: String,
    /// Its path, without the query.
    pub path: String,
    /// Whether it is a gRPC request.
    pub grpc: bool,
    /// The configuration that served it.
    pub snapshot: u64,
    /// What the caller got.
    pub answer: Answer,
    /// The route that took it.
    pub route: Option<Taken>,
    /// Routes that might have been meant.
    pub missed: Vec<Missed>,
    /// The rules of its rate limits with one bucket for all, as they stood when it was recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<Bucket>,
    /// How many requests at once the service beside the proxy bears, as it was known when this was recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub concurrency: Vec<Concurrency>,
    /// Where it was sent among several destinations.
    pub split: Option<Split>,
    /// The destination.
    pub destination: Option<Destination>,
    /// The policies that held for it.
    pub policies: Vec<Policy>,
    /// Each attempt that reached for an endpoint.
    pub attempts: Vec<Attempt>,
    /// Why an attempt that might have helped was not made: `carried` (a layer above tries again), `method`, `body` (longer
    /// than the policy keeps), `memory`, `time`, `asked` (by the answer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
    /// What policies in Observe would have done.
    pub would: Vec<String>,
}

/// What the caller got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// The gRPC status by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Why it was not served, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The route that took a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub takes: String,
}

/// A route that did not take a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// Its name; a host where none of its routes was asked.
    pub route: String,
    /// Why it did not.
    pub because: String,
}

/// A bucket of a rate limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// The rule.
    pub rule: String,
    /// How many requests it would still let in at once.
    pub left: u32,
    /// How many a full one lets in at once.
    pub of: u32,
    /// Whether it only observes.
    #[serde(skip_serializing_if = "is_false")]
    pub observe: bool,
}

/// A limit that follows how long answers take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concurrency {
    /// Requests under way.
    pub held: u32,
    /// How many may be.
    pub max: u32,
    /// What answers take without load, as last measured.
    pub unloaded_ms: Option<f64>,
    /// What they took lately.
    pub lately_ms: Option<f64>,
    /// Whether it only observes.
    #[serde(skip_serializing_if = "is_false")]
    pub observe: bool,
}

/// Where a request fell in a weighted split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Roll {
    /// The point, from 0.
    pub point: u64,
    /// The sum of the weights.
    pub of: u64,
    /// Whether a key of the request decided, and not chance.
    pub by_key: bool,
}

/// The choice among several destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// Where it fell.
    pub roll: Roll,
    /// The destinations by their weights.
    pub parts: Vec<Part>,
}

/// One of several destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Whether the request went there.
    pub chosen: bool,
}

/// A destination as it stood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// What it is called.
    pub name: String,
    /// When it was looked at, milliseconds after the request began.
    pub at_ms: f64,
    /// Its limits.
    pub limits: Vec<Gauge>,
    /// Retries under way.
    pub retries: u32,
    /// Retries that its budget still allowed.
    pub budget_left: u64,
    /// The share of its requests that was given up because it fails, in percent.
    #[serde(skip_serializing_if = "is_nothing")]
    pub given_up_percent: f64,
    /// Whether so few endpoints were in that those left out took part.
    pub panic: bool,
    /// How one of the endpoints is chosen.
    pub balancing: String,
    /// Which of the destination's endpoints they are, where it is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Its endpoints, the candidates.
    pub endpoints: Vec<Endpoint>,
    /// How many more there are.
    pub more: usize,
}

/// Which endpoints of a divided destination a request might go to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subset {
    /// What its route asked for: `version=v3`; empty: nothing.
    pub asked: String,
    /// Where it was led: `version=v1`, `any endpoint`, `nobody`.
    pub led: String,
    /// Why that is not what was asked for; empty where it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
}

/// A limit of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gauge {
    /// What is limited.
    pub limit: String,
    /// How much was in use.
    pub held: u32,
    /// How much may be.
    pub max: u32,
}

/// An endpoint as it stood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Its address.
    pub address: String,
    /// The workload behind it.
    pub workload: String,
    /// What it was to the balancer: `healthy`, `ejected`, `probing`, `failing` (its health checks), `unchecked` (it
    /// waits for its first), `draining`, `unhealthy` (by its source).
    pub state: String,
    /// Why its last health check failed, be it only rehearsed; none where it passed, or nobody asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Requests under way there.
    pub active: u32,
    /// The latency expected of it; none while it has never answered.
    pub latency_ms: Option<f64>,
    /// Its weight.
    pub weight: u32,
    /// Its priority.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: u32,
}

/// A policy that held for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// What it is about: `retry`, `timeouts`, `limits`, ...
    pub about: String,
    /// The document that says it; `default` where none does.
    pub origin: String,
    /// Whether it only observes.
    #[serde(skip_serializing_if = "is_false")]
    pub observe: bool,
    /// What it says.
    pub says: String,
}

/// One attempt at an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Which it is, from 1.
    pub number: u32,
    /// Why it was made; none for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Where it went.
    pub endpoint: String,
    /// When, milliseconds after the request began.
    pub at_ms: f64,
    /// How long until its answer's head, or its failure; none while it is under way.
    pub took_ms: Option<f64>,
    /// How much of the request's time was left as it began; none without a timeout.
    pub left_ms: Option<f64>,
    /// Requests that were under way at the endpoint, this one included.
    pub active: u32,
    /// Whether it decided over the return of an ejected endpoint.
    #[serde(skip_serializing_if = "is_false")]
    pub probe: bool,
    /// The HTTP status of its answer; 0 where there was none.
    pub status: u16,
    /// The gRPC status of its answer's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was given up because another attempt, beside it, answered first.
    #[serde(skip_serializing_if = "is_false")]
    pub lost: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_nothing(share: &f64) -> bool {
    *share <= 0.0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Record {
    /// Reads a record as it came; none if it is too large, is no record or belongs to no trace.
    pub fn read(json: &[u8]) -> Option<Record> {
        if json.len() > MAX_BYTES {
            return None;
        }
        let record: Record = serde_json::from_slice(json).ok()?;
        let digits = record.trace.len() == 32 && record.trace.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then_some(record)
    }

    /// Writes it in at most `most` bytes of printable ASCII, so that it may stand in a header field: what does not fit
    /// goes, the least important first. None if not even the answer fits.
    pub fn write(mut self, most: usize) -> Option<String> {
        for step in 0..=4 {
            match step {
                0 => {}
                1 => {
                    if let Some(destination) = &mut self.destination {
                        destination.more += destination.endpoints.len().saturating_sub(2);
                        destination.endpoints.truncate(2);
                    }
                }
                2 => self.missed.truncate(1),
                3 => {
                    (self.policies, self.split, self.buckets) = (Vec::new(), None, Vec::new());
                    self.attempts.truncate(4);
                }
                _ => {
                    let (destination, missed) = (None, Vec::new());
                    cut(&mut self.path, 256);
                    cut(&mut self.answer.detail, 256);
                    self = Record { destination, missed, attempts: Vec::new(), ..self };
                }
            }
            let text = ascii(&serde_json::to_string(&self).ok()?);
            if text.len() <= most {
                return Some(text);
            }
        }
        None
    }
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// JSON whose letters beyond ASCII are escaped: they only ever stand inside its strings.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            ' '..='~' => text.push(letter),
            _ => {
                let mut units = [0; 2];
                letter.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{Attempt, Destination, Endpoint, MAX_BYTES, Missed, Record};

    fn record(path: String, endpoints: usize, attempts: u32) -> Record {
        let endpoint = |at: usize| Endpoint { address: format!("10.0.0.{at}:80"), ..Endpoint::default() };
        let attempt = |number| Attempt { number, took_ms: Some(1.5), ..Attempt::default() };
        let destination = Destination { endpoints: (0..endpoints).map(endpoint).collect(), ..Destination::default() };
        Record {
            trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            missed: vec![Missed { route: path.clone(), because: "the path".to_owned() }],
            path,
            destination: Some(destination),
            attempts: (1..=attempts).map(attempt).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for bad in ["", "{}", "[]", "{\"trace\":\"0\"}", "{\"trace\":7}"] {
            assert_eq!(Record::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Record::read(&vec![b' '; MAX_BYTES + 1]), None);
        let newer = "{\"trace\":\"0af7651916cd43dd8448eb211c80319c\",\"of_a_later_version\":[1]}";
        assert!(Record::read(newer.as_bytes()).is_some());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let text = record("/".to_owned(), 300, 2).write(4096).expect("fits");
        let read = Record::read(text.as_bytes()).expect("a record").destination.expect("a destination");
        assert_eq!((read.endpoints.len(), read.more), (2, 298));
        assert!(record("x".repeat(9000), 0, 0).write(2048).is_some());
        assert_eq!(record("/".to_owned(), 0, 0).write(64), None);
    }

    proptest! {
        #[test]
        fn a_record_reads_back_from_printable_ascii(
            path in ".{0,40}",
            endpoints in 0_usize..4,
            attempts in 0_u32..4,
        ) {
            let record = record(path, endpoints, attempts);
            let text = record.clone().write(MAX_BYTES).expect("fits");
            prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(Record::read(text.as_bytes()), Some(record));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::read(&bytes);
        }
    }
}
