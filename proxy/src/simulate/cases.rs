//! Unit tests of policies: documents, endpoints that follow a script, a request, and what is expected of it.

use std::fmt::Write as _;

use outrigger_config::document;
use outrigger_config::listener::Direction;
use outrigger_config::record::Record;
use serde::Deserialize;
use serde_json::Value;

use super::play::{Stage, play};
use super::scenario::{Ask, Scenario, Upstream, one};
use super::summary::status;
use crate::snapshot::ResourceSet;

/// The tests of a file.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The workload beside the proxy; not needed where the documents have only one with a proxy.
    pub node: Option<String>,
    /// The tests.
    pub cases: Vec<Case>,
}

/// One test.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What is tested.
    pub name: String,
    /// Whether the request comes in to the workload, and does not go out from it.
    #[serde(default)]
    pub inbound: bool,
    /// Where chance comes from.
    #[serde(default = "first_seed")]
    pub seed: u64,
    /// How endpoints behave.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    /// What is asked before, to bring the proxy where the test begins.
    #[serde(default)]
    before: Vec<Value>,
    /// What is asked; of several the last is looked at.
    request: Value,
    /// What must come of it.
    pub expect: Expect,
}

fn first_seed() -> u64 {
    1
}

/// What must come of a request; what is left out may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The route, by its name or the end of it; `none`.
    pub route: Option<String>,
    /// The destination, by its name or the beginning of it; `none`.
    pub backend: Option<String>,
    /// Which of a divided destination's endpoints it might go to: `version=v1`, `any endpoint`, `nobody`; `none` of one that
    /// is not divided.
    pub subset: Option<String>,
    /// The endpoint of the last attempt: an address, or a workload; `none`.
    pub endpoint: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The gRPC status by name.
    pub grpc: Option<String>,
    /// The reason; `none` for a request that was served.
    pub reason: Option<String>,
    /// How many attempts there were.
    pub attempts: Option<usize>,
    /// What policies in Observe would have done, all of it.
    pub would: Option<Vec<String>>,
}

impl Suite {
    /// Reads a file of tests: `node` and `cases`.
    pub fn read(text: &str, file: &str) -> Result<Self, String> {
        let mut suite = Suite { node: None, cases: Vec::new() };
        for value in document::values(text, file).map_err(|problems| problems.to_string())? {
            let Value::Object(mut map) = value else { return Err(format!("{file}: must be a mapping with cases")) };
            if let Some(node) = map.remove("node") {
                suite.node = Some(one(node, &format!("{file}: node"))?);
            }
            let Some(Value::Array(cases)) = map.remove("cases") else {
                return Err(format!("{file}: cases must be a list of tests"));
            };
            if let Some(other) = map.keys().next() {
                return Err(format!("{file}: {other:?} is not known; there are node and cases"));
            }
            for (index, case) in cases.into_iter().enumerate() {
                let at = format!("{file}: cases[{index}]");
                let case: Case = one(case, &at)?;
                case.scenario().map_err(|why| format!("{at}: {why}"))?;
                suite.cases.push(case);
            }
        }
        Ok(suite)
    }
}

impl Case {
    fn scenario(&self) -> Result<Scenario, String> {
        let asked = self.before.iter().enumerate().map(|(index, ask)| one(ask.clone(), &format!("before[{index}]")));
        let mut requests: Vec<Ask> = asked.collect::<Result<_, _>>()?;
        let last: Ask = one(self.request.clone(), "request")?;
        let latest = requests.iter().map(Ask::last).max().unwrap_or_default();
        if last.at.0 < latest {
            return Err("request must not come before what is asked before it: say at".to_owned());
        }
        requests.push(last);
        requests.iter().try_for_each(Ask::check)?;
        let scenario = Scenario { upstreams: self.upstreams.clone(), requests };
        scenario.bounds()?;
        Ok(scenario)
    }

    /// Runs it: what differs from what was expected, a line each, and nothing where it holds.
    pub fn run(&self, resources: &ResourceSet) -> Result<Vec<String>, String> {
        let direction = if self.inbound { Direction::Inbound } else { Direction::Outbound };
        let played = play(Stage { resources, direction, seed: self.seed }, &self.scenario()?)?;
        let Some(record) = played.records.last() else { return Err("nothing was asked".to_owned()) };
        Ok(self.expect.differs(record))
    }
}

impl Expect {
    fn differs(&self, record: &Record) -> Vec<String> {
        let mut lines = Vec::new();
        let mut hold = |what: &str, expected: Option<String>, found: String, holds: bool| {
            if let Some(expected) = expected
                && !holds
            {
                lines.push(format!("{what}: expected {expected}, was {found}"));
            }
        };
        let or_none = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("none").to_owned();
        let route = or_none(record.route.as_ref().map(|route| route.name.as_str()));
        let holds = self.route.as_ref().is_some_and(|wanted| ends(&route, wanted));
        hold("route", self.route.clone(), route, holds);
        let backend = or_none(record.destination.as_ref().map(|one| one.name.as_str()));
        let holds = self.backend.as_ref().is_some_and(|wanted| backend.split(['.', ':']).next() == Some(wanted))
            || self.backend.as_ref() == Some(&backend);
        hold("backend", self.backend.clone(), backend, holds);
        let subset = record.destination.as_ref().and_then(|one| one.subset.as_ref());
        let subset = or_none(subset.map(|subset| subset.led.as_str()));
        let holds = self.subset.as_ref() == Some(&subset);
        hold("subset", self.subset.clone(), subset, holds);
        let address = or_none(record.attempts.last().map(|attempt| attempt.endpoint.as_str()));
        let workload = record.destination.as_ref().and_then(|one| {
            one.endpoints.iter().find(|endpoint| endpoint.address == address).map(|one| one.workload.clone())
        });
        let holds = self.endpoint.as_ref().is_some_and(|wanted| {
            *wanted == address || workload.as_ref().is_some_and(|workload| ends(workload, wanted))
        });
        hold("endpoint", self.endpoint.clone(), workload.unwrap_or(address), holds);
        let found = record.answer.status;
        hold("status", self.status.map(|one| one.to_string()), found.to_string(), self.status == Some(found));
        let grpc = or_none(record.answer.grpc.as_deref());
        let holds = self.grpc.as_ref() == Some(&grpc);
        hold("grpc", self.grpc.clone(), grpc, holds);
        let reason = or_none(record.answer.reason.as_deref());
        let holds = self.reason.as_ref() == Some(&reason);
        hold("reason", self.reason.clone(), reason, holds);
        let found = record.attempts.len();
        hold("attempts", self.attempts.map(|one| one.to_string()), found.to_string(), self.attempts == Some(found));
        let holds = self.would.as_ref().is_some_and(|wanted| {
            wanted.len() == record.would.len() && wanted.iter().all(|one| record.would.contains(one))
        });
        hold("would", self.would.as_ref().map(|all| list(all)), list(&record.would), holds);
        if !lines.is_empty() {
            lines.push(format!("it was {}", told(record)));
        }
        lines
    }
}

/// Whether a name is this one, or ends with it behind a `/`.
fn ends(name: &str, wanted: &str) -> bool {
    name == wanted || name.strip_suffix(wanted).is_some_and(|before| before.ends_with('/'))
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// A request in a line, for whoever wonders why it is not as expected.
fn told(record: &Record) -> String {
    let mut text = format!("{} after {} ms", status(record), record.took_ms);
    for attempt in &record.attempts {
        let met = attempt.reason.clone().unwrap_or_else(|| attempt.status.to_string());
        let _ = write!(text, "; attempt {} at {} ms to {}: {met}", attempt.number, attempt.at_ms, attempt.endpoint);
    }
    if !record.answer.detail.is_empty() {
        let _ = write!(text, "; {}", record.answer.detail);
    }
    for missed in &record.missed {
        let _ = write!(text, "; not {}, which {}", missed.route, missed.because);
    }
    text
}
