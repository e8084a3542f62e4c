//! Asks the rate limit services of another control plane about a request: each filter of the listener (xDS `ratelimit`)
//! asks what the route says. Part of the room [`super::global_limit`].
//!
//! Raises [`Reason::RateLimited`] with the filter's status, and [`Reason::RateLimitUnavailable`] where there is no answer
//! in time and the filter denies then.

use http::{HeaderMap, StatusCode};
use outrigger_config::policy::rate_limit::OnError;
use outrigger_config::xds::rls::RateLimitResponse;

use super::global_limit::over;
use super::rate_limit::{LIMITED, facts};
use crate::error::{Error, Reason};
use crate::exchange::Routed;
use crate::rls::{Asking, Who};
use crate::route::asked::Sides;
use crate::route::global::level;
use crate::route::told;

/// Asks one filter's service after the other, until one refuses.
pub(super) async fn ask(routed: &Routed, asking: &[Asking]) -> Result<(), Error> {
    for asking in asking {
        ask_one(routed, asking).await?;
    }
    Ok(())
}

async fn ask_one(routed: &Routed, asking: &Asking) -> Result<(), Error> {
    let shared = &routed.trail.connection.shared;
    let first = routed.route.targets.as_ref().and_then(|targets| targets.iter().next());
    let sides = Sides {
        source: shared.telemetry.metrics.workload().map_or("", |workload| workload.name()),
        destination: first.map_or("", |target| target.name.as_str()),
        address: routed.trail.connection.peer.ip(),
    };
    let filter = &asking.filter;
    let descriptors = routed.route.asked.of(filter.stage, &facts(routed), &sides);
    if descriptors.is_empty() {
        return Ok(());
    }
    let who = Who::Cluster(asking.cluster.as_deref());
    match shared.limits.ask(&asking.circuit, who, &filter.domain, descriptors, filter.timeout).await {
        Ok(answer) if over(&answer).is_some() => Err(refused(routed, asking, &answer)),
        Ok(_) => Ok(()),
        Err(_) if filter.on_error == OnError::Allow => Ok(()),
        Err(failure) => {
            routed.count_for_first();
            let status = StatusCode::from_u16(filter.status_on_error).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let because = format_args!("{failure}, and its filter for {} denies", filter.domain);
            Err(Error::new(Reason::RateLimitUnavailable).because(because).refusing(status, None, HeaderMap::new()))
        }
    }
}

fn refused(routed: &Routed, asking: &Asking, answer: &RateLimitResponse) -> Error {
    routed.count_for_first();
    let filter = &asking.filter;
    let wait = over(answer).and_then(|index| answer.statuses.get(index)).and_then(level).map(|level| level.next);
    let status = StatusCode::from_u16(filter.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    Error::new(Reason::RateLimited)
        .because(format_args!("over a limit of {} at {}", filter.domain, filter.cluster))
        .refusing(status, wait.map(told::whole_seconds), [LIMITED].into_iter().collect())
}
