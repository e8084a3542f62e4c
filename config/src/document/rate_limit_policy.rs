//! `RateLimitPolicy`: how much is let in. On a Service (or a port of it) the sidecars before its workloads carry it out,
//! each with buckets of its own; on a route or rule the caller's proxy does.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::adaptive::read_adaptive;
use super::kind::Kind as Target;
use super::matches::read_match;
use super::policy::{TARGETS, read_mode};
use super::reader::Field;
use super::reference::TargetRef;
use crate::error::{Code, Problem};
use crate::name::{ObjectName, check_subdomain};
use crate::policy::rate_limit::{GlobalLimit, OnError, Scope};
use crate::policy::{AdaptiveConcurrency, Origin, Per, RateLimit, RateLimitRule, Tell};
use crate::value::Percent;

/// The spec of a RateLimitPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitPolicy {
    /// What it is for.
    pub targets: Vec<TargetRef>,
    /// The rules and the answer.
    pub limit: RateLimit,
    /// As many requests at once as the service bears; on Services only.
    pub adaptive: Option<AdaptiveConcurrency>,
}

/// A header field of an answer: name and value.
type Header = (Arc<str>, Arc<str>);

/// Fields of a response that say where it ends or how the connection goes on: the proxy's alone.
const RESERVED: [&str; 6] =
    ["connection", "content-length", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"];

impl RateLimitPolicy {
    /// The limit, where there are rules.
    pub fn rules(&self) -> Option<&RateLimit> {
        Some(&self.limit).filter(|limit| !limit.rules.is_empty())
    }

    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, origin: &Origin) -> Self {
        let mut fields = field.fields();
        let mode = read_mode(&mut fields);
        let targets = fields.required("targetRefs").some(|field| TargetRef::read(field, owner, TARGETS));
        let adaptive = fields.optional("adaptiveConcurrency").map(|field| read_adaptive(&field, mode, origin));
        // One of the two there must be.
        let field = match &adaptive {
            Some(_) => fields.optional("rules"),
            None => Some(fields.required("rules")),
        };
        let rules = field.as_ref().map(|field| field.some(read_rule)).unwrap_or_default();
        if let Some(field) = field {
            field.unique("name", rules.iter().map(|rule| &*rule.name));
        }
        let (status, headers) = match fields.optional("onLimit") {
            Some(field) => read_answer(&field),
            None => (429, Vec::new()),
        };
        let words = [("Limited", Tell::Limited), ("Always", Tell::Always), ("Never", Tell::Never)];
        let tell = fields.optional("rateLimitFields").and_then(|field| field.choice(&words)).unwrap_or_default();
        let leases = rules.iter().any(|rule| rule.scope == Scope::Leased);
        let global = fields.optional("global").map(|field| read_global(&field, leases));
        let field = fields.finish();
        if adaptive.is_some() && targets.iter().any(|target| target.kind != Target::Service) {
            let reason = "is for Services only: the proxies before a service know how long it takes";
            field.note(Problem::new(Code::Conflict, reason).at_field("adaptiveConcurrency"));
        }
        if global.is_some() && rules.iter().all(|rule| rule.scope == Scope::Proxy) {
            let reason = "means something with a rule of scope: Global only";
            field.note(Problem::new(Code::Conflict, reason).at_field("global"));
        }
        let (origin, global) = (origin.clone(), global.unwrap_or_default());
        let limit = RateLimit { origin, mode, rules, status, headers, tell, global };
        RateLimitPolicy { targets, limit, adaptive }
    }
}

fn read_rule(field: &Field<'_>) -> RateLimitRule {
    let mut fields = field.fields();
    let name = fields.required("name").checked(check_subdomain);
    let matches = fields.optional("matches").map(|field| field.list(read_match)).unwrap_or_default();
    let (requests, interval, burst) = read_limit(&fields.required("limit"));
    let words = [
        ("Total", Kind::Total),
        ("SourceWorkload", Kind::SourceWorkload),
        ("SourceIP", Kind::SourceIp),
        ("Header", Kind::Header),
    ];
    let kind = fields.optional("per").map_or(Some(Kind::Total), |field| field.choice(&words));
    let words = [("Proxy", Scope::Proxy), ("Global", Scope::Global)];
    let scope = fields.optional("scope").and_then(|field| field.choice(&words)).unwrap_or_default();
    let words = [("Ask", Scope::Global), ("Lease", Scope::Leased)];
    let sharing = fields.optional("sharing").map(|field| field.choice(&words).unwrap_or_default());
    let header = fields.optional("header").map(|field| field.parsed(parse_name));
    let keys = fields.optional("maxKeys").map(|field| field.integer(1..=RateLimitRule::MOST_KEYS));
    let field = fields.finish();
    if sharing.is_some() && scope == Scope::Proxy {
        field.note(Problem::new(Code::Conflict, "means something with scope: Global only").at_field("sharing"));
    }
    let scope = if scope == Scope::Global { sharing.unwrap_or(scope) } else { scope };
    if scope == Scope::Leased && kind.is_some_and(|kind| kind != Kind::Total) {
        let reason = "must be Total with sharing: Lease, which divides one limit; let proxies Ask for each key";
        field.note(Problem::new(Code::Conflict, reason).at_field("per"));
    }
    if kind.is_some_and(|kind| kind == Kind::Total) && keys.is_some() {
        let reason = "means something with a per other than Total only: all requests share one bucket";
        field.note(Problem::new(Code::Conflict, reason).at_field("maxKeys"));
    }
    let per = match (kind, header) {
        (Some(Kind::Header), Some(name)) => Per::Header(name.unwrap_or_default()),
        (Some(Kind::Header), None) => {
            field.note(Problem::new(Code::MissingField, "is required by per: Header").at_field("header"));
            Per::Total
        }
        (Some(_), Some(_)) => {
            field.note(Problem::new(Code::Conflict, "means something with per: Header only").at_field("header"));
            Per::Total
        }
        (Some(Kind::SourceWorkload), None) => Per::SourceWorkload,
        (Some(Kind::SourceIp), None) => Per::SourceIp,
        (Some(Kind::Total) | None, None) | (None, Some(_)) => Per::Total,
    };
    let max_keys = keys.unwrap_or(RateLimitRule::DEFAULT_KEYS);
    RateLimitRule { name, matches, requests, interval, burst, per, max_keys, scope }
}

/// The words of `per`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Total,
    SourceWorkload,
    SourceIp,
    Header,
}

fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    let name = HeaderName::from_bytes(text.as_bytes());
    name.map(|name| name.as_str().into()).map_err(|_| Problem::invalid(text, "must be the name of a header field"))
}

/// How the control plane is asked; `leases` is whether any limit is divided.
fn read_global(field: &Field<'_>, leases: bool) -> GlobalLimit {
    let default = GlobalLimit::default();
    let mut fields = field.fields();
    let range = GlobalLimit::SHORTEST..=GlobalLimit::LONGEST;
    let timeout = fields.optional("timeout").map_or(default.timeout, |field| field.duration(range));
    let words = [("Allow", OnError::Allow), ("Deny", OnError::Deny)];
    let on_error = fields.optional("onError").and_then(|field| field.choice(&words)).unwrap_or_default();
    let fallback = fields.optional("fallback").map(|field| field.number(Percent::try_new));
    let field = fields.finish();
    if fallback.is_some() && !leases {
        let reason = "means something with a rule of sharing: Lease only";
        field.note(Problem::new(Code::Conflict, reason).at_field("fallback"));
    }
    GlobalLimit { timeout, on_error, fallback: fallback.flatten().unwrap_or(default.fallback) }
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
