//! Rate limits as our own messages: every rule, with its matches and its keys.

use super::super::matching;
use super::super::value::{duration, each, required_duration};
use super::super::wire::outrigger as own;
use super::{mode, status};
use crate::error::Problem;
use crate::policy::rate_limit::{GlobalLimit, OnError, Scope};
use crate::policy::{Origin, Per, RateLimit, RateLimitRule, Tell};
use crate::resource::ClientKind;
use crate::value::Percent;

/// Encodes a rate limit policy.
pub(in crate::xds) fn rate_limit(limit: &RateLimit) -> own::RateLimit {
    let rule = |rule: &RateLimitRule| own::RateLimitRule {
        name: rule.name.to_string(),
        matches: rule.matches.iter().map(|matches| matching::encode(matches, ClientKind::Outrigger)).collect(),
        requests: rule.requests,
        interval: duration(rule.interval),
        burst: rule.burst,
        per: encode_per(&rule.per),
        max_keys: rule.max_keys,
        scope: match rule.scope {
            Scope::Proxy => own::Scope::Proxy,
            Scope::Global => own::Scope::Global,
            Scope::Leased => own::Scope::Leased,
        }
        .into(),
    };
    let header = |(name, value): &(std::sync::Arc<str>, std::sync::Arc<str>)| own::Header {
        name: name.to_string(),
        value: value.to_string(),
    };
    own::RateLimit {
        origin: limit.origin.to_string(),
        observe: !limit.mode.enforces(),
        rules: limit.rules.iter().map(rule).collect(),
        status: u32::from(limit.status),
        headers: limit.headers.iter().map(header).collect(),
        tell: encode_tell(limit.tell).into(),
        global: Some(own::GlobalLimit {
            timeout: duration(limit.global.timeout),
            deny: limit.global.on_error == OnError::Deny,
            fallback_millionths: limit.global.fallback.millionths(),
        }),
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
            per: decode_per(rule.per.as_ref())?,
            max_keys: if rule.max_keys == 0 { RateLimitRule::DEFAULT_KEYS } else { rule.max_keys },
            scope: match own::Scope::try_from(rule.scope) {
                Ok(own::Scope::Proxy) => Scope::Proxy,
                Ok(own::Scope::Global) => Scope::Global,
                Ok(own::Scope::Leased) => Scope::Leased,
                Err(error) => return Err(Problem::invalid(rule.scope, error.to_string()).at_field("scope")),
            },
        })
    };
    let header = |header: &own::Header| (header.name.as_str().into(), header.value.as_str().into());
    Ok(RateLimit {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        rules: each("rules", &message.rules, rule)?,
        status: status(&message.status).map_err(|problem| problem.at_field("status"))?,
        headers: message.headers.iter().map(header).collect(),
        tell: decode_tell(message.tell)?,
        global: decode_global(message.global.as_ref()).map_err(|problem| problem.at_field("global"))?,
    })
}

fn decode_global(message: Option<&own::GlobalLimit>) -> Result<GlobalLimit, Problem> {
    let Some(message) = message else { return Ok(GlobalLimit::default()) };
    Ok(GlobalLimit {
        timeout: required_duration("timeout", message.timeout.as_ref())?,
        on_error: if message.deny { OnError::Deny } else { OnError::Allow },
        fallback: Percent::from_millionths(message.fallback_millionths)
            .map_err(|problem| problem.at_field("fallback_millionths"))?,
    })
}

fn encode_per(per: &Per) -> Option<own::Per> {
    let (kind, header) = match per {
        Per::Total => return None,
        Per::SourceWorkload => (own::PerKind::SourceWorkload, ""),
        Per::SourceIp => (own::PerKind::SourceIp, ""),
        Per::Header(name) => (own::PerKind::Header, &**name),
    };
    Some(own::Per { kind: kind.into(), header: header.to_owned() })
}

fn decode_per(message: Option<&own::Per>) -> Result<Per, Problem> {
    let Some(message) = message else { return Ok(Per::Total) };
    match own::PerKind::try_from(message.kind) {
        Ok(own::PerKind::SourceWorkload) => Ok(Per::SourceWorkload),
        Ok(own::PerKind::SourceIp) => Ok(Per::SourceIp),
        Ok(own::PerKind::Header) => Ok(Per::Header(message.header.as_str().into())),
        Err(error) => Err(Problem::invalid(message.kind, error.to_string()).at_field("per")),
    }
}

fn encode_tell(tell: Tell) -> own::Tell {
    match tell {
        Tell::Limited => own::Tell::Limited,
        Tell::Always => own::Tell::Always,
        Tell::Never => own::Tell::Never,
    }
}

fn decode_tell(number: i32) -> Result<Tell, Problem> {
    match own::Tell::try_from(number) {
        Ok(own::Tell::Limited) => Ok(Tell::Limited),
        Ok(own::Tell::Always) => Ok(Tell::Always),
        Ok(own::Tell::Never) => Ok(Tell::Never),
        Err(error) => Err(Problem::invalid(number, error.to_string()).at_field("tell")),
    }
}
