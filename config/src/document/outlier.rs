//! `outlierDetection` of a BackendPolicy.
//!
//! Each comparison (`successRate`, `failurePercentage`, `latency`) takes a `mode` of its own. Latency is only observed
//! unless it says Enforce: slow is often not broken.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::policy::{LONGER_THAN_ZERO, read_mode_or, thousandths};
use super::reader::{Field, Fields};
use crate::policy::{FailurePercentage, Mode, Origin, Outlier, Sample, SlowEndpoint, SuccessRate};
use crate::value::{MAX_DURATION, Percent};

const AT_LEAST_ONE: RangeInclusive<u32> = 1..=u32::MAX;

/// Reads `outlierDetection`; `mode` is the policy's.
pub(super) fn read_outlier(field: &Field<'_>, mode: Mode, origin: &Origin) -> Outlier {
    let mut fields = field.fields();
    let mode = read_mode_or(&mut fields, mode);
    let mut outlier = Outlier { mode, ..Outlier::with_defaults(origin.clone()) };
    let mut count = |name| fields.optional(name).map(|field| field.integer(AT_LEAST_ONE));
    outlier.consecutive_errors = count("consecutiveErrors").or(outlier.consecutive_errors);
    outlier.consecutive_gateway_errors = count("consecutiveGatewayErrors");
    outlier.consecutive_local_errors = count("consecutiveLocalErrors");
    outlier.success_rate = fields.optional("successRate").map(|field| read_success_rate(&field, mode));
    outlier.failure_percentage = fields.optional("failurePercentage").map(|field| read_percentage(&field, mode));
    outlier.latency = fields.optional("latency").map(|field| read_latency(&field));
    if let Some(field) = fields.optional("interval") {
        outlier.interval = field.duration(LONGER_THAN_ZERO);
    }
    if let Some(field) = fields.optional("ejection") {
        read_ejection(&field, &mut outlier);
    }
    if let Some(field) = fields.optional("recovery") {
        let mut fields = field.fields();
        outlier.probe_requests = fields.required("probeRequests").integer(0..=1000);
        fields.finish();
    }
    let field = fields.finish();
    if let Err(problem) = outlier.check() {
        field.note(problem);
    }
    outlier
}

fn read_ejection(field: &Field<'_>, outlier: &mut Outlier) {
    let mut fields = field.fields();
    if let Some(field) = fields.optional("base") {
        outlier.base_ejection = field.duration(LONGER_THAN_ZERO);
    }
    // A longer base than the default maximum takes the maximum with it.
    outlier.max_ejection = match fields.optional("max") {
        Some(field) => field.duration(LONGER_THAN_ZERO),
        None => outlier.max_ejection.max(outlier.base_ejection),
    };
    if let Some(percent) = fields.optional("maxPercent").and_then(|field| field.number(Percent::try_new)) {
        outlier.max_percent = percent;
    }
    // Of the base, as xDS has it as a time.
    if let Some(percent) = fields.optional("jitterPercent").and_then(|field| field.number(Percent::try_new)) {
        outlier.max_jitter = outlier.base_ejection.mul_f64(percent.ratio());
    }
    fields.finish();
}

fn read_success_rate(field: &Field<'_>, mode: Mode) -> SuccessRate {
    let mut fields = field.fields();
    let mut part = SuccessRate::with_defaults(read_mode_or(&mut fields, mode));
    if let Some(thousandths) = fields.optional("deviations").and_then(|field| field.number(thousandths)) {
        part.deviation_thousandths = thousandths;
    }
    part.sample = read_sample(&mut fields, part.sample);
    fields.finish();
    part
}

fn read_percentage(field: &Field<'_>, mode: Mode) -> FailurePercentage {
    let mut fields = field.fields();
    let mut part = FailurePercentage::with_defaults(read_mode_or(&mut fields, mode));
    if let Some(threshold) = fields.optional("threshold").and_then(|field| field.number(Percent::try_new)) {
        part.threshold = threshold;
    }
    part.sample = read_sample(&mut fields, part.sample);
    fields.finish();
    part
}

fn read_latency(field: &Field<'_>) -> SlowEndpoint {
    let mut fields = field.fields();
    let mut part = SlowEndpoint::with_defaults(read_mode_or(&mut fields, Mode::Observe));
    if let Some(thousandths) = fields.optional("factor").and_then(|field| field.number(thousandths)) {
        part.factor_thousandths = thousandths;
    }
    if let Some(field) = fields.optional("floor") {
        part.floor = field.duration(Duration::ZERO..=MAX_DURATION);
    }
    part.sample = read_sample(&mut fields, part.sample);
    fields.finish();
    part
}

fn read_sample(fields: &mut Fields<'_>, default: Sample) -> Sample {
    let requests = fields.optional("minRequests").map(|field| field.integer(AT_LEAST_ONE));
    let endpoints = fields.optional("minEndpoints").map(|field| field.integer(AT_LEAST_ONE));
    Sample {
        min_requests: requests.unwrap_or(default.min_requests),
        min_endpoints: endpoints.unwrap_or(default.min_endpoints),
    }
}
