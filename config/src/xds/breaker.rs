//! Limits and retry budget in standard fields (`CircuitBreakers`), for both priorities.
//!
//! An absent field means what xDS says it means. So a limit that the model does not have, or only rehearses, must be
//! lifted explicitly, because Envoy's own is 1,024; and `u32::MAX` reads back as none. Envoy has either a number of retries
//! or a budget, for each priority; here a budget is the destination's, and a number may stand beside it.

use xds_api::pb::envoy::config::cluster::v3 as xds;
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use super::priority::encode as encode_priority;
use super::value::{number, read_number};
use crate::error::Problem;
use crate::policy::{Budget, Limits, Mode, Origin, PerEndpoint, Priority, Thresholds as Most};
use crate::value::Percent;

use xds::circuit_breakers::{Thresholds, thresholds::RetryBudget};

/// What xDS allows where nothing is said.
const DEFAULT_LIMIT: u32 = 1024;

/// The same of retries.
const DEFAULT_RETRIES: u32 = 3;

/// Encodes what is enforced of the limits, and the budget.
pub(super) fn encode_limits(limits: Option<&Limits>, budget: &Budget) -> xds::CircuitBreakers {
    let limits = limits.filter(|limits| limits.mode.enforces());
    let thresholds = |priority| {
        let most = limits.map(|limits| limits.of(priority)).unwrap_or_default();
        encode_thresholds(priority, most, budget)
    };
    // Requests of one endpoint are no field that Envoy reads. It asks for each priority and counts them all.
    let connections = limits.and_then(|limits| limits.per_endpoint.max_connections);
    let of_one = |priority| Thresholds {
        priority: encode_priority(priority),
        max_connections: connections.and_then(number),
        ..Default::default()
    };
    let per_host = if connections.is_some() { Priority::ALL.map(of_one).into() } else { Vec::new() };
    xds::CircuitBreakers { thresholds: Priority::ALL.map(thresholds).into(), per_host_thresholds: per_host }
}

fn encode_thresholds(priority: Priority, most: Most, budget: &Budget) -> Thresholds {
    let value = |most: Option<u32>| number(most.unwrap_or(u32::MAX));
    // A budget that is only a number is one.
    let fixed = (budget.percent == Percent::ZERO && budget.min_per_second == 0).then_some(budget.min_concurrent);
    let fixed = most.max_retries.or(fixed);
    let share = RetryBudget {
        budget_percent: Some(kinds::Percent { value: f64::from(budget.percent.millionths()) / 10_000.0 }),
        min_retry_concurrency: number(budget.min_concurrent),
    };
    Thresholds {
        priority: encode_priority(priority),
        max_connections: value(most.max_connections),
        max_pending_requests: value(most.max_pending_requests),
        max_requests: value(most.max_requests),
        max_retries: fixed.and_then(number),
        retry_budget: if fixed.is_none() { Some(share) } else { None },
        ..Default::default()
    }
}

/// Decodes limits and budget.
pub(super) fn decode_limits(message: Option<&xds::CircuitBreakers>) -> Result<(Option<Limits>, Budget), Problem> {
    let all = message.map(|breakers| &breakers.thresholds[..]).unwrap_or_default();
    let per_host = message.map(|breakers| &breakers.per_host_thresholds[..]).unwrap_or_default();
    let per_host = first(per_host, Priority::Default).map(|(_, thresholds)| thresholds);
    // Of an endpoint nothing is limited where nothing is said.
    let of_one = |pick: fn(&Thresholds) -> Option<&pb::UInt32Value>| {
        per_host.and_then(pick).map(|most| most.value).filter(|most| *most != u32::MAX)
    };
    let retries = |priority| match first(all, priority) {
        None => Ok(Retries::Unsaid),
        Some((index, one)) => decode_retries(one).map_err(|problem| problem.at_index(index).at_field("thresholds")),
    };
    let (usual, high) = (retries(Priority::Default)?, retries(Priority::High)?);
    let budget = match (usual, high) {
        // One budget holds for both priorities: that of Default where both have one.
        (Retries::Share(share), _) | (_, Retries::Share(share)) => share,
        (Retries::Unsaid, _) => Budget::default(),
        // The numbers alone count.
        (Retries::Number(_), _) => {
            Budget { percent: Percent::ZERO, min_concurrent: u32::MAX, min_per_second: 0, ..Budget::default() }
        }
    };
    let high_retries = match (usual, high) {
        (Retries::Number(_), Retries::Unsaid) => Some(DEFAULT_RETRIES),
        (_, high) => high.number(),
    };
    let limits = Limits {
        origin: Origin::default(),
        mode: Mode::Enforce,
        per_endpoint: PerEndpoint {
            max_connections: of_one(|one| one.max_connections.as_ref()),
            max_requests: of_one(|one| one.max_requests.as_ref()),
        },
        ..Limits::default()
    };
    let limits = limits
        .with(
            Priority::Default,
            Most { max_retries: usual.number(), ..decode_thresholds(first(all, Priority::Default)) },
        )
        .with(Priority::High, Most { max_retries: high_retries, ..decode_thresholds(first(all, Priority::High)) });
    let unlimited = Limits { origin: Origin::default(), ..Limits::default() };
    Ok((Some(limits).filter(|limits| *limits != unlimited), budget))
}

/// Of two for one priority Envoy takes the first.
fn first(all: &[Thresholds], priority: Priority) -> Option<(usize, &Thresholds)> {
    all.iter().enumerate().find(|(_, one)| one.priority == encode_priority(priority))
}

fn decode_thresholds(found: Option<(usize, &Thresholds)>) -> Most {
    let value = |pick: fn(&Thresholds) -> Option<&pb::UInt32Value>| match found.and_then(|(_, one)| pick(one)) {
        Some(pb::UInt32Value { value: u32::MAX }) => None,
        other => Some(read_number(other, DEFAULT_LIMIT)),
    };
    Most {
        max_connections: value(|one| one.max_connections.as_ref()),
        max_pending_requests: value(|one| one.max_pending_requests.as_ref()),
        max_requests: value(|one| one.max_requests.as_ref()),
        max_retries: None,
    }
}

/// What thresholds say of retries.
#[derive(Clone, Copy)]
enum Retries {
    Unsaid,
    /// So many at once, whatever the traffic.
    Number(u32),
    Share(Budget),
}

impl Retries {
    fn number(self) -> Option<u32> {
        match self {
            Retries::Number(u32::MAX) | Retries::Unsaid | Retries::Share(_) => None,
            Retries::Number(number) => Some(number),
        }
    }
}

fn decode_retries(thresholds: &Thresholds) -> Result<Retries, Problem> {
    let Some(budget) = &thresholds.retry_budget else {
        let number = thresholds.max_retries.as_ref().map(|most| Retries::Number(most.value));
        return Ok(number.unwrap_or(Retries::Unsaid));
    };
    let default = Budget::default();
    let percent = budget.budget_percent.as_ref().map_or(Ok(default.percent), |percent| {
        Percent::try_new(percent.value)
            .map_err(|problem| problem.at_field("value").at_field("budget_percent").at_field("retry_budget"))
    })?;
    let min_concurrent = read_number(budget.min_retry_concurrency.as_ref(), 3);
    // Nothing beside what is said: our own budget also allows a number each second.
    Ok(Retries::Share(Budget { percent, min_concurrent, min_per_second: 0, ..default }))
}
