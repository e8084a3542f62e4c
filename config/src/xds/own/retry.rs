//! Retry policies as our own message.

use super::super::matching;
use super::super::retry::{read_reset_header, reset_header};
use super::super::value::{duration, each, optional_duration, required_duration};
use super::super::wire::outrigger as own;
use super::{mode, percent, status};
use crate::error::Problem;
use crate::policy::{Backoff, Condition, Conditions, GrpcCodes, Hedge, Methods, Origin, Retry, RetryAfter};
use crate::value::Percent;

/// Encodes a retry policy.
pub(in crate::xds) fn retry(retry: &Retry) -> own::Retry {
    let (methods, only_methods) = match &retry.methods {
        Methods::Idempotent => (own::Methods::Idempotent, Vec::new()),
        Methods::Any => (own::Methods::Any, Vec::new()),
        Methods::Only(list) => (own::Methods::Only, list.clone()),
    };
    own::Retry {
        origin: retry.origin.to_string(),
        observe: !retry.mode.enforces(),
        attempts: retry.attempts,
        on: retry.on.iter().map(|condition| condition.token().to_owned()).collect(),
        codes: retry.codes.iter().map(|code| u32::from(*code)).collect(),
        grpc_codes: retry.grpc_codes.iter().map(u32::from).collect(),
        methods: methods.into(),
        only_methods,
        per_try_timeout: retry.per_try_timeout.and_then(duration),
        backoff_base: duration(retry.backoff.base),
        backoff_max: duration(retry.backoff.max),
        body_limit: retry.body_limit,
        headers: retry.headers.iter().map(|header| matching::encode_header(&header.name, &header.value)).collect(),
        reset_headers: retry.retry_after.headers.iter().map(reset_header).collect(),
        retry_after_max: duration(retry.retry_after.max),
        nested: retry.nested,
        hedge_delay: match retry.hedge {
            Some(Hedge::Delay(delay)) => duration(delay),
            _ => None,
        },
        hedge_percentile_millionths: match retry.hedge {
            Some(Hedge::Percentile(share)) => share.millionths(),
            _ => 0,
        },
    }
}

/// Decodes a retry policy.
pub(in crate::xds) fn read_retry(message: &own::Retry) -> Result<Retry, Problem> {
    let methods = match own::Methods::try_from(message.methods) {
        Ok(own::Methods::Idempotent) => Methods::Idempotent,
        Ok(own::Methods::Any) => Methods::Any,
        Ok(own::Methods::Only) => Methods::Only(message.only_methods.clone()),
        Err(error) => return Err(Problem::invalid(message.methods, error.to_string()).at_field("methods")),
    };
    let condition = |token: &String| {
        Condition::from_token(token).ok_or_else(|| Problem::invalid(token, "is no retry condition of this version"))
    };
    let grpc_code = |number: &u32| match u8::try_from(*number) {
        Ok(code @ 0..=16) => Ok(code),
        _ => Err(Problem::invalid(number, "must be a gRPC status code, 0 to 16")),
    };
    Ok(Retry {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        attempts: message.attempts,
        on: Conditions::from_iter(each("on", &message.on, condition)?),
        codes: each("codes", &message.codes, status)?,
        headers: each("headers", &message.headers, matching::decode_header)?,
        grpc_codes: each("grpc_codes", &message.grpc_codes, grpc_code)?
            .into_iter()
            .fold(GrpcCodes::default(), GrpcCodes::with),
        methods,
        per_try_timeout: optional_duration("per_try_timeout", message.per_try_timeout.as_ref())?,
        backoff: Backoff {
            base: required_duration("backoff_base", message.backoff_base.as_ref())?,
            max: required_duration("backoff_max", message.backoff_max.as_ref())?,
        },
        retry_after: RetryAfter {
            headers: each("reset_headers", &message.reset_headers, read_reset_header)?,
            max: required_duration("retry_after_max", message.retry_after_max.as_ref())?,
        },
        hedge: match optional_duration("hedge_delay", message.hedge_delay.as_ref())? {
            Some(delay) => Some(Hedge::Delay(delay)),
            None => match percent("hedge_percentile_millionths", message.hedge_percentile_millionths)? {
                Percent::ZERO => None,
                share => Some(Hedge::Percentile(share)),
            },
        },
        nested: message.nested,
        body_limit: message.body_limit,
    })
}
