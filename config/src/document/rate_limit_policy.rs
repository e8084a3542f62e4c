//! `RateLimitPolicy`: how much is let in. On a Service (or a port of it) the sidecars before its workloads carry it out,
//! each with buckets of its own; on a route or rule the caller's proxy does.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::matches::read_match;
use super::policy::{TARGETS, read_mode};
use super::reader::Field;
use super::reference::TargetRef;
use crate::error::Problem;
use crate::name::{ObjectName, check_subdomain};
use crate::policy::{Origin, RateLimit, RateLimitRule};

/// The spec of a RateLimitPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitPolicy {
    /// What it is for.
    pub targets: Vec<TargetRef>,
    /// The rules and the answer.
    pub limit: RateLimit,
}

/// A header field of an answer: name and value.
type Header = (Arc<str>, Arc<str>);

/// Fields of a response that say where it ends or how the connection goes on: the proxy's alone.
const RESERVED: [&str; 6] =
    ["connection", "content-length", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"];

impl RateLimitPolicy {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, origin: &Origin) -> Self {
        let mut fields = field.fields();
        let mode = read_mode(&mut fields);
        let targets = fields.required("targetRefs").some(|field| TargetRef::read(field, owner, TARGETS));
        let field = fields.required("rules");
        let rules = field.some(read_rule);
        field.unique("name", rules.iter().map(|rule| &*rule.name));
        let (status, headers) = match fields.optional("onLimit") {
            Some(field) => read_answer(&field),
            None => (429, Vec::new()),
        };
        fields.finish();
        RateLimitPolicy { targets, limit: RateLimit { origin: origin.clone(), mode, rules, status, headers } }
    }
}

fn read_rule(field: &Field<'_>) -> RateLimitRule {
    let mut fields = field.fields();
    let name = fields.required("name").checked(check_subdomain);
    let matches = fields.optional("matches").map(|field| field.list(read_match)).unwrap_or_default();
    let (requests, interval, burst) = read_limit(&fields.required("limit"));
    if let Some(field) = fields.optional("per") {
        let words = [("Total", true), ("SourceWorkload", false), ("Header", false)];
        if field.choice(&words) == Some(false) {
            field.unsupported("this version counts all callers together; leave it out or say Total");
        }
    }
    fields.finish();
    RateLimitRule { name, matches, requests, interval, burst }
}

/// `requests` in each `interval`, and at most `burst` at once (absent: as many as `requests`).
fn read_limit(field: &Field<'_>) -> (u32, Duration, u32) {
    let mut fields = field.fields();
    let requests = fields.required("requests").integer(1..=u32::MAX);
    let interval = fields.required("interval").duration(Duration::from_millis(1)..=Duration::from_secs(86_400));
    let burst = fields.optional("burst").map_or(requests, |field| field.integer(1..=u32::MAX));
    fields.finish();
    (requests, interval, burst)
}

fn read_answer(field: &Field<'_>) -> (u16, Vec<Header>) {
    let mut fields = field.fields();
    let status = fields.optional("status").map_or(429, |field| field.integer(400..=599));
    let headers = fields.optional("headers").map(|field| field.list(read_header)).unwrap_or_default();
    fields.finish();
    (u16::try_from(status).unwrap_or(429), headers)
}

fn read_header(field: &Field<'_>) -> Header {
    let mut fields = field.fields();
    let parse_name = |text: &str| match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if !RESERVED.contains(&name.as_str()) => Ok(name.as_str().into()),
        Ok(_) => Err(Problem::invalid(text, "is a field that the proxy sets itself")),
        Err(_) => Err(Problem::invalid(text, "must be the name of a header field")),
    };
    let check_value = |text: &str| match HeaderValue::from_str(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::invalid(text, "must be visible characters")),
    };
    let name = fields.required("name").parsed(parse_name).unwrap_or_default();
    let value = fields.required("value").checked(check_value);
    fields.finish();
    (name, value)
}
