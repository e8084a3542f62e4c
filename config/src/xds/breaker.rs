//! Limits and retry budget in standard fields (`CircuitBreakers`).
//!
//! An absent field means what xDS says it means. So a limit that the model does not have, or only rehearses, must be
//! lifted explicitly, because Envoy's own is 1,024; and `u32::MAX` reads back as none.

use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::value::{number, read_number};
use crate::error::Problem;
use crate::policy::{Budget, Limits, Mode, Origin, PerEndpoint};
use crate::value::Percent;

use xds::circuit_breakers::{Thresholds, thresholds::RetryBudget};

/// What xDS allows where nothing is said.
const DEFAULT_LIMIT: u32 = 1024;

/// Encodes what is enforced of the limits, and the budget.
pub(super) fn encode_limits(limits: Option<&Limits>, budget: &Budget) -> xds::CircuitBreakers {
    let limits = limits.filter(|limits| limits.mode.enforces());
    let value = |pick: fn(&Limits) -> Option<u32>| number(limits.and_then(pick).unwrap_or(u32::MAX));
    // Envoy has either a number of retries or a budget; a budget that is only a number is the former.
    let fixed = limits.and_then(|limits| limits.max_retries);
    let fixed =
        fixed.or((budget.percent == Percent::ZERO && budget.min_per_second == 0).then_some(budget.min_concurrent));
    let share = RetryBudget {
        budget_percent: Some(kinds::Percent { value: f64::from(budget.percent.millionths()) / 10_000.0 }),
        min_retry_concurrency: number(budget.min_concurrent),
    };
    // Requests of one endpoint are no field that Envoy reads.
    let connections = limits.and_then(|limits| limits.per_endpoint.max_connections);
    let per_host = connections.map(|most| Thresholds { max_connections: number(most), ..Default::default() });
    let thresholds = Thresholds {
        priority: core::RoutingPriority::Default.into(),
        max_connections: value(|limits| limits.max_connections),
        max_pending_requests: value(|limits| limits.max_pending_requests),
        max_requests: value(|limits| limits.max_requests),
        max_retries: fixed.and_then(number),
        retry_budget: if fixed.is_none() { Some(share) } else { None },
        ..Default::default()
    };
    xds::CircuitBreakers { thresholds: vec![thresholds], per_host_thresholds: per_host.into_iter().collect() }
}

/// Decodes limits and budget. The thresholds of priority HIGH never count: no request has it.
pub(super) fn decode_limits(message: Option<&xds::CircuitBreakers>) -> Result<(Option<Limits>, Budget), Problem> {
    let per_host = message.into_iter().flat_map(|breakers| &breakers.per_host_thresholds);
    let per_host = per_host.into_iter().find(|one| one.priority == i32::from(core::RoutingPriority::Default));
    // Of an endpoint nothing is limited where nothing is said.
    let of_one = |pick: fn(&Thresholds) -> Option<&pb::UInt32Value>| {
        per_host.and_then(pick).map(|most| most.value).filter(|most| *most != u32::MAX)
    };
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
        // A number of retries is a budget; see below.
        max_retries: None,
        per_endpoint: PerEndpoint {
            max_connections: of_one(|one| one.max_connections.as_ref()),
            max_requests: of_one(|one| one.max_requests.as_ref()),
        },
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
        // Nothing beside what is said: our own budget also allows a number each second.
        return Ok(Budget { percent, min_concurrent, min_per_second: 0, ..default });
    }
    // A fixed number of retries at once, whatever the traffic.
    Ok(thresholds.max_retries.as_ref().map_or(default, |most| Budget {
        percent: Percent::ZERO,
        min_concurrent: most.value,
        min_per_second: 0,
        ..default
    }))
}
