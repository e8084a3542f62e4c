//! Outlier detection in standard fields (`OutlierDetection`), for Envoy.
//!
//! Envoy has no latency and no probes: those parts stay with our own proxy. Each of its parts is enforced for a share of
//! decisions; here a part acts or does not, so that only 0 and 100 are read.

use std::time::Duration;

use prost_xds::Message;
use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::google::protobuf as pb;

use super::value::{duration, number, optional_duration, read_number, refuse_all, unsupported};
use crate::error::Problem;
use crate::policy::{FailurePercentage, Mode, Origin, Outlier, Sample, SuccessRate};
use crate::value::Percent;

const LONGEST: Duration = Duration::from_secs(300);

/// Encodes what is enforced of it; none where that is nothing.
pub(super) fn encode(outlier: &Outlier) -> Option<xds::OutlierDetection> {
    let in_a_row = |count: Option<u32>| count.filter(|_| outlier.mode.enforces());
    let share = |acts: bool| number(if acts { 100 } else { 0 });
    let errors = in_a_row(outlier.consecutive_errors);
    let gateway = in_a_row(outlier.consecutive_gateway_errors);
    let local = in_a_row(outlier.consecutive_local_errors);
    let rate = outlier.success_rate.filter(|part| part.mode.enforces());
    let failures = outlier.failure_percentage.filter(|part| part.mode.enforces());
    if errors.or(gateway).or(local).is_none() && rate.is_none() && failures.is_none() {
        return None;
    }
    let split = outlier.consecutive_local_errors.is_some();
    // Envoy compares local failures too once they are split off; ours does not.
    let never = if split { number(0) } else { None };
    Some(xds::OutlierDetection {
        consecutive_5xx: errors.and_then(number),
        enforcing_consecutive_5xx: share(errors.is_some()),
        consecutive_gateway_failure: gateway.and_then(number),
        enforcing_consecutive_gateway_failure: gateway.and(number(100)),
        split_external_local_origin_errors: split,
        consecutive_local_origin_failure: local.and_then(number),
        enforcing_consecutive_local_origin_failure: if split { share(local.is_some()) } else { None },
        enforcing_local_origin_success_rate: never,
        enforcing_success_rate: share(rate.is_some()),
        success_rate_stdev_factor: rate.and_then(|part| number(part.deviation_thousandths)),
        success_rate_request_volume: rate.and_then(|part| number(part.sample.min_requests)),
        success_rate_minimum_hosts: rate.and_then(|part| number(part.sample.min_endpoints)),
        enforcing_failure_percentage: failures.and(number(100)),
        failure_percentage_threshold: failures.and_then(|part| number(whole(part.threshold))),
        failure_percentage_request_volume: failures.and_then(|part| number(part.sample.min_requests)),
        failure_percentage_minimum_hosts: failures.and_then(|part| number(part.sample.min_endpoints)),
        interval: duration(outlier.interval),
        base_ejection_time: duration(outlier.base_ejection),
        max_ejection_time: duration(outlier.max_ejection),
        max_ejection_time_jitter: Some(outlier.max_jitter).filter(|jitter| !jitter.is_zero()).and_then(duration),
        max_ejection_percent: number(whole(outlier.max_percent)),
        ..Default::default()
    })
}

/// Whole percents, which is all that Envoy has; rounded up, so that a small share is never none.
fn whole(share: Percent) -> u32 {
    share.millionths().div_ceil(10_000)
}

/// Decodes outlier detection. Absent fields mean what xDS says: consecutive 5xx and success rate act, nothing else does.
pub(super) fn decode(message: &xds::OutlierDetection) -> Result<Option<Outlier>, Problem> {
    let acts = |share: &Option<pb::UInt32Value>| share.as_ref().is_some_and(|share| share.value > 0);
    refuse_all([
        ("enforcing_local_origin_success_rate", acts(&message.enforcing_local_origin_success_rate)),
        ("enforcing_failure_percentage_local_origin", acts(&message.enforcing_failure_percentage_local_origin)),
        ("monitors", !message.monitors.is_empty()),
    ])?;
    let errors_act = mode("enforcing_consecutive_5xx", message.enforcing_consecutive_5xx.as_ref(), 100)?;
    let gateway_acts =
        mode("enforcing_consecutive_gateway_failure", message.enforcing_consecutive_gateway_failure.as_ref(), 0)?;
    let local_acts = mode(
        "enforcing_consecutive_local_origin_failure",
        message.enforcing_consecutive_local_origin_failure.as_ref(),
        100,
    )?;
    let split = message.split_external_local_origin_errors;
    // One mode holds for all that counts in a row: while one part acts, those that do not are left out.
    let any = errors_act.enforces() || gateway_acts.enforces() || (split && local_acts.enforces());
    let count = |wanted: Mode, given: Option<&pb::UInt32Value>| {
        // Zero never ejects.
        Some(read_number(given, 5)).filter(|count| *count > 0 && (wanted.enforces() || !any))
    };
    let errors = count(errors_act, message.consecutive_5xx.as_ref());
    let gateway = if gateway_acts.enforces() || message.consecutive_gateway_failure.is_some() {
        count(gateway_acts, message.consecutive_gateway_failure.as_ref())
    } else {
        None
    };
    // Where it is split but not acted upon, local failures still count nowhere else.
    let local = match read_number(message.consecutive_local_origin_failure.as_ref(), 5) {
        _ if !split => None,
        count if count > 0 && (local_acts.enforces() || !any) => Some(count),
        _ => Some(u32::MAX),
    };
    let base = optional_duration("base_ejection_time", message.base_ejection_time.as_ref())?;
    let base = base.unwrap_or(Duration::from_secs(30));
    let max = optional_duration("max_ejection_time", message.max_ejection_time.as_ref())?;
    let interval = optional_duration("interval", message.interval.as_ref())?;
    let jitter = optional_duration("max_ejection_time_jitter", message.max_ejection_time_jitter.as_ref())?;
    let outlier = Outlier {
        origin: Origin::default(),
        mode: if any { Mode::Enforce } else { Mode::Observe },
        consecutive_errors: errors,
        // One that could never come first is no part of its own.
        consecutive_gateway_errors: gateway.filter(|gateway| errors.is_none_or(|errors| *gateway <= errors)),
        consecutive_local_errors: local,
        success_rate: success_rate(message)?,
        failure_percentage: failure_percentage(message)?,
        latency: None,
        interval: interval.unwrap_or(Duration::from_secs(10)),
        base_ejection: base,
        max_ejection: max.unwrap_or(LONGEST.max(base)),
        max_jitter: jitter.unwrap_or_default(),
        max_percent: percent(read_number(message.max_ejection_percent.as_ref(), 10))?,
        probe_requests: 0,
    };
    let idle = errors.or(gateway).or(local).is_none() && !outlier.compares();
    Ok((!idle).then_some(outlier))
}

fn success_rate(message: &xds::OutlierDetection) -> Result<Option<SuccessRate>, Problem> {
    let acts = mode("enforcing_success_rate", message.enforcing_success_rate.as_ref(), 100)?;
    Ok(acts.enforces().then(|| SuccessRate {
        mode: acts,
        deviation_thousandths: read_number(message.success_rate_stdev_factor.as_ref(), 1900),
        sample: sample(message.success_rate_request_volume, 100, message.success_rate_minimum_hosts),
    }))
}

fn failure_percentage(message: &xds::OutlierDetection) -> Result<Option<FailurePercentage>, Problem> {
    let acts = mode("enforcing_failure_percentage", message.enforcing_failure_percentage.as_ref(), 0)?;
    if !acts.enforces() && message.failure_percentage_threshold.is_none() {
        return Ok(None);
    }
    Ok(Some(FailurePercentage {
        mode: acts,
        threshold: percent(read_number(message.failure_percentage_threshold.as_ref(), 85))?,
        sample: sample(message.failure_percentage_request_volume, 50, message.failure_percentage_minimum_hosts),
    }))
}

fn sample(requests: Option<pb::UInt32Value>, few: u32, endpoints: Option<pb::UInt32Value>) -> Sample {
    // One request is the least that says anything.
    let min_requests = read_number(requests.as_ref(), few).max(1);
    Sample { min_requests, min_endpoints: read_number(endpoints.as_ref(), 5) }
}

fn percent(whole: u32) -> Result<Percent, Problem> {
    Percent::from_millionths(whole.min(100) * 10_000)
}

fn mode(field: &str, share: Option<&pb::UInt32Value>, default: u32) -> Result<Mode, Problem> {
    match read_number(share, default) {
        0 => Ok(Mode::Observe),
        100.. => Ok(Mode::Enforce),
        share => Err(unsupported(field, "must be 0 or 100").with_value(share)),
    }
}

/// What is newer than xds-api: a second part of a `Cluster`. Encoded messages that stand one after the other are one
/// message, merged field by field, so that the part is simply appended.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
struct ClusterSupplement {
    #[prost(message, optional, tag = "19")]
    outlier_detection: Option<OutlierSupplement>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
struct OutlierSupplement {
    /// Envoy ejects nothing below ten endpoints unless it is told that one always may go, as ours does.
    #[prost(message, optional, tag = "25")]
    always_eject_one_host: Option<pb::BoolValue>,
}

/// The bytes to append to an encoded cluster that has outlier detection, and a panic threshold to fall back on.
pub(super) fn supplement() -> Vec<u8> {
    let always_eject_one_host = Some(pb::BoolValue { value: true });
    ClusterSupplement { outlier_detection: Some(OutlierSupplement { always_eject_one_host }) }.encode_to_vec()
}
