//! `retry` of a RoutePolicy: what is tried again, how often, and how long between.

use std::time::Duration;

use super::fault::parse_grpc_code;
use super::matches::{METHODS, parse_field_name, read_headers};
use super::policy::LONGER_THAN_ZERO;
use super::reader::Field;
use crate::error::{Code, Problem};
use crate::policy::{
    Backoff, Condition, Conditions, GrpcCodes, Hedge, Methods, Mode, Origin, ResetFormat, ResetHeader, Retry,
    RetryAfter,
};
use crate::value::{Percent, format_duration};

/// What a policy says about retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one a policy, and most of them have it")]
pub enum RetryChoice {
    /// Nothing: the default policy holds.
    #[default]
    Default,
    /// `attempts: 0`: never.
    Never,
    /// As this says.
    Policy(Retry),
}

/// Reads `retry`; absent fields are those of the default policy.
pub(super) fn read_retry(field: &Field<'_>, mode: Mode, origin: &Origin) -> RetryChoice {
    let mut fields = field.fields();
    let defaults = Retry::default_policy();
    let attempts = fields.optional("attempts").map_or(defaults.attempts, |field| field.integer(0..=10));
    let on = fields.optional("on").map_or(defaults.on, |field| read_conditions(&field));
    let mut codes = fields.optional("codes").map(|field| field.list(read_status)).unwrap_or_default();
    let grpc_codes = fields.optional("grpcCodes").map(|field| read_grpc_codes(&field)).unwrap_or_default();
    let methods = fields.optional("methods").map(|field| read_methods(&field)).unwrap_or_default();
    let per_try_timeout = fields.optional("perTryTimeout").map(|field| field.duration(LONGER_THAN_ZERO));
    let backoff = fields.optional("backoff").map(|field| read_backoff(&field)).unwrap_or_default();
    let retry_after = fields.optional("retryAfter").map(|field| read_retry_after(&field)).unwrap_or_default();
    let headers = fields.optional("headers").map(|field| read_headers(&field)).unwrap_or_default();
    let hedge = fields.optional("hedge").and_then(|field| read_hedge(&field, per_try_timeout));
    let nested = fields.optional("nested").is_some_and(|field| field.boolean());
    // The upper bound keeps one proxy's replay buffers within reason: 16 MiB.
    let body_limit = fields.optional("bodyLimit").map_or(defaults.body_limit, |field| field.integer(0..=16 << 20));
    fields.finish();
    codes.sort_unstable();
    codes.dedup();
    if attempts == 0 {
        if !mode.enforces() {
            field.unsupported("doing without retries cannot be observed only; give it a policy of its own");
        }
        return RetryChoice::Never;
    }
    let origin = origin.clone();
    RetryChoice::Policy(Retry {
        origin,
        mode,
        attempts,
        on,
        codes,
        headers,
        grpc_codes,
        methods,
        per_try_timeout,
        backoff,
        retry_after,
        hedge,
        nested,
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

fn read_retry_after(field: &Field<'_>) -> RetryAfter {
    let mut fields = field.fields();
    let defaults = RetryAfter::default();
    let max = fields.optional("max").map_or(defaults.max, |field| field.duration(LONGER_THAN_ZERO));
    let headers = fields.optional("headers").map_or(defaults.headers, |field| field.list(read_reset_header));
    let field = fields.finish();
    let after = RetryAfter { headers, max };
    if let Err(problem) = after.check() {
        field.note(problem);
    }
    after
}

fn read_hedge(field: &Field<'_>, per_try_timeout: Option<Duration>) -> Option<Hedge> {
    let mut fields = field.fields();
    let delay = fields.optional("delay").map(|field| Hedge::Delay(field.duration(LONGER_THAN_ZERO)));
    let percentile = fields.optional("percentile").map(|field| field.number(Percent::try_new).map(Hedge::Percentile));
    let field = fields.finish();
    let hedge = match (delay, percentile) {
        (Some(delay), None) => delay,
        (None, Some(percentile)) => percentile?,
        (None, None) => {
            field.note(Problem::new(Code::MissingField, "needs one of delay, percentile"));
            return None;
        }
        (Some(_), Some(_)) => {
            field.note(Problem::new(Code::Conflict, "takes only one of delay, percentile"));
            return None;
        }
    };
    if let Err(problem) = hedge.check(per_try_timeout) {
        field.note(problem);
    }
    Some(hedge)
}

fn read_reset_header(field: &Field<'_>) -> ResetHeader {
    const FORMATS: &[(&str, ResetFormat)] =
        &[("Seconds", ResetFormat::Seconds), ("UnixTimestamp", ResetFormat::UnixTimestamp)];
    let mut fields = field.fields();
    let name = fields.required("name").parsed(parse_field_name).unwrap_or_default();
    let format = fields.optional("format").and_then(|field| field.choice(FORMATS)).unwrap_or_default();
    fields.finish();
    ResetHeader { name, format }
}
