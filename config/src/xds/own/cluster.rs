//! The policies of a cluster.

use super::super::health_check;
use super::super::value::{duration, missing, optional_duration, required_duration};
use super::super::wire::outrigger as own;
use super::{mode, percent};
use crate::cluster::Rehearsed;
use crate::error::Problem;
use crate::policy::{
    AdmissionControl, Budget, FailurePercentage, Limits, Mode, Origin, Outlier, PerEndpoint, Priority, Sample,
    SlowEndpoint, SuccessRate, Thresholds,
};

/// Encodes limits.
pub(in crate::xds) fn limits(limits: &Limits) -> own::Limits {
    let Thresholds { max_connections, max_pending_requests, max_requests, max_retries } = limits.high;
    let high = own::Thresholds { max_connections, max_pending_requests, max_requests, max_retries };
    own::Limits {
        origin: limits.origin.to_string(),
        observe: !limits.mode.enforces(),
        max_connections: limits.max_connections,
        max_pending_requests: limits.max_pending_requests,
        max_requests: limits.max_requests,
        max_retries: limits.max_retries,
        max_endpoint_connections: limits.per_endpoint.max_connections,
        max_endpoint_requests: limits.per_endpoint.max_requests,
        high: (limits.high != limits.of(Priority::Default)).then_some(high),
    }
}

/// Decodes limits.
pub(in crate::xds) fn read_limits(message: &own::Limits) -> Limits {
    let limits = Limits {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        max_connections: message.max_connections,
        max_pending_requests: message.max_pending_requests,
        max_requests: message.max_requests,
        max_retries: message.max_retries,
        per_endpoint: PerEndpoint {
            max_connections: message.max_endpoint_connections,
            max_requests: message.max_endpoint_requests,
        },
        high: Thresholds::default(),
    };
    let high = message.high.map(|high| {
        let own::Thresholds { max_connections, max_pending_requests, max_requests, max_retries } = high;
        Thresholds { max_connections, max_pending_requests, max_requests, max_retries }
    });
    let usual = limits.of(Priority::Default);
    limits.with(Priority::High, high.unwrap_or(usual))
}

/// Encodes outlier detection.
pub(in crate::xds) fn outlier(outlier: &Outlier) -> own::Outlier {
    own::Outlier {
        origin: outlier.origin.to_string(),
        observe: !outlier.mode.enforces(),
        consecutive_errors: outlier.consecutive_errors.unwrap_or(0),
        interval: duration(outlier.interval),
        base_ejection: duration(outlier.base_ejection),
        max_ejection: duration(outlier.max_ejection),
        max_percent_millionths: outlier.max_percent.millionths(),
        consecutive_gateway_errors: outlier.consecutive_gateway_errors.unwrap_or(0),
        consecutive_local_errors: outlier.consecutive_local_errors.unwrap_or(0),
        success_rate: outlier.success_rate.map(|part| comparison(part.mode, part.deviation_thousandths, part.sample)),
        failure_percentage: outlier
            .failure_percentage
            .map(|part| comparison(part.mode, part.threshold.millionths(), part.sample)),
        latency: outlier.latency.map(|part| comparison(part.mode, part.factor_thousandths, part.sample)),
        latency_floor: outlier.latency.and_then(|part| duration(part.floor)),
        max_jitter: duration(outlier.max_jitter),
        probe_requests: outlier.probe_requests,
    }
}

fn comparison(mode: Mode, bound: u32, sample: Sample) -> own::Comparison {
    let Sample { min_requests, min_endpoints } = sample;
    own::Comparison { observe: !mode.enforces(), bound, min_requests, min_endpoints }
}

/// Decodes outlier detection.
pub(in crate::xds) fn read_outlier(message: &own::Outlier) -> Result<Outlier, Problem> {
    let count = |count: u32| Some(count).filter(|count| *count > 0);
    let sample = |part: &own::Comparison| Sample { min_requests: part.min_requests, min_endpoints: part.min_endpoints };
    let failure_percentage = |part: own::Comparison| {
        let threshold = percent("bound", part.bound).map_err(|problem| problem.at_field("failure_percentage"))?;
        Ok(FailurePercentage { mode: mode(part.observe), threshold, sample: sample(&part) })
    };
    let latency = |part: own::Comparison| {
        Ok(SlowEndpoint {
            mode: mode(part.observe),
            factor_thousandths: part.bound,
            floor: required_duration("latency_floor", message.latency_floor.as_ref())?,
            sample: sample(&part),
        })
    };
    Ok(Outlier {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        consecutive_errors: count(message.consecutive_errors),
        consecutive_gateway_errors: count(message.consecutive_gateway_errors),
        consecutive_local_errors: count(message.consecutive_local_errors),
        success_rate: message.success_rate.map(|part| SuccessRate {
            mode: mode(part.observe),
            deviation_thousandths: part.bound,
            sample: sample(&part),
        }),
        failure_percentage: message.failure_percentage.map(failure_percentage).transpose()?,
        latency: message.latency.map(latency).transpose()?,
        interval: required_duration("interval", message.interval.as_ref())?,
        base_ejection: required_duration("base_ejection", message.base_ejection.as_ref())?,
        max_ejection: required_duration("max_ejection", message.max_ejection.as_ref())?,
        max_jitter: optional_duration("max_jitter", message.max_jitter.as_ref())?.unwrap_or_default(),
        max_percent: percent("max_percent_millionths", message.max_percent_millionths)?,
        probe_requests: message.probe_requests,
    })
}

/// Encodes admission control.
pub(in crate::xds) fn admission(policy: &AdmissionControl) -> own::AdmissionControl {
    own::AdmissionControl {
        origin: policy.origin.to_string(),
        observe: !policy.mode.enforces(),
        window: duration(policy.window),
        success_threshold_millionths: policy.success_threshold.millionths(),
        aggression_thousandths: policy.aggression_thousandths,
        min_per_second: policy.min_per_second,
        max_rejection_millionths: policy.max_rejection.millionths(),
    }
}

/// Decodes admission control.
pub(in crate::xds) fn read_admission(message: &own::AdmissionControl) -> Result<AdmissionControl, Problem> {
    Ok(AdmissionControl {
        origin: Origin(message.origin.as_str().into()),
        mode: mode(message.observe),
        window: required_duration("window", message.window.as_ref())?,
        success_threshold: percent("success_threshold_millionths", message.success_threshold_millionths)?,
        aggression_thousandths: message.aggression_thousandths,
        min_per_second: message.min_per_second,
        max_rejection: percent("max_rejection_millionths", message.max_rejection_millionths)?,
    })
}

/// Encodes what is only observed.
pub(in crate::xds) fn rehearsed(rehearsed: &Rehearsed) -> Option<own::RehearsedCluster> {
    (*rehearsed != Rehearsed::default()).then(|| own::RehearsedCluster {
        limits: rehearsed.limits.as_ref().map(limits),
        outlier: rehearsed.outlier.as_ref().map(outlier),
        health_check: rehearsed.health_check.as_ref().map(health_check::encode_own),
        admission: rehearsed.admission.as_ref().map(admission),
    })
}

/// Decodes what is only observed.
pub(in crate::xds) fn read_rehearsed(message: Option<&own::RehearsedCluster>) -> Result<Rehearsed, Problem> {
    let Some(message) = message else { return Ok(Rehearsed::default()) };
    let outlier = message.outlier.as_ref().map(read_outlier).transpose();
    let check = message.health_check.as_ref().map(health_check::read_own).transpose();
    let admission = message.admission.as_ref().map(read_admission).transpose();
    Ok(Rehearsed {
        admission: admission.map_err(|problem| problem.at_field("admission"))?,
        health_check: check.map_err(|problem| problem.at_field("health_check"))?,
        limits: message.limits.as_ref().map(read_limits),
        outlier: outlier.map_err(|problem| problem.at_field("outlier"))?,
    })
}

/// Encodes a retry budget.
pub(in crate::xds) fn budget(budget: &Budget) -> own::Budget {
    own::Budget {
        percent_millionths: budget.percent.millionths(),
        interval: duration(budget.interval),
        min_concurrent: budget.min_concurrent,
        min_per_second: budget.min_per_second,
    }
}

/// Decodes a retry budget.
pub(in crate::xds) fn read_budget(message: Option<&own::Budget>) -> Result<Budget, Problem> {
    let message = message.ok_or_else(|| missing("budget"))?;
    let read = |message: &own::Budget| {
        Ok(Budget {
            percent: percent("percent_millionths", message.percent_millionths)?,
            interval: required_duration("interval", message.interval.as_ref())?,
            min_concurrent: message.min_concurrent,
            min_per_second: message.min_per_second,
        })
    };
    read(message).map_err(|problem: Problem| problem.at_field("budget"))
}
