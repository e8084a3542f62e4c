//! The policies of a route.

use std::sync::Arc;

use super::super::value::{duration, each, missing, required_duration};
use super::super::wire::outrigger as own;
use super::super::{fault, matching};
use super::{mode, read_retry, retry, status};
use crate::error::Problem;
use crate::policy::fault::Scope;
use crate::policy::{Fault, Origin, RateLimit, RateLimitRule};
use crate::resource::ClientKind;
use crate::route::Rehearsed;

/// Encodes a rate limit policy.
pub(in crate::xds) fn rate_limit(limit: &RateLimit) -> own::RateLimit {
    let rule = |rule: &RateLimitRule| own::RateLimitRule {
        name: rule.name.to_string(),
        matches: rule.matches.iter().map(|matches| matching::encode(matches, ClientKind::Outrigger)).collect(),
        requests: rule.requests,
        interval: duration(rule.interval),
        burst: rule.burst,
    };
    let header =
        |(name, value): &(Arc<str>, Arc<str>)| own::Header { name: name.to_string(), value: value.to_string() };
    own::RateLimit {
        origin: limit.origin.to_string(),
        observe: !limit.mode.enforces(),
        rules: limit.rules.iter().map(rule).collect(),
        status: u32::from(limit.status),
        headers: limit.headers.iter().map(header).collect(),
    }
}

/// Decodes a rate limit policy.
pub(in crate::xds) fn read_rate_limit(message: &own::RateLimit) -> Result<RateLimit, Problem> {
    let rule = |rule: &own::RateLimitRule| {
        Ok(RateLimitRule {
            name: rule.name.as_str().into(),
            matches: each("matches", &rule.matches, matching::decode)?,
            requests: rule.requests,
            interval: required_duration("interval", rule.interval.as_ref())?,
            burst: rule.burst,
        })
    };
    let header = |header: &own::Header| (header.name.as_str().into(), header.value.as_str().into());
    Ok(RateLimit {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        rules: each("rules", &message.rules, rule)?,
        status: status(&message.status).map_err(|problem| problem.at_field("status"))?,
        headers: message.headers.iter().map(header).collect(),
    })
}

/// Encodes what is only observed.
pub(in crate::xds) fn rehearsed(rehearsed: &Rehearsed) -> Option<own::RehearsedRoute> {
    (*rehearsed != Rehearsed::default()).then(|| own::RehearsedRoute {
        retry: rehearsed.retry.as_ref().map(retry),
        rate_limit: rehearsed.rate_limit.as_ref().map(rate_limit),
        fault: rehearsed.fault.as_ref().map(fault),
    })
}

/// Decodes what is only observed.
pub(in crate::xds) fn read_rehearsed(message: Option<&own::RehearsedRoute>) -> Result<Rehearsed, Problem> {
    let Some(message) = message else { return Ok(Rehearsed::default()) };
    let retry = message.retry.as_ref().map(read_retry).transpose();
    let rate_limit = message.rate_limit.as_ref().map(read_rate_limit).transpose();
    let fault = message.fault.as_ref().map(read_fault).transpose();
    Ok(Rehearsed {
        retry: retry.map_err(|problem| problem.at_field("retry"))?,
        rate_limit: rate_limit.map_err(|problem| problem.at_field("rate_limit"))?,
        fault: fault.map_err(|problem| problem.at_field("fault"))?,
    })
}

/// Encodes a fault policy.
pub(in crate::xds) fn fault(policy: &Fault) -> own::Fault {
    own::Fault {
        origin: policy.origin.to_string(),
        observe: !policy.mode.enforces(),
        each_attempt: policy.scope == Scope::Attempt,
        fault: Some(fault::encode(policy)),
    }
}

/// Decodes a fault policy.
pub(in crate::xds) fn read_fault(message: &own::Fault) -> Result<Fault, Problem> {
    let inner = message.fault.as_ref().ok_or_else(|| missing("fault"))?;
    let read = fault::decode(inner).map_err(|problem| problem.at_field("fault"))?.ok_or_else(|| missing("fault"))?;
    Ok(Fault {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        scope: if message.each_attempt { Scope::Attempt } else { Scope::Request },
        ..read
    })
}
