//! Adaptive concurrency in standard fields (`envoy.extensions.filters.http.adaptive_concurrency.v3`). The filter stands in
//! a listener's chain and has no settings for routes; what is only observed goes to our own proxy alone.

use std::time::Duration;

use xds_api::pb::envoy::r#type::v3 as kinds;

use super::value::{duration, missing, number, optional_duration, read_number, required_duration};
use super::wire::adaptive::{AdaptiveConcurrency as Message, GradientController, LimitParams, MinRttParams};
use super::wire::outrigger as own;
use crate::error::Problem;
use crate::policy::adaptive::{AdaptiveConcurrency, Baseline, LEAST_INTERVAL, Measured};
use crate::policy::{Mode, Origin};
use crate::value::Percent;

/// The least that a limit is where nothing is said.
const DEFAULT_MIN: u32 = 3;
/// The most.
const DEFAULT_MAX: u32 = 1000;

/// Encodes a policy, whatever its mode.
pub(super) fn encode(policy: &AdaptiveConcurrency) -> Message {
    let share = |percent: Percent| Some(kinds::Percent { value: f64::from(percent.millionths()) / 10_000.0 });
    let status = kinds::StatusCode::try_from(i32::from(policy.status)).unwrap_or(kinds::StatusCode::ServiceUnavailable);
    let min_rtt = match policy.baseline {
        Baseline::Fixed(fixed) => MinRttParams { fixed_value: duration(fixed), ..Default::default() },
        Baseline::Measured(measured) => MinRttParams {
            interval: duration(measured.interval),
            request_count: number(measured.requests),
            jitter: share(measured.jitter),
            min_concurrency: number(measured.concurrency),
            ..Default::default()
        },
    };
    Message {
        gradient_controller_config: Some(GradientController {
            sample_aggregate_percentile: share(policy.percentile),
            concurrency_limit_params: Some(LimitParams {
                max_concurrency_limit: number(policy.max_limit),
                concurrency_update_interval: duration(policy.update_interval),
                min_concurrency_limit: number(policy.min_limit),
            }),
            min_rtt_calc_params: Some(MinRttParams { buffer: share(policy.buffer), ..min_rtt }),
        }),
        enabled: None,
        concurrency_limit_exceeded_status: Some(kinds::HttpStatus { code: status.into() }),
    }
}

/// Decodes a filter; nothing if it is switched off.
pub(super) fn decode(message: &Message) -> Result<Option<AdaptiveConcurrency>, Problem> {
    let enabled = message.enabled.as_ref().and_then(|enabled| enabled.default_value);
    if enabled.is_some_and(|enabled| !enabled.value) {
        return Ok(None);
    }
    let controller =
        message.gradient_controller_config.as_ref().ok_or_else(|| missing("gradient_controller_config"))?;
    let policy = decode_controller(controller).map_err(|problem| problem.at_field("gradient_controller_config"))?;
    // Below 400 Envoy means 503.
    let status = message.concurrency_limit_exceeded_status.as_ref().map(|status| status.code);
    let status = status.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..=599).contains(code));
    let policy = AdaptiveConcurrency { status: status.unwrap_or(503), ..policy };
    policy.check()?;
    Ok(Some(policy))
}

fn decode_controller(message: &GradientController) -> Result<AdaptiveConcurrency, Problem> {
    let limit = message.concurrency_limit_params.as_ref().ok_or_else(|| missing("concurrency_limit_params"))?;
    let min_rtt = message.min_rtt_calc_params.as_ref().ok_or_else(|| missing("min_rtt_calc_params"))?;
    let percentile = message.sample_aggregate_percentile.as_ref();
    let baseline = decode_baseline(min_rtt).map_err(|problem| problem.at_field("min_rtt_calc_params"))?;
    let update_interval = required_duration("concurrency_update_interval", limit.concurrency_update_interval.as_ref())
        .map_err(|problem| problem.at_field("concurrency_limit_params"))?
        .max(LEAST_INTERVAL);
    let usual = AdaptiveConcurrency::with_defaults(Origin::default(), Mode::Enforce);
    Ok(AdaptiveConcurrency {
        percentile: share("sample_aggregate_percentile", percentile, usual.percentile)?,
        min_limit: read_number(limit.min_concurrency_limit.as_ref(), DEFAULT_MIN),
        max_limit: read_number(limit.max_concurrency_limit.as_ref(), DEFAULT_MAX),
        update_interval,
        baseline,
        buffer: share("buffer", min_rtt.buffer.as_ref(), usual.buffer)
            .map_err(|problem| problem.at_field("min_rtt_calc_params"))?,
        ..usual
    })
}

fn decode_baseline(message: &MinRttParams) -> Result<Baseline, Problem> {
    if let Some(fixed) = optional_duration("fixed_value", message.fixed_value.as_ref())? {
        return Ok(Baseline::Fixed(fixed));
    }
    // Envoy refuses less; of the other interval it takes any.
    let interval: Duration = required_duration("interval", message.interval.as_ref())?;
    Ok(Baseline::Measured(Measured {
        interval,
        jitter: share("jitter", message.jitter.as_ref(), Measured::DEFAULT.jitter)?,
        requests: read_number(message.request_count.as_ref(), Measured::DEFAULT.requests),
        concurrency: read_number(message.min_concurrency.as_ref(), Measured::DEFAULT.concurrency),
    }))
}

fn share(field: &str, message: Option<&kinds::Percent>, otherwise: Percent) -> Result<Percent, Problem> {
    let Some(message) = message else { return Ok(otherwise) };
    Percent::try_new(message.value).map_err(|problem| problem.at_field("value").at_field(field))
}

/// Encodes a policy in our own words.
pub(super) fn encode_own(policy: &AdaptiveConcurrency) -> own::Adaptive {
    own::Adaptive {
        origin: policy.origin.to_string(),
        observe: !policy.mode.enforces(),
        concurrency: Some(encode(policy)),
        status: policy.status.into(),
    }
}

/// Decodes a policy in our own words.
pub(super) fn decode_own(message: &own::Adaptive) -> Result<AdaptiveConcurrency, Problem> {
    let inner = message.concurrency.as_ref().ok_or_else(|| missing("concurrency"))?;
    let read =
        decode(inner).map_err(|problem| problem.at_field("concurrency"))?.ok_or_else(|| missing("concurrency"))?;
    Ok(AdaptiveConcurrency {
        origin: Origin(message.origin.as_str().into()),
        mode: super::own::mode(message.observe),
        status: u16::try_from(message.status).unwrap_or_default(),
        ..read
    })
}
