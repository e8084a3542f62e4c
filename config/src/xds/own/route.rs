//! The policies of a route.

use super::super::value::missing;
use super::super::wire::outrigger as own;
use super::super::{cache, fault};
use super::{mode, rate_limit, read_rate_limit, read_retry, retry};
use crate::error::Problem;
use crate::policy::fault::Scope;
use crate::policy::{Fault, Origin};
use crate::route::Rehearsed;

/// Encodes what is only observed.
pub(in crate::xds) fn rehearsed(rehearsed: &Rehearsed) -> Option<own::RehearsedRoute> {
    (*rehearsed != Rehearsed::default()).then(|| own::RehearsedRoute {
        retry: rehearsed.retry.as_ref().map(retry),
        rate_limit: rehearsed.rate_limit.as_ref().map(rate_limit),
        fault: rehearsed.fault.as_ref().map(fault),
        cache: rehearsed.cache.as_ref().map(cache::encode),
    })
}

/// Decodes what is only observed.
pub(in crate::xds) fn read_rehearsed(message: Option<&own::RehearsedRoute>) -> Result<Rehearsed, Problem> {
    let Some(message) = message else { return Ok(Rehearsed::default()) };
    let retry = message.retry.as_ref().map(read_retry).transpose();
    let rate_limit = message.rate_limit.as_ref().map(read_rate_limit).transpose();
    let fault = message.fault.as_ref().map(read_fault).transpose();
    let cache = message.cache.as_ref().map(cache::decode).transpose();
    Ok(Rehearsed {
        retry: retry.map_err(|problem| problem.at_field("retry"))?,
        rate_limit: rate_limit.map_err(|problem| problem.at_field("rate_limit"))?,
        fault: fault.map_err(|problem| problem.at_field("fault"))?,
        cache: cache.map_err(|problem| problem.at_field("cache"))?,
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
