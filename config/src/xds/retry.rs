//! Retries in standard fields (`envoy.config.route.v3.RetryPolicy`; gRFC A44 for gRPC).
//!
//! Envoy repeats every method; that the model repeats the idempotent ones alone is said to it by
//! `retriable_request_headers`. Of the gRPC codes only five have a token. How much of a body is kept is not said:
//! Envoy warns about the only field for it that xds-api has, and its own limit is its connection's buffer.

use std::time::Duration;

use xds_api::pb::envoy::config::route::v3 as xds;
use xds_api::pb::envoy::r#type::matcher::v3 as matcher;

use super::matching;
use super::value::{duration, each, missing, number, optional_duration, read_number, refuse_all, unsupported};
use crate::error::{Code, Problem};
use crate::policy::{
    Backoff, Condition, Conditions, GrpcCodes, Hedge, Methods, Mode, Origin, ResetFormat, ResetHeader, Retry,
    RetryAfter, Timeouts,
};
use crate::resource::ClientKind;

/// The token under which `retriable_status_codes` counts.
const STATUS_CODES: &str = "retriable-status-codes";
/// The token under which `retriable_headers` count.
const HEADERS: &str = "retriable-headers";
/// The longest wait for an answer's sake where xDS says nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The tokens of gRPC codes, by number.
const GRPC_TOKENS: [(u8, &str); 5] =
    [(1, "cancelled"), (4, "deadline-exceeded"), (8, "resource-exhausted"), (13, "internal"), (14, "unavailable")];

/// The idempotent methods, as a regular expression.
const IDEMPOTENT: &str = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE";

/// Encodes what is enforced; also a per-try timeout that stands alone.
pub(super) fn encode(retry: Option<&Retry>, timeouts: &Timeouts, client: ClientKind) -> Option<xds::RetryPolicy> {
    let retry = retry.filter(|retry| retry.mode.enforces());
    let per_try = retry.and_then(|retry| retry.per_try_timeout).or(timeouts.per_try);
    let per_try = per_try.or_else(|| hedge_delay(retry?, timeouts, client));
    let said = retry.map(|retry| (retry, encode_tokens(retry))).filter(|(_, tokens)| !tokens.is_empty());
    let Some((retry, retry_on)) = said else {
        // gRPC has no per-try timeout, and refuses a policy without retries.
        let per_try = per_try.filter(|_| client != ClientKind::Grpc)?;
        return Some(xds::RetryPolicy {
            num_retries: number(0),
            per_try_timeout: duration(per_try),
            ..Default::default()
        });
    };
    Some(xds::RetryPolicy {
        retry_on,
        num_retries: number(retry.attempts),
        per_try_timeout: per_try.and_then(duration),
        retriable_status_codes: retry.codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: Some(xds::retry_policy::RetryBackOff {
            base_interval: duration(retry.backoff.base),
            max_interval: duration(retry.backoff.max),
        }),
        retriable_headers: retry
            .headers
            .iter()
            .map(|header| matching::encode_header(&header.name, &header.value))
            .collect(),
        rate_limited_retry_back_off: encode_retry_after(retry),
        retriable_request_headers: repeated_methods(retry).into_iter().collect(),
        ..Default::default()
    })
}

/// What makes Envoy send another attempt beside one that has not answered: it does so when its per-try timeout is over,
/// and has no other.
pub(super) fn encode_hedge(retry: Option<&Retry>, timeouts: &Timeouts, client: ClientKind) -> Option<xds::HedgePolicy> {
    let retry = retry.filter(|retry| retry.mode.enforces())?;
    hedge_delay(retry, timeouts, client)?;
    Some(xds::HedgePolicy { hedge_on_per_try_timeout: true, ..Default::default() })
}

fn hedge_delay(retry: &Retry, timeouts: &Timeouts, client: ClientKind) -> Option<Duration> {
    match retry.hedge? {
        Hedge::Delay(delay) if client == ClientKind::Envoy => {
            (retry.per_try_timeout.is_none() && timeouts.per_try.is_none() && !encode_tokens(retry).is_empty())
                .then_some(delay)
        }
        Hedge::Delay(_) | Hedge::Percentile(_) => None,
    }
}

/// `retry_on`; empty where standard fields can say nothing of what is retried.
fn encode_tokens(retry: &Retry) -> String {
    let mut tokens: Vec<&str> = retry.on.iter().map(Condition::token).collect();
    if !retry.codes.is_empty() {
        tokens.push(STATUS_CODES);
    }
    if !retry.headers.is_empty() {
        tokens.push(HEADERS);
    }
    tokens.extend(GRPC_TOKENS.iter().filter(|(code, _)| retry.grpc_codes.has(*code)).map(|(_, token)| token));
    tokens.join(",")
}

/// Whether nothing but what was never sent is tried again by what `retry_on` says: a hedge and the gRPC codes without a
/// token are not said.
fn says_only_unsent(retry: &Retry) -> bool {
    retry.on.only_unsent()
        && retry.codes.is_empty()
        && retry.headers.is_empty()
        && !GRPC_TOKENS.iter().any(|(code, _)| retry.grpc_codes.has(*code))
}

/// Nothing where no answer is ever tried again.
fn encode_retry_after(retry: &Retry) -> Option<xds::retry_policy::RateLimitedRetryBackOff> {
    let after = Some(&retry.retry_after).filter(|after| !after.headers.is_empty() && !says_only_unsent(retry))?;
    Some(xds::retry_policy::RateLimitedRetryBackOff {
        reset_headers: after.headers.iter().map(reset_header).collect(),
        max_interval: duration(after.max),
    })
}

/// Encodes a field that says when another attempt makes sense.
pub(super) fn reset_header(header: &ResetHeader) -> xds::retry_policy::ResetHeader {
    let format = match header.format {
        ResetFormat::Seconds => xds::retry_policy::ResetHeaderFormat::Seconds,
        ResetFormat::UnixTimestamp => xds::retry_policy::ResetHeaderFormat::UnixTimestamp,
    };
    xds::retry_policy::ResetHeader { name: header.name.to_string(), format: format.into() }
}

/// Decodes a field that says when another attempt makes sense.
pub(super) fn read_reset_header(message: &xds::retry_policy::ResetHeader) -> Result<ResetHeader, Problem> {
    if message.name.is_empty() {
        return Err(missing("name"));
    }
    let format = match xds::retry_policy::ResetHeaderFormat::try_from(message.format) {
        Ok(xds::retry_policy::ResetHeaderFormat::Seconds) => ResetFormat::Seconds,
        Ok(xds::retry_policy::ResetHeaderFormat::UnixTimestamp) => ResetFormat::UnixTimestamp,
        Err(_) => return Err(unsupported("format", "is unknown").with_value(message.format)),
    };
    Ok(ResetHeader { name: message.name.to_ascii_lowercase().into(), format })
}

/// Nobody is listened to where nothing is said; then as xDS has it, up to five minutes.
fn decode_retry_after(message: Option<&xds::retry_policy::RateLimitedRetryBackOff>) -> Result<RetryAfter, Problem> {
    let Some(message) = message else { return Ok(RetryAfter::nobody()) };
    let max = optional_duration("max_interval", message.max_interval.as_ref())?;
    Ok(RetryAfter {
        headers: each("reset_headers", &message.reset_headers, read_reset_header)?,
        max: max.unwrap_or(LONGEST_WAIT),
    })
}

/// The methods that may be repeated, where not every one may. What was never sent needs no such care.
fn repeated_methods(retry: &Retry) -> Option<xds::HeaderMatcher> {
    let methods = match &retry.methods {
        Methods::Any => return None,
        _ if says_only_unsent(retry) => return None,
        Methods::Idempotent => IDEMPOTENT.to_owned(),
        Methods::Only(list) => list.iter().map(|method| regex::escape(method)).collect::<Vec<_>>().join("|"),
    };
    let pattern = matcher::RegexMatcher { regex: methods, engine_type: None };
    Some(xds::HeaderMatcher {
        name: ":method".into(),
        header_match_specifier: Some(xds::header_matcher::HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
            match_pattern: Some(matcher::string_matcher::MatchPattern::SafeRegex(pattern)),
            ignore_case: false,
        })),
        ..Default::default()
    })
}

/// What another control plane's retry policy comes to: a policy if anything is retried, and the per-try timeout.
pub(super) fn decode(
    message: &xds::RetryPolicy,
    body_limit: Option<u32>,
    hedges: bool,
) -> Result<(Option<Retry>, Option<Duration>), Problem> {
    let idles = message.per_try_idle_timeout.is_some_and(|timeout| timeout != Default::default());
    refuse_all([("per_try_idle_timeout", idles)])?;
    let per_try = optional_duration("per_try_timeout", message.per_try_timeout.as_ref())?;
    let per_try = per_try.filter(|timeout| !timeout.is_zero());
    let Tokens { on, grpc_codes, by_status, by_header } = decode_tokens(&message.retry_on)?;
    let mut codes = if by_status {
        each("retriable_status_codes", &message.retriable_status_codes, |code| {
            u16::try_from(*code).map_err(|_| Problem::invalid(code, "must be a status between 400 and 599"))
        })?
    } else {
        Vec::new()
    };
    codes.sort_unstable();
    codes.dedup();
    let headers = match by_header {
        true => each("retriable_headers", &message.retriable_headers, matching::decode_header)?,
        false => Vec::new(),
    };
    let attempts = read_number(message.num_retries.as_ref(), 1);
    let by_what = !codes.is_empty() || !headers.is_empty() || !grpc_codes.is_empty();
    if attempts == 0 || (on == Conditions::default() && !by_what) {
        return Ok((None, per_try));
    }
    let retry = Retry {
        origin: Origin::default(),
        mode: Mode::Enforce,
        attempts,
        on,
        codes,
        headers,
        grpc_codes,
        methods: decode_methods(&message.retriable_request_headers)
            .map_err(|problem| problem.at_field("retriable_request_headers"))?,
        // An attempt that others run beside is not cut.
        per_try_timeout: per_try.filter(|_| !hedges),
        backoff: decode_backoff(message.retry_back_off.as_ref())
            .map_err(|problem| problem.at_field("retry_back_off"))?,
        retry_after: decode_retry_after(message.rate_limited_retry_back_off.as_ref())
            .map_err(|problem| problem.at_field("rate_limited_retry_back_off"))?,
        hedge: per_try.filter(|_| hedges).map(Hedge::Delay),
        nested: false,
        body_limit: body_limit.unwrap_or(Retry::DEFAULT_BODY_LIMIT),
    };
    Ok((Some(retry), None))
}

/// xDS repeats every method, unless it is told as [`repeated_methods`] tells it.
fn decode_methods(headers: &[xds::HeaderMatcher]) -> Result<Methods, Problem> {
    let [header] = headers else {
        return if headers.is_empty() { Ok(Methods::Any) } else { Err(one_method_header()) };
    };
    let Some(xds::header_matcher::HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
        return Err(one_method_header());
    };
    let list = match &text.match_pattern {
        Some(matcher::string_matcher::MatchPattern::Exact(method)) => method.as_str(),
        Some(matcher::string_matcher::MatchPattern::SafeRegex(pattern)) => pattern.regex.as_str(),
        _ => return Err(one_method_header()),
    };
    let methods: Vec<String> = list.split('|').map(str::to_owned).collect();
    let plain = methods.iter().all(|method| method.bytes().all(|byte| byte.is_ascii_uppercase()));
    if header.name != ":method" || header.invert_match || text.ignore_case || !plain {
        return Err(one_method_header());
    }
    Ok(if list == IDEMPOTENT { Methods::Idempotent } else { Methods::Only(methods) })
}

fn one_method_header() -> Problem {
    Problem::new(Code::Unsupported, "only one match of ':method' with methods joined by '|' is supported")
}

/// What `retry_on` says.
#[derive(Default)]
struct Tokens {
    on: Conditions,
    grpc_codes: GrpcCodes,
    by_status: bool,
    by_header: bool,
}

fn decode_tokens(retry_on: &str) -> Result<Tokens, Problem> {
    let mut said = Tokens::default();
    for token in retry_on.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        if let Some(condition) = Condition::from_token(token) {
            said.on = said.on.with(condition);
        } else if let Some((code, _)) = GRPC_TOKENS.iter().find(|(_, known)| *known == token) {
            said.grpc_codes = said.grpc_codes.with(*code);
        } else if let Ok(code @ 400..=599) = token.parse::<u32>() {
            return Err(unsupported("retry_on", "list the status in retriable_status_codes").with_value(code));
        }
        said.by_status |= token == STATUS_CODES;
        said.by_header |= token == HEADERS;
        // Envoy passes over tokens it does not know, and so does every control plane that counts on it.
    }
    Ok(said)
}

fn decode_backoff(message: Option<&xds::retry_policy::RetryBackOff>) -> Result<Backoff, Problem> {
    let Some(message) = message else { return Ok(Backoff::default()) };
    let base = optional_duration("base_interval", message.base_interval.as_ref())?;
    let base = base.unwrap_or(Backoff::default().base);
    // xDS: ten times the base unless said otherwise.
    let max = optional_duration("max_interval", message.max_interval.as_ref())?.unwrap_or(base.saturating_mul(10));
    Ok(Backoff { base, max })
}
