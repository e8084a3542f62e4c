//! What a route's retries keep while it lives: the fields of answers that they look for, and how long answers take.

use std::sync::Arc;

use http::{HeaderMap, Method};
use outrigger_config::matching::{HeaderMatch, RouteMatch};
use outrigger_config::policy::Retry;

use super::matcher::{Facts, Matcher};
use super::pace::Pace;

/// What the retries of a route keep.
#[derive(Debug)]
pub struct Retrying {
    /// Which fields of an answer make it worth repeating.
    pub headers: AnswerFields,
    /// How long answers take; shared with the route's earlier configurations.
    pub pace: Arc<Pace>,
}

/// Fields of an answer, any of which makes it worth repeating (`retriable_headers`).
#[derive(Debug, Default)]
pub struct AnswerFields(Box<[Matcher]>);

impl Retrying {
    /// For a policy that repeats more than what was never sent.
    pub fn new(policy: &Retry, pace: Arc<Pace>) -> Self {
        Retrying { headers: AnswerFields::new(&policy.headers), pace }
    }
}

impl AnswerFields {
    /// Parses the names.
    pub fn new(fields: &[HeaderMatch]) -> Self {
        let matcher =
            |field: &HeaderMatch| Matcher::new(&RouteMatch { headers: vec![field.clone()], ..RouteMatch::any() });
        AnswerFields(fields.iter().map(matcher).collect())
    }

    /// Whether an answer has one of them.
    pub fn any(&self, headers: &HeaderMap) -> bool {
        let facts = Facts { authority: "", path: "/", query: None, method: &Method::GET, headers, grpc: false };
        self.0.iter().any(|matcher| matcher.matches(&facts))
    }
}
