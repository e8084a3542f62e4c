//! Balancing by load reports (`client_side_weighted_round_robin.v3`), which only the list of policies can say.

use std::time::Duration;

use xds_api::pb::google::protobuf as pb;

use super::value::{duration, optional_duration, refuse_all};
use super::wire::balancing::{ClientSideWeightedRoundRobin, SlowStartConfig};
use crate::cluster::LoadReports;
use crate::error::Problem;

/// How often endpoints report beside requests where nothing is said.
const DEFAULT_PERIOD: Duration = Duration::from_secs(10);

/// Less is taken for this: a period of nothing would have endpoints report without a pause. As documents may say at least.
const LEAST_PERIOD: Duration = Duration::from_millis(100);

/// Encodes it.
pub(super) fn encode(reports: LoadReports, slow_start_config: Option<SlowStartConfig>) -> ClientSideWeightedRoundRobin {
    let value = reports.penalty_thousandths as f32 / 1000.0;
    ClientSideWeightedRoundRobin {
        blackout_period: duration(reports.blackout),
        weight_expiration_period: duration(reports.expiration),
        error_utilization_penalty: Some(pb::FloatValue { value }),
        enable_oob_load_report: reports.asks_every.map(|_| pb::BoolValue { value: true }),
        oob_reporting_period: reports.asks_every.and_then(duration),
        slow_start_config,
        ..Default::default()
    }
}

/// Decodes it. Weights are reckoned about every second, whatever it says; other measures of utilization are refused, since
/// without them the weights would be others.
pub(super) fn decode(message: &ClientSideWeightedRoundRobin) -> Result<LoadReports, Problem> {
    let others = !message.metric_names_for_computing_utilization.is_empty();
    refuse_all([("metric_names_for_computing_utilization", others)])?;
    let defaults = LoadReports::default();
    let penalty = message.error_utilization_penalty.map_or(1.0, |penalty| penalty.value);
    if !(0.0..=1000.0).contains(&penalty) {
        let problem = Problem::invalid(penalty, "must be between 0 and 1000");
        return Err(problem.at_field("error_utilization_penalty"));
    }
    let asks = message.enable_oob_load_report.is_some_and(|asked| asked.value);
    let period = optional_duration("oob_reporting_period", message.oob_reporting_period.as_ref())?;
    Ok(LoadReports {
        asks_every: asks.then(|| period.unwrap_or(DEFAULT_PERIOD).max(LEAST_PERIOD)),
        blackout: optional_duration("blackout_period", message.blackout_period.as_ref())?.unwrap_or(defaults.blackout),
        expiration: optional_duration("weight_expiration_period", message.weight_expiration_period.as_ref())?
            .unwrap_or(defaults.expiration),
        // In range: just checked.
        penalty_thousandths: (penalty * 1000.0).round() as u32,
    })
}
