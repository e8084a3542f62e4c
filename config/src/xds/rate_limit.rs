//! Local rate limits in standard fields (`envoy.extensions.filters.http.local_ratelimit.v3`).
//!
//! The filter stands idle in every chain that Envoy gets; a route switches it on for itself. It has one bucket that
//! every request draws from, so of several rules for every request the strictest is said, and a rule that counts
//! some requests only is said to nobody but our own proxy.

use std::time::Duration;

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;

use super::header;
use super::value::{duration, each, missing, number, read_number, refuse_all, required_duration, unsupported};
use super::wire::rate_limit::LocalRateLimit;
use crate::error::Problem;
use crate::header::HeaderField;
use crate::policy::rate_limit::{GlobalLimit, Scope};
use crate::policy::{Mode, Origin, Per, RateLimit, RateLimitRule, Tell};

/// The shortest interval Envoy fills a bucket in.
const MIN_FILL_INTERVAL: Duration = Duration::from_millis(50);
/// The most header fields Envoy adds to a refusal.
const MAX_HEADERS: usize = 10;

/// The filter as it stands in a chain: known, and doing nothing.
pub(super) fn idle() -> LocalRateLimit {
    LocalRateLimit { stat_prefix: "local_rate_limit".into(), ..Default::default() }
}

/// Encodes what is enforced on every request of a route.
pub(super) fn encode(limit: &RateLimit) -> Option<LocalRateLimit> {
    let every = limit.rules.iter().filter(|rule| limit.mode.enforces() && counts_all(rule));
    let strictest = every.min_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    // A status that xDS has no word for would be refused.
    let status = kinds::StatusCode::try_from(i32::from(limit.status)).unwrap_or(kinds::StatusCode::TooManyRequests);
    Some(LocalRateLimit {
        status: Some(kinds::HttpStatus { code: status.into() }),
        token_bucket: Some(bucket(strictest)),
        filter_enabled: always("local_rate_limit_enabled"),
        filter_enforced: always("local_rate_limit_enforced"),
        response_headers_to_add: limit.headers.iter().take(MAX_HEADERS).map(set).collect(),
        rate_limited_as_resource_exhausted: true,
        enable_retry_after_header: true,
        ..idle()
    })
}

/// Whether every request draws from one bucket of the rule.
fn counts_all(rule: &RateLimitRule) -> bool {
    rule.matches.is_empty() && rule.per == Per::Total && rule.scope == Scope::Proxy
}

fn rate(rule: &RateLimitRule) -> f64 {
    f64::from(rule.requests) / rule.interval.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn bucket(rule: &RateLimitRule) -> kinds::TokenBucket {
    // The same rate over an interval that Envoy takes.
    let times = MIN_FILL_INTERVAL.as_nanos().div_ceil(rule.interval.as_nanos().max(1)).max(1);
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    kinds::TokenBucket {
        max_tokens: rule.burst,
        tokens_per_fill: number(rule.requests.saturating_mul(times)),
        fill_interval: duration(rule.interval.saturating_mul(times)),
    }
}

fn always(runtime_key: &str) -> Option<core::RuntimeFractionalPercent> {
    let all = kinds::FractionalPercent {
        numerator: 100,
        denominator: kinds::fractional_percent::DenominatorType::Hundred.into(),
    };
    Some(core::RuntimeFractionalPercent { default_value: Some(all), runtime_key: runtime_key.into() })
}

fn set(field: &HeaderField) -> core::HeaderValueOption {
    header::option(field, core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd)
}

/// What a route's settings come to; nothing if they count nothing. Counting without enforcing is our Observe.
pub(super) fn decode(message: &LocalRateLimit) -> Result<Option<RateLimit>, Problem> {
    if !share("filter_enabled", message.filter_enabled.as_ref())? {
        return Ok(None);
    }
    let enforced = share("filter_enforced", message.filter_enforced.as_ref())?;
    refuse_all([
        ("descriptors", !message.descriptors.is_empty()),
        ("rate_limits", !message.rate_limits.is_empty()),
        ("local_rate_limit_per_downstream_connection", message.local_rate_limit_per_downstream_connection),
    ])?;
    let bucket = message.token_bucket.as_ref().ok_or_else(|| missing("token_bucket"))?;
    let interval = required_duration("fill_interval", bucket.fill_interval.as_ref())
        .map_err(|problem| problem.at_field("token_bucket"))?;
    // Below 400 xDS means 429.
    let status = message.status.as_ref().map_or(429, |status| status.code);
    let headers = each("response_headers_to_add", &message.response_headers_to_add, header::read_field)?;
    Ok(Some(RateLimit {
        origin: Origin::default(),
        mode: if enforced { Mode::Enforce } else { Mode::Observe },
        rules: vec![RateLimitRule {
            name: message.stat_prefix.as_str().into(),
            matches: Vec::new(),
            requests: read_number(bucket.tokens_per_fill.as_ref(), 1),
            interval,
            burst: bucket.max_tokens,
            per: Per::Total,
            max_keys: RateLimitRule::DEFAULT_KEYS,
            scope: Scope::Proxy,
        }],
        status: u16::try_from(status).ok().filter(|status| *status >= 400).unwrap_or(429),
        headers,
        tell: Tell::Never,
        global: GlobalLimit::default(),
    }))
}

/// Whether a filter that stands in a chain, not on a route, would act.
pub(super) fn is_idle(message: &LocalRateLimit) -> Result<bool, Problem> {
    let enabled = share("filter_enabled", message.filter_enabled.as_ref())?;
    Ok(!enabled || (message.token_bucket.is_none() && message.descriptors.is_empty()))
}

/// All or nothing; absent is nothing.
fn share(field: &str, message: Option<&core::RuntimeFractionalPercent>) -> Result<bool, Problem> {
    let Some(percent) = message.and_then(|message| message.default_value.as_ref()) else { return Ok(false) };
    let whole = match kinds::fractional_percent::DenominatorType::try_from(percent.denominator) {
        Ok(kinds::fractional_percent::DenominatorType::Hundred) => 100,
        Ok(kinds::fractional_percent::DenominatorType::TenThousand) => 10_000,
        Ok(kinds::fractional_percent::DenominatorType::Million) => 1_000_000,
        Err(_) => return Err(unsupported(field, "has an unknown denominator")),
    };
    match percent.numerator {
        0 => Ok(false),
        numerator if numerator >= whole => Ok(true),
        numerator => Err(unsupported(field, "must be 0 % or 100 %").with_value(numerator)),
    }
}
