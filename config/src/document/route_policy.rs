//! `RoutePolicy`: retries, timeouts, faults, caches and direct responses, carried out by the caller's proxy. Its targets are Services (every route of it),
//! routes, or single rules; the most specific policy of a rule counts alone, nothing is merged.

use std::time::Duration;

use super::cache::read_cache;
use super::fault::read_fault;
use super::load_balancing::read_hash_key;
use super::policy::{LONGER_THAN_ZERO, TARGETS, acting, read_mode};
use super::reader::Field;
use super::reference::TargetRef;
use super::retry::{RetryChoice, read_retry};
use super::subsets::read_criteria;
use crate::name::ObjectName;
use crate::policy::{Cache, Fault, Mode, Origin, Timeouts};
use crate::rewrite::DirectResponse;
use crate::route::{HashKey, Priority};
use crate::subset::Criteria;
use crate::value::MAX_DURATION;

/// What `priority` may say.
const PRIORITIES: &[(&str, Priority)] = &[("Default", Priority::Default), ("High", Priority::High)];

/// The spec of a RoutePolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Whether it acts.
    pub mode: Mode,
    /// What it is for.
    pub targets: Vec<TargetRef>,
    /// What it says about retries.
    pub retry: RetryChoice,
    /// Timeouts for rules that say none themselves; its `per_try` is always absent (the retry's `perTryTimeout` says it).
    pub timeouts: Timeouts,
    /// What backends are chosen by; empty: chance.
    pub sticky: Vec<HashKey>,
    /// Which workloads of every backend, by their labels; a backend's own `subset` adds to it and counts first.
    pub subset: Criteria,
    /// Which faults are injected.
    pub fault: Option<Fault>,
    /// Which responses are kept.
    pub cache: Option<Cache>,
    /// How much the requests matter where not all can be served.
    pub priority: Priority,
    /// What is answered in the place of every backend.
    pub response: Option<DirectResponse>,
}

impl RoutePolicy {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, origin: &Origin) -> Self {
        let mut fields = field.fields();
        let mode = read_mode(&mut fields);
        let targets = fields.required("targetRefs").some(|field| TargetRef::read(field, owner, TARGETS));
        let retry = fields.optional("retry").map(|field| read_retry(&field, mode, origin)).unwrap_or_default();
        let timeouts = acting(&mut fields, "timeouts", mode).map(|field| read_timeouts(&field)).unwrap_or_default();
        let response = acting(&mut fields, "directResponse", mode).map(|field| read_response(&field));
        let sticky = acting(&mut fields, "stickyOn", mode).map(|field| field.some(read_hash_key));
        let sticky = sticky.into_iter().flatten().flatten().collect();
        let subset = acting(&mut fields, "subset", mode).map(|field| read_criteria(&field)).unwrap_or_default();
        let fault = fields.optional("fault").map(|field| read_fault(&field, mode, origin));
        let cache = fields.optional("cache").map(|field| read_cache(&field, mode, origin));
        let priority = acting(&mut fields, "priority", mode).and_then(|field| field.choice(PRIORITIES));
        let priority = priority.unwrap_or_default();
        fields.finish();
        RoutePolicy { mode, targets, retry, timeouts, sticky, subset, fault, cache, priority, response }
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
    let stream = fields.optional("stream").map(|field| field.duration(LONGER_THAN_ZERO));
    let grpc_max = fields.optional("grpcMax").map(|field| field.duration(Duration::ZERO..=MAX_DURATION));
    fields.finish();
    Timeouts { request, per_try: None, idle, stream, grpc_max }
}
