//! `RoutePolicy`: retries, timeouts, faults and direct responses, carried out by the caller's proxy. Its targets are Services (every route of it),
//! routes, or single rules; the most specific policy of a rule counts alone, nothing is merged.

use super::fault::{parse_grpc_code, read_fault};
use super::load_balancing::read_hash_key;
use super::matches::METHODS;
use super::policy::{LONGER_THAN_ZERO, TARGETS, read_mode};
use super::reader::Field;
use super::reference::TargetRef;
use crate::error::{Code, Problem};
use crate::name::ObjectName;
use crate::policy::{Backoff, Condition, Conditions, Fault, GrpcCodes, Methods, Mode, Origin, Retry, Timeouts};
use crate::rewrite::DirectResponse;
use crate::route::{HashKey, Priority};
use crate::value::format_duration;

/// The spec of a RoutePolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePolicy {
    /// What it is for.
    pub targets: Vec<TargetRef>,
    /// What it says about retries.
    pub retry: RetryChoice,
    /// Timeouts for rules that say none themselves; its `per_try` is always absent (the retry's `perTryTimeout` says it).
    pub timeouts: Timeouts,
    /// What backends are chosen by; empty: chance.
    pub sticky: Vec<HashKey>,
    /// Which faults are injected.
    pub fault: Option<Fault>,
    /// How much the requests matter where not all can be served.
    pub priority: Priority,
    /// What is answered in the place of every backend.
    pub response: Option<DirectResponse>,
}

/// What a policy says about retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RetryChoice {
    /// Nothing: the default policy holds.
    #[default]
    Default,
    /// `attempts: 0`: never.
    Never,
    /// As this says.
    Policy(Retry),
}

impl RoutePolicy {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, origin: &Origin) -> Self {
        let mut fields = field.fields();
        let mode = read_mode(&mut fields);
        let targets = fields.required("targetRefs").some(|field| TargetRef::read(field, owner, TARGETS));
        let retry = fields.optional("retry").map(|field| read_retry(&field, mode, origin)).unwrap_or_default();
        let timeouts = match fields.optional("timeouts") {
            Some(field) if !mode.enforces() => {
                field.unsupported("timeouts cannot be observed only; give them a policy of their own");
                Timeouts::default()
            }
            Some(field) => read_timeouts(&field),
            None => Timeouts::default(),
        };
        let response = fields.optional("directResponse").map(|field| {
            if !mode.enforces() {
                field.unsupported("a direct response cannot be observed only; give it a policy of its own");
            }
            read_response(&field)
        });
        let sticky = fields.optional("stickyOn").map(|field| {
            if !mode.enforces() {
                field.unsupported("a choice of backends cannot be observed only; give it a policy of its own");
            }
            field.some(read_hash_key)
        });
        let sticky = sticky.into_iter().flatten().flatten().collect();
        let fault = fields.optional("fault").map(|field| read_fault(&field, mode, origin));
        let priorities = &[("Default", Priority::Default), ("High", Priority::High)];
        let priority = fields.optional("priority").map(|field| {
            if !mode.enforces() {
                field.unsupported("a priority cannot be observed only; give it a policy of its own");
            }
            field.choice(priorities).unwrap_or_default()
        });
        let priority = priority.unwrap_or_default();
        fields.finish();
        RoutePolicy { targets, retry, timeouts, sticky, fault, priority, response }
    }
}

fn read_response(field: &Field<'_>) -> DirectResponse {
    let mut fields = field.fields();
    let status = u16::try_from(fields.required("status").integer(200..=599)).unwrap_or_default();
    let body = fields.optional("body").map(|field| field.text()).unwrap_or_default();
    let field = fields.finish();
    let response = DirectResponse { status, body };
    // A status out of range is noted already.
    if let Err(problem) = response.check()
        && problem.path != "status"
    {
        field.note(problem);
    }
    response
}

fn read_timeouts(field: &Field<'_>) -> Timeouts {
    let mut fields = field.fields();
    let request = fields.optional("request").map(|field| field.duration(LONGER_THAN_ZERO));
    let idle = fields.optional("idle").map(|field| field.duration(LONGER_THAN_ZERO));
    fields.finish();
    Timeouts { request, per_try: None, idle }
}

fn read_retry(field: &Field<'_>, mode: Mode, origin: &Origin) -> RetryChoice {
    let mut fields = field.fields();
    let defaults = Retry::default_policy();
    let attempts = fields.optional("attempts").map_or(defaults.attempts, |field| field.integer(0..=10));
    let on = fields.optional("on").map_or(defaults.on, |field| read_conditions(&field));
    let mut codes = fields.optional("codes").map(|field| field.list(read_status)).unwrap_or_default();
    let grpc_codes = fields.optional("grpcCodes").map(|field| read_grpc_codes(&field)).unwrap_or_default();
    let methods = fields.optional("methods").map(|field| read_methods(&field)).unwrap_or_default();
    let per_try_timeout = fields.optional("perTryTimeout").map(|field| field.duration(LONGER_THAN_ZERO));
    let backoff = fields.optional("backoff").map(|field| read_backoff(&field)).unwrap_or_default();
    // The upper bound keeps one proxy's replay buffers within reason: 16 MiB.
    let body_limit = fields.optional("bodyLimit").map_or(defaults.body_limit, |field| field.integer(0..=16 << 20));
    fields.finish();
    codes.sort_unstable();
    codes.dedup();
    if attempts == 0 {
        return RetryChoice::Never;
    }
    let origin = origin.clone();
    RetryChoice::Policy(Retry {
        origin,
        mode,
        attempts,
        on,
        codes,
        grpc_codes,
        methods,
        per_try_timeout,
        backoff,
        body_limit,
    })
}

fn read_conditions(field: &Field<'_>) -> Conditions {
    let words = Condition::ALL.map(|condition| (condition.token(), condition));
    field.list(|field| field.choice(&words)).into_iter().flatten().collect()
}

fn read_status(field: &Field<'_>) -> u16 {
    u16::try_from(field.integer(400..=599)).unwrap_or(u16::MAX)
}

fn read_grpc_codes(field: &Field<'_>) -> GrpcCodes {
    field.list(|field| field.parsed(parse_grpc_code)).into_iter().flatten().fold(GrpcCodes::default(), GrpcCodes::with)
}

/// Names of methods, or `["*"]`: the service declares that repeating any is safe.
fn read_methods(field: &Field<'_>) -> Methods {
    let words: Vec<_> = METHODS.iter().copied().chain([("*", "*")]).collect();
    let methods: Vec<&str> = field.some(|field| field.choice(&words)).into_iter().flatten().collect();
    if methods.contains(&"*") {
        if methods.len() > 1 {
            field.note(Problem::new(Code::Conflict, "\"*\" means every method, so that it must stand alone"));
        }
        return Methods::Any;
    }
    Methods::Only(methods.into_iter().map(str::to_owned).collect())
}

fn read_backoff(field: &Field<'_>) -> Backoff {
    let mut fields = field.fields();
    let defaults = Backoff::default();
    let base = fields.optional("base").map_or(defaults.base, |field| field.duration(LONGER_THAN_ZERO));
    // A longer base than the default maximum takes the maximum with it.
    let max = fields.optional("max").map_or(defaults.max.max(base), |field| field.duration(LONGER_THAN_ZERO));
    let field = fields.finish();
    if max < base {
        let reason = format!("must be at least as long as base, which is {}", format_duration(base));
        field.note(Problem::new(Code::Conflict, reason).at_field("max"));
    }
    Backoff { base, max }
}
