//! What is rehearsed: requests with their times, and how endpoints behave, as a file says it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use outrigger_config::document;
use outrigger_config::value::parse_duration;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most requests that are rehearsed.
pub const MAX_REQUESTS: usize = 200_000;

/// The largest body of a request, bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The longest time that is rehearsed: endpoints are looked after every second of it.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Requests and scripts, of one or several files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// How endpoints behave; the first that names an endpoint counts.
    pub upstreams: Vec<Upstream>,
    /// What is asked.
    pub requests: Vec<Ask>,
}

/// A time span as documents write it: `1m30s`, `20ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = parse_duration(&text);
        read.map(Span).map_err(|problem| de::Error::custom(format!("{text:?} {}", problem.reason)))
    }
}

/// A request, or several that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// When, after the beginning.
    #[serde(alias = "time")]
    pub at: Span,
    /// Who asks; somebody on this machine if left out.
    pub source: Option<SocketAddr>,
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path, with its query.
    pub path: String,
    /// The header fields.
    pub headers: Vec<(String, String)>,
    /// How many bytes of body it has.
    pub body: usize,
    /// Whether it is a gRPC request.
    pub grpc: bool,
    /// How many there are.
    pub times: usize,
    /// How long from one to the next.
    pub every: Span,
}

impl Default for Ask {
    fn default() -> Self {
        Ask {
            at: Span::default(),
            source: None,
            method: "GET".to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: 0,
            grpc: false,
            times: 1,
            every: Span::default(),
        }
    }
}

/// How an endpoint behaves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// A workload by name, an address, or `*` for all that no other names.
    pub endpoint: String,
    /// How long its answers take.
    pub latency: Option<Latency>,
    /// The statuses of its answers, in turn.
    pub answers: Vec<Outcome>,
    /// When it fails.
    pub failures: Vec<Window>,
}

/// How long answers take.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Latency {
    /// Always the same.
    Always(Span),
    /// Anything between.
    Between {
        /// The shortest.
        from: Span,
        /// The longest.
        to: Span,
    },
    /// Mostly about the median, sometimes far more: log-normal.
    Spread {
        /// Half of the answers are faster.
        p50: Span,
        /// One in a hundred is slower.
        p99: Span,
    },
}

/// A part of the time in which an endpoint fails.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From when.
    #[serde(default)]
    pub from: Span,
    /// Until when; for ever if left out.
    #[serde(default)]
    pub until: Option<Span>,
    /// What its attempts meet.
    pub is: Outcome,
    /// How many of them.
    #[serde(default = "hundred")]
    pub percent: f64,
}

fn hundred() -> f64 {
    100.0
}

/// What an attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// An answer of this HTTP status.
    Status(u16),
    /// An answer of this gRPC status.
    Grpc(u8),
    /// Nobody listens.
    Refused,
    /// No connection is made in time.
    Timeout,
    /// The connection ends before the answer.
    Reset,
    /// No answer, ever.
    Silent,
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutcomeVisitor;

        impl Visitor<'_> for OutcomeVisitor {
            type Value = Outcome;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status from 200 to 599, grpc-0 to grpc-16, refused, timeout, reset or silent")
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Outcome, E> {
                let known = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
                known.map(Outcome::Status).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(status), &self))
            }

            fn visit_i64<E: de::Error>(self, status: i64) -> Result<Outcome, E> {
                match u64::try_from(status) {
                    Ok(status) => self.visit_u64(status),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(status), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Outcome, E> {
                let grpc = word.strip_prefix("grpc-").and_then(|number| number.parse().ok());
                Ok(match (word, grpc) {
                    (_, Some(status @ 0..=16)) => Outcome::Grpc(status),
                    ("refused", _) => Outcome::Refused,
                    ("timeout", _) => Outcome::Timeout,
                    ("reset", _) => Outcome::Reset,
                    ("silent", _) => Outcome::Silent,
                    _ => return Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                })
            }
        }

        deserializer.deserialize_any(OutcomeVisitor)
    }
}

impl Scenario {
    /// Reads a file: `upstreams` and `requests` in YAML or JSON, or lines of JSON that are a request each. What is wrong
    /// is said with its place.
    pub fn read(text: &str, file: &str) -> Result<Self, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let is_lines = lines.len() > 1 && lines.iter().all(|line| line.starts_with('{') && line.ends_with('}'));
        if is_lines {
            let requests = lines.iter().enumerate().map(|(index, line)| {
                let at = format!("{file}: line {}", index + 1);
                let value: Value = serde_json::from_str(line).map_err(|error| format!("{at}: {error}"))?;
                one(value, &at)
            });
            return Scenario { upstreams: Vec::new(), requests: requests.collect::<Result<_, _>>()? }.check(file);
        }
        let mut scenario = Scenario::default();
        for value in document::values(text, file).map_err(|problems| problems.to_string())? {
            scenario.add(Scenario::of(value, file)?);
        }
        scenario.check(file)
    }

    /// Reads the two lists of a mapping.
    pub fn of(value: Value, file: &str) -> Result<Self, String> {
        let Value::Object(mut map) = value else {
            return Err(format!("{file}: must be a mapping of upstreams and requests"));
        };
        let upstreams = list(map.remove("upstreams"), &format!("{file}: upstreams"))?;
        let requests = list(map.remove("requests"), &format!("{file}: requests"))?;
        match map.keys().next() {
            Some(other) => Err(format!("{file}: {other:?} is not known; there are upstreams and requests")),
            None => Ok(Scenario { upstreams, requests }),
        }
    }

    /// The same with what another file says.
    pub fn add(&mut self, other: Scenario) {
        self.upstreams.extend(other.upstreams);
        self.requests.extend(other.requests);
    }

    fn check(self, file: &str) -> Result<Self, String> {
        for (index, upstream) in self.upstreams.iter().enumerate() {
            if upstream.endpoint.is_empty() {
                return Err(format!(
                    "{file}: upstreams[{index}]: endpoint must name a workload, an address, or all by *"
                ));
            }
            if upstream.failures.iter().any(|window| !(0.0..=100.0).contains(&window.percent)) {
                return Err(format!("{file}: upstreams[{index}]: percent must be between 0 and 100"));
            }
        }
        for (index, ask) in self.requests.iter().enumerate() {
            ask.check().map_err(|why| format!("{file}: requests[{index}]: {why}"))?;
        }
        self.bounds().map_err(|why| format!("{file}: {why}"))?;
        Ok(self)
    }

    /// Whether there are not too many requests, over not too long a time.
    pub fn bounds(&self) -> Result<(), String> {
        let all = self.requests.iter().map(|ask| ask.times).fold(0, usize::saturating_add);
        if all > MAX_REQUESTS {
            return Err(format!("has {all} requests; at most {MAX_REQUESTS} are rehearsed at once"));
        }
        let late = self.requests.iter().map(Ask::last).max().filter(|last| *last > MAX_TIME);
        late.map_or(Ok(()), |last| {
            let (hours, most) = (last.as_secs() / 3600, MAX_TIME.as_secs() / 3600);
            Err(format!("lasts {hours} h; at most {most} h are rehearsed at once"))
        })
    }
}

impl Ask {
    /// Whether it can be asked.
    pub fn check(&self) -> Result<(), String> {
        if self.body > MAX_BODY {
            return Err(format!("body {} must be at most {MAX_BODY} bytes", self.body));
        }
        if self.path.contains('#') {
            return Err(format!("path {:?} must have no '#': what is behind one is never sent", self.path));
        }
        self.request().map(|_| ())
    }

    /// When the last of them is asked.
    pub fn last(&self) -> Duration {
        let more = u32::try_from(self.times.saturating_sub(1)).unwrap_or(u32::MAX);
        self.at.0.saturating_add(self.every.0.saturating_mul(more))
    }

    /// The message, without its body.
    pub fn request(&self) -> Result<http::Request<()>, String> {
        let mut request = http::Request::builder().method(self.method.as_str()).uri(self.path.as_str());
        if !self.host.is_empty() {
            request = request.header(http::header::HOST, self.host.as_str());
        }
        if self.grpc {
            request = request.header(http::header::CONTENT_TYPE, "application/grpc");
        }
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        request.body(()).map_err(|error| error.to_string())
    }
}

fn list<T: DeserializeOwned>(value: Option<Value>, at: &str) -> Result<Vec<T>, String> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            let read = |(index, item)| one(item, &format!("{at}[{index}]"));
            items.into_iter().enumerate().map(read).collect()
        }
        Some(_) => Err(format!("{at} must be a list")),
    }
}

/// Reads one value; header fields may be a mapping, which is how people write them.
pub(super) fn one<T: DeserializeOwned>(mut value: Value, at: &str) -> Result<T, String> {
    if let Some(Value::Object(fields)) = value.get("headers") {
        let pairs = fields.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Value::Array(vec![name.as_str().into(), value.into()])
        });
        value["headers"] = pairs.collect();
    }
    T::deserialize(value).map_err(|error| format!("{at}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Scenario};

    #[test]
    fn what_would_never_end_or_never_be_sent_is_refused() {
        for (ask, why) in [
            ("times: 300000", "at most 200000"),
            ("at: 8760h", "lasts 8760 h; at most 168 h"),
            ("every: 8760h, times: 200000", "at most 168 h"),
            ("path: /a#b", "must have no '#'"),
        ] {
            let refused = Scenario::read(&format!("requests: [{{ host: catalog, {ask} }}]"), "s").expect_err(ask);
            assert!(refused.contains(why), "{ask}: {refused}");
        }
    }

    #[test]
    fn a_scenario_is_read_from_yaml() {
        let text = "
upstreams:
- endpoint: catalog-1
  latency: { p50: 5ms, p99: 80ms }
  answers: [200, 503, grpc-14]
  failures: [{ from: 1s, until: 2s, is: refused, percent: 50 }]
requests:
- { at: 10ms, host: catalog, path: /items?page=1, headers: { x-user: 7 }, times: 3, every: 5ms }";
        let scenario = Scenario::read(text, "s.yaml").expect("a scenario");
        assert_eq!(scenario.upstreams[0].answers, [Outcome::Status(200), Outcome::Status(503), Outcome::Grpc(14)]);
        let ask = &scenario.requests[0];
        assert_eq!((ask.at.0, ask.times), (Duration::from_millis(10), 3));
        assert_eq!(ask.request().expect("a request").headers()["x-user"], "7");
    }

    #[test]
    fn requests_may_be_lines_of_json() {
        let text = "{\"time\":\"0s\",\"host\":\"a\"}\n\n{\"time\":\"1s\",\"host\":\"b\",\"headers\":[[\"x\",\"y\"]]}\n";
        assert_eq!(Scenario::read(text, "r.jsonl").expect("a scenario").requests.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, says) in [
            ("requests: [{ pth: / }]", "s: requests[0]: unknown field `pth`"),
            ("requests: [{}, { method: \"A B\" }]", "s: requests[1]: invalid HTTP method"),
            ("requests: [{ at: soon }]", "\"soon\""),
            ("upstreams: [{ endpoint: a, answers: [99] }]", "a status from 200 to 599"),
            ("upstreams: [{ latency: 5ms }]", "s: upstreams[0]: endpoint must name"),
            ("upstreams: [{ endpoint: a, failures: [{ is: reset, percent: 101 }] }]", "percent must be between"),
            ("requests: [{ times: 1000000 }]", "at most 200000"),
            ("what: 1", "\"what\" is not known"),
            ("- 1", "must be a mapping"),
            ("a: [", "s:"),
            ("{\"host\":\"a\"}\n{\"hst\":\"a\"}", "s: line 2: unknown field `hst`"),
        ] {
            let error = Scenario::read(text, "s").expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
