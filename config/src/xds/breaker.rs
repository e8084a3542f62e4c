//! Limits, retry budget and outlier detection in standard fields (`CircuitBreakers`, `OutlierDetection`).
//!
//! An absent field means what xDS says it means. So a limit that the model does not have, or only rehearses, must be
//! lifted explicitly, because Envoy's own is 1,024; and `u32::MAX` reads back as none.

use std::time::Duration;

use prost_xds::Message;
use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::value::{duration, number, optional_duration, read_number, refuse, refuse_all, unsupported};
use crate::error::Problem;
use crate::policy::{Budget, Limits, Mode, Origin, Outlier};
use crate::value::Percent;

use xds::circuit_breakers::{Thresholds, thresholds::RetryBudget};

/// What xDS allows where nothing is said.
const DEFAULT_LIMIT: u32 = 1024;

/// Encodes what is enforced of the limits, and the budget.
pub(super) fn encode_limits(limits: Option<&Limits>, budget: &Budget) -> xds::CircuitBreakers {
    let limits = limits.filter(|limits| limits.mode.enforces());
    let value = |pick: fn(&Limits) -> Option<u32>| number(limits.and_then(pick).unwrap_or(u32::MAX));
    let thresholds = Thresholds {
        priority: core::RoutingPriority::Default.into(),
        max_connections: value(|limits| limits.max_connections),
        max_pending_requests: value(|limits| limits.max_pending_requests),
        max_requests: value(|limits| limits.max_requests),
        retry_budget: Some(RetryBudget {
            budget_percent: Some(kinds::Percent { value: f64::from(budget.percent.millionths()) / 10_000.0 }),
            min_retry_concurrency: number(budget.min_concurrent),
        }),
        ..Default::default()
    };
    xds::CircuitBreakers { thresholds: vec![thresholds], per_host_thresholds: Vec::new() }
}

/// Decodes limits and budget. The thresholds of priority HIGH never count: no request has it.
pub(super) fn decode_limits(message: Option<&xds::CircuitBreakers>) -> Result<(Option<Limits>, Budget), Problem> {
    refuse(message.is_some_and(|breakers| !breakers.per_host_thresholds.is_empty()), "per_host_thresholds")?;
    let given = message.into_iter().flat_map(|breakers| &breakers.thresholds);
    // Of two for one priority Envoy takes the first.
    let thresholds = given.clone().find(|one| one.priority == i32::from(core::RoutingPriority::Default));
    let value = |pick: fn(&Thresholds) -> Option<&pb::UInt32Value>| match thresholds.and_then(pick) {
        Some(pb::UInt32Value { value: u32::MAX }) => None,
        other => Some(read_number(other, DEFAULT_LIMIT)),
    };
    let limits = Limits {
        origin: Origin::default(),
        mode: Mode::Enforce,
        max_connections: value(|one| one.max_connections.as_ref()),
        max_pending_requests: value(|one| one.max_pending_requests.as_ref()),
        max_requests: value(|one| one.max_requests.as_ref()),
    };
    let budget = thresholds.map_or(Ok(Budget::default()), decode_budget).map_err(|problem: Problem| {
        let index = given.clone().position(|one| Some(one) == thresholds).unwrap_or(0);
        problem.at_index(index).at_field("thresholds")
    })?;
    let unlimited = Limits { origin: Origin::default(), ..Limits::default() };
    Ok((Some(limits).filter(|limits| *limits != unlimited), budget))
}

fn decode_budget(thresholds: &Thresholds) -> Result<Budget, Problem> {
    let default = Budget::default();
    if let Some(budget) = &thresholds.retry_budget {
        let percent = budget.budget_percent.as_ref().map_or(Ok(default.percent), |percent| {
            Percent::try_new(percent.value)
                .map_err(|problem| problem.at_field("value").at_field("budget_percent").at_field("retry_budget"))
        })?;
        let min_concurrent = read_number(budget.min_retry_concurrency.as_ref(), 3);
        return Ok(Budget { percent, min_concurrent, ..default });
    }
    // A fixed number of retries at once, whatever the traffic.
    Ok(thresholds.max_retries.as_ref().map_or(default, |most| Budget {
        percent: Percent::ZERO,
        min_concurrent: most.value,
        min_per_second: 0,
        ..default
    }))
}

/// Encodes outlier detection if it is enforced: consecutive errors, and nothing else.
pub(super) fn encode_outlier(outlier: &Outlier) -> Option<xds::OutlierDetection> {
    let percent = outlier.max_percent.millionths().div_ceil(10_000);
    outlier.mode.enforces().then(|| xds::OutlierDetection {
        consecutive_5xx: number(outlier.consecutive_errors),
        enforcing_consecutive_5xx: number(100),
        enforcing_success_rate: number(0),
        interval: duration(outlier.interval),
        base_ejection_time: duration(outlier.base_ejection),
        max_ejection_time: duration(outlier.max_ejection),
        max_ejection_percent: number(percent),
        ..Default::default()
    })
}

/// Decodes outlier detection. What ejects by success rate is passed over unless it is asked for in so many words,
/// because xDS has it on wherever nothing is said.
pub(super) fn decode_outlier(message: &xds::OutlierDetection) -> Result<Option<Outlier>, Problem> {
    let acts = |share: &Option<pb::UInt32Value>| share.as_ref().is_some_and(|share| share.value > 0);
    refuse_all([
        ("enforcing_success_rate", acts(&message.enforcing_success_rate)),
        ("enforcing_consecutive_gateway_failure", acts(&message.enforcing_consecutive_gateway_failure)),
        ("enforcing_failure_percentage", acts(&message.enforcing_failure_percentage)),
        ("split_external_local_origin_errors", message.split_external_local_origin_errors),
        ("monitors", !message.monitors.is_empty()),
    ])?;
    let mode = match read_number(message.enforcing_consecutive_5xx.as_ref(), 100) {
        0 => Mode::Observe,
        100.. => Mode::Enforce,
        share => return Err(unsupported("enforcing_consecutive_5xx", "must be 0 or 100").with_value(share)),
    };
    let base = optional_duration("base_ejection_time", message.base_ejection_time.as_ref())?;
    let base = base.unwrap_or(Duration::from_secs(30));
    let max = optional_duration("max_ejection_time", message.max_ejection_time.as_ref())?;
    let interval = optional_duration("interval", message.interval.as_ref())?;
    let percent = read_number(message.max_ejection_percent.as_ref(), 10).min(100);
    let consecutive_errors = read_number(message.consecutive_5xx.as_ref(), 5);
    // Zero never ejects.
    Ok((consecutive_errors > 0).then_some(Outlier {
        origin: Origin::default(),
        mode,
        consecutive_errors,
        interval: interval.unwrap_or(Duration::from_secs(10)),
        base_ejection: base,
        max_ejection: max.unwrap_or(Duration::from_secs(300).max(base)),
        max_percent: Percent::from_millionths(percent * 10_000)?,
    }))
}

/// What is newer than xds-api: a second part of a `Cluster`. Encoded messages that stand one after the other are one
/// message, merged field by field, so that the part is simply appended.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub(super) struct ClusterSupplement {
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

/// The bytes to append to an encoded cluster that has outlier detection.
pub(super) fn supplement() -> Vec<u8> {
    let always_eject_one_host = Some(pb::BoolValue { value: true });
    ClusterSupplement { outlier_detection: Some(OutlierSupplement { always_eject_one_host }) }.encode_to_vec()
}
