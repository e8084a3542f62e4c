//! Faults in standard fields (`envoy.extensions.filters.http.fault.v3.HTTPFault`).
//!
//! The filter stands idle in every chain that Envoy gets; a route switches it on for itself. It stands outside the
//! retries, so that a fault of each attempt is said to nobody but our own proxy.

use xds_api::pb::envoy::r#type::v3 as kinds;

use super::matching::{decode_header, encode_header};
use super::value::{duration, each, missing, optional_duration, refuse_all, unsupported};
use super::wire::fault::{ByHeader, FaultAbort, FaultDelay, FaultRateLimit, FixedLimit, HttpFault};
use crate::error::Problem;
use crate::policy::fault::{Abort, AbortWith, Delay, Fault, Scope, Throttle};
use crate::policy::{Mode, Origin};
use crate::value::Percent;

use kinds::fractional_percent::DenominatorType;

/// What Envoy is told of a fault.
pub(super) fn encode_for_envoy(fault: &Fault) -> Option<HttpFault> {
    (fault.mode.enforces() && fault.scope == Scope::Request).then(|| encode(fault))
}

/// What a fault does.
pub(super) fn encode(fault: &Fault) -> HttpFault {
    let delay = |delay: &Delay| FaultDelay {
        fixed_delay: delay.fixed.and_then(duration),
        header_delay: delay.fixed.is_none().then_some(ByHeader {}),
        percentage: percentage(delay.percent),
    };
    let abort = |abort: &Abort| {
        let bare = FaultAbort { percentage: percentage(abort.percent), ..Default::default() };
        match abort.with {
            AbortWith::Status(status) => FaultAbort { http_status: Some(status.into()), ..bare },
            AbortWith::Grpc(status) => FaultAbort { grpc_status: Some(status.into()), ..bare },
            AbortWith::Header => FaultAbort { header_abort: Some(ByHeader {}), ..bare },
        }
    };
    let throttle = |throttle: &Throttle| FaultRateLimit {
        fixed_limit: throttle.kib_per_second.map(|rate| FixedLimit { limit_kbps: rate.into() }),
        header_limit: throttle.kib_per_second.is_none().then_some(ByHeader {}),
        percentage: percentage(throttle.percent),
    };
    HttpFault {
        delay: fault.delay.as_ref().map(delay),
        abort: fault.abort.as_ref().map(abort),
        response_rate_limit: fault.throttle.as_ref().map(throttle),
        headers: fault.headers.iter().map(|header| encode_header(&header.name, &header.value)).collect(),
        ..Default::default()
    }
}

/// What a route's settings come to; nothing if they do nothing.
pub(super) fn decode(message: &HttpFault) -> Result<Option<Fault>, Problem> {
    refuse_all([
        ("upstream_cluster", !message.upstream_cluster.is_empty()),
        ("downstream_nodes", !message.downstream_nodes.is_empty()),
        ("max_active_faults", message.max_active_faults.is_some()),
    ])?;
    if message.delay.is_none() && message.abort.is_none() && message.response_rate_limit.is_none() {
        return Ok(None);
    }
    let fault = Fault {
        origin: Origin::default(),
        mode: Mode::Enforce,
        scope: Scope::Request,
        headers: each("headers", &message.headers, decode_header)?,
        delay: message.delay.as_ref().map(decode_delay).transpose().map_err(|problem| problem.at_field("delay"))?,
        abort: message.abort.as_ref().map(decode_abort).transpose().map_err(|problem| problem.at_field("abort"))?,
        throttle: message
            .response_rate_limit
            .as_ref()
            .map(decode_throttle)
            .transpose()
            .map_err(|problem| problem.at_field("response_rate_limit"))?,
    };
    fault.check()?;
    Ok(Some(fault))
}

fn decode_delay(message: &FaultDelay) -> Result<Delay, Problem> {
    let fixed = optional_duration("fixed_delay", message.fixed_delay.as_ref())?;
    if fixed.is_none() && message.header_delay.is_none() {
        return Err(missing("fixed_delay"));
    }
    Ok(Delay { fixed, percent: read_percentage(message.percentage.as_ref())? })
}

fn decode_abort(message: &FaultAbort) -> Result<Abort, Problem> {
    let narrow = |field: &str, status: u32| {
        u16::try_from(status).map_err(|_| Problem::invalid(status, "must be a status").at_field(field))
    };
    let with = match (message.http_status, message.grpc_status, message.header_abort) {
        (Some(status), ..) => AbortWith::Status(narrow("http_status", status)?),
        // Larger than any: the check refuses it.
        (None, Some(status), _) => AbortWith::Grpc(u8::try_from(status).unwrap_or(u8::MAX)),
        (None, None, Some(_)) => AbortWith::Header,
        (None, None, None) => return Err(missing("http_status")),
    };
    Ok(Abort { with, percent: read_percentage(message.percentage.as_ref())? })
}

fn decode_throttle(message: &FaultRateLimit) -> Result<Throttle, Problem> {
    if message.fixed_limit.is_none() && message.header_limit.is_none() {
        return Err(missing("fixed_limit"));
    }
    let kib_per_second = match message.fixed_limit {
        Some(FixedLimit { limit_kbps: 0 }) => {
            let problem = Problem::invalid(0, "must be at least 1");
            return Err(problem.at_field("limit_kbps").at_field("fixed_limit"));
        }
        // More than the model can say is no bound any more.
        Some(FixedLimit { limit_kbps }) => Some(u32::try_from(limit_kbps).unwrap_or(u32::MAX)),
        None => None,
    };
    Ok(Throttle { kib_per_second, percent: read_percentage(message.percentage.as_ref())? })
}

/// A share, as xDS has it.
pub(super) fn percentage(percent: Percent) -> Option<kinds::FractionalPercent> {
    Some(kinds::FractionalPercent { numerator: percent.millionths(), denominator: DenominatorType::Million.into() })
}

/// Reads a share; absent is none.
pub(super) fn read_percentage(message: Option<&kinds::FractionalPercent>) -> Result<Percent, Problem> {
    let Some(message) = message else { return Ok(Percent::ZERO) };
    let times = match DenominatorType::try_from(message.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return Err(unsupported("percentage", "has an unknown denominator")),
    };
    // More than all is all, as Envoy has it.
    let millionths = message.numerator.saturating_mul(times).min(1_000_000);
    Percent::from_millionths(millionths).map_err(|problem| problem.at_field("percentage"))
}
