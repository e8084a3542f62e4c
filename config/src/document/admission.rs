//! `admissionControl` of a BackendPolicy.

use std::time::Duration;

use super::policy::{read_mode_or, thousandths};
use super::reader::Field;
use crate::error::Problem;
use crate::policy::{AdmissionControl, Mode, Origin};
use crate::value::Percent;

/// Reads `admissionControl`.
pub(super) fn read_admission(field: &Field<'_>, mode: Mode, origin: &Origin) -> AdmissionControl {
    let mut fields = field.fields();
    let usual = AdmissionControl::with_defaults(origin.clone(), read_mode_or(&mut fields, mode));
    let window = Duration::from_secs(1)..=Duration::from_secs(3600);
    let window = fields.optional("window").map(|field| field.duration(window.clone()));
    let threshold = fields.optional("successThreshold").and_then(|field| field.number(some));
    let aggression = fields.optional("aggression").and_then(|field| field.number(at_least_one));
    let least = fields.optional("minRequestsPerSecond").map(|field| field.integer(0..=u32::MAX));
    let most = fields.optional("maxRejectPercent").and_then(|field| field.number(Percent::try_new));
    fields.finish();
    AdmissionControl {
        window: window.unwrap_or(usual.window),
        success_threshold: threshold.unwrap_or(usual.success_threshold),
        aggression_thousandths: aggression.unwrap_or(usual.aggression_thousandths),
        min_per_second: least.unwrap_or(usual.min_per_second),
        max_rejection: most.unwrap_or(usual.max_rejection),
        ..usual
    }
}

fn some(percent: f64) -> Result<Percent, Problem> {
    let read = Percent::try_new(percent)?;
    if read == Percent::ZERO { Err(Problem::invalid(percent, "must be more than 0")) } else { Ok(read) }
}

fn at_least_one(factor: f64) -> Result<u32, Problem> {
    if factor >= 1.0 { thousandths(factor) } else { Err(Problem::invalid(factor, "must be at least 1")) }
}
