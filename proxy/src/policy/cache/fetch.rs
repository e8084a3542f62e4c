//! Requests whose answers may be kept and are not: waiting for another that asks for the same, confirming what is stale,
//! keeping what comes back, serving what is stale where nothing good does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use outrigger_config::policy::Timeouts;

use super::super::Next;
use super::further::{self, Further};
use super::pass::pass;
use super::question::{Question, take_in};
use super::{Forwarded, Look, answer, look, not_cached, note, passes, refresh, serve, with_key};
use crate::body::Body;
use crate::cache::flight::{Joined, Landing, Lead};
use crate::cache::freshness::{Freshness, Refusal};
use crate::cache::second::Ticket;
use crate::cache::status::{self, CACHE_STATUS, Did, Forward};
use crate::cache::stored::{Selector, Use};
use crate::cache::{Demand, Store, Stored};
use crate::clock;
use crate::error::Error;
use crate::exchange::{Response, Routed};
use crate::head;
use crate::route::cache::Cache as RouteCache;
use crate::telemetry::CacheResult;

/// The longest wait for another request's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a request waits before it goes by itself: for the first that asks for its target, and, when that turns out
/// to have variants, for the first that asks for its own.
const ROUNDS: usize = 3;

/// A request to the service on behalf of the cache.
pub(super) struct Fetch {
    /// Why it is sent.
    pub(super) why: Forward,
    /// What its caller asks.
    pub(super) demand: Demand,
    /// What is kept for it.
    pub(super) stale: Option<Arc<Stored>>,
    /// The flight that it leads.
    pub(super) lead: Option<Lead>,
    /// Nobody waits for it: it is not one of the requests that are counted.
    pub(super) aside: bool,
}

/// Answers a request that what is kept cannot answer at once.
pub(super) async fn forward<S: Next<Routed>>(
    mut inner: S,
    routed: Routed,
    forwarded: Forwarded,
) -> Result<Response, Error> {
    let route = Arc::clone(&routed.route);
    let Some(cache) = &route.cache else { return inner.call(routed).await };
    let Forwarded { mut why, demand, mut stale, mut flight } = forwarded;
    if demand.passes || passes(&routed).is_some() {
        note(cache, &routed, CacheResult::Bypass);
        return pass(|routed| inner.call(routed), routed, cache, Some(why)).await;
    }
    let shared = Arc::clone(&routed.trail.connection.shared);
    let caching = &shared.caching;
    for _ in 0..ROUNDS {
        let Some(name) = &flight else { break };
        let landing = match caching.flights.join(name) {
            Joined::Crowded => break,
            Joined::Lead(lead) => match look(cache, &routed, clock::now()) {
                // It landed between this request's look and its join.
                Look::Hit { stored, why, demand } if why == Use::Fresh => {
                    let now = clock::now();
                    return Ok(serve(cache, &routed, &stored, why, &demand, now));
                }
                _ => {
                    let fetch = Fetch { why, demand, stale, lead: Some(lead), aside: false };
                    return self::fetch(inner, routed, cache, fetch).await;
                }
            },
            Joined::Wait(wait) => tokio::time::timeout_at(until(&routed), wait.landed()).await,
        };
        let now = clock::now();
        let selects = |stored: &Stored| stored.selector.selects(cache.scope, routed.http.headers());
        match landing {
            Ok(Landing::Kept(stored)) if selects(&stored) => {
                if stored.usable(now, &demand) == Use::Fresh {
                    return Ok(share(cache, &routed, &stored, (why, &demand), (CacheResult::Collapsed, None), now));
                }
                // Whoever waits for such a one waits in vain.
                with_key(cache, &routed, |key| caching.store.note_unshared(key, now));
                stale = Some(stored);
                break;
            }
            Ok(Landing::StandIn(stored)) if selects(&stored) && stored.freshness.stands_in(now) => {
                let why = (why, &demand);
                let result = (CacheResult::Stale, Some("stale-if-error"));
                return Ok(share(cache, &routed, &stored, why, result, now));
            }
            Ok(Landing::Unshared | Landing::StandIn(_)) | Err(_) => break,
            Ok(Landing::Gone | Landing::Kept(_)) => match look(cache, &routed, now) {
                Look::Hit { stored, why, demand } => return Ok(serve(cache, &routed, &stored, why, &demand, now)),
                Look::Forward(again) => (why, stale, flight) = (again.why, again.stale, again.flight),
            },
        }
    }
    fetch(inner, routed, cache, Fetch { why, demand, stale, lead: None, aside: false }).await
}

/// By when a request gives up waiting: the rooms behind then find its time over, if it is, and say so.
pub(super) fn until(routed: &Routed) -> tokio::time::Instant {
    patient_until(&routed.trail.timeouts(&routed.route), routed.trail.started, clock::now()).into()
}

fn patient_until(timeouts: &Timeouts, started: Instant, now: Instant) -> Instant {
    let own = timeouts.request.into_iter().chain(timeouts.stream).min();
    own.map_or(now + PATIENCE, |own| (started + own).min(now + PATIENCE))
}

/// Answers with what another request brought.
fn share(
    cache: &RouteCache,
    routed: &Routed,
    stored: &Stored,
    (why, demand): (Forward, &Demand),
    (result, detail): (CacheResult, Option<&str>),
    now: Instant,
) -> Response {
    routed.count_for_first();
    note(cache, routed, result);
    let did = Did::Forwarded { why, status: None, stored: false, collapsed: true, detail };
    answer(routed.http.method(), routed.http.headers(), stored, did, demand, now)
}

/// Asks the service, keeps what may be kept, and answers.
pub(super) async fn fetch<S: Next<Routed>>(
    mut inner: S,
    mut routed: Routed,
    cache: &RouteCache,
    fetch: Fetch,
) -> Result<Response, Error> {
    let Fetch { mut why, demand, mut stale, lead, aside } = fetch;
    let shared = Arc::clone(&routed.trail.connection.shared);
    let store = &shared.caching.store;
    let question = Question::of(cache, &routed);
    let who = (&question.label, &question.headers);
    let further = further::look(cache, &shared.caching, who, (&demand, stale.as_ref()), until(&routed).into()).await;
    let Further { usable, stale: newer, ticket, failed: mut detail } = further;
    match usable {
        Some((stored, used)) if used == Use::Fresh || !aside => {
            return Ok(found(&inner, &routed, cache, (&stored, used, &demand), lead, aside));
        }
        usable => {
            let newer = newer.or(usable.map(|(stored, _)| stored));
            if newer.is_some() {
                (why, stale) = (if demand.confirmed { why } else { Forward::Stale }, newer);
                detail = Some("shared");
            }
        }
    }
    if detail.is_some() {
        routed.trail.note(|notes| notes.cache_detail = detail);
    }
    if demand.only_if_cached {
        return Err(not_cached(&routed, why));
    }
    let confirms = stale.as_ref().filter(|stored| question.method == Method::GET && stored.can_be_confirmed());
    // Another one, should the answer speak of what is not kept any more.
    let again = confirms.map(|_| Routed {
        http: Box::new(head::copy(&routed.http).map(|()| Body::empty())),
        trail: Arc::clone(&routed.trail),
        authority: routed.authority.clone(),
        route: Arc::clone(&routed.route),
        gradients: routed.gradients.clone(),
        asking: None,
    });
    if let Some(stored) = confirms {
        stored.ask_to_confirm(routed.http.headers_mut());
    }
    let trail = Arc::clone(&routed.trail);
    let noted = |result: CacheResult| {
        if !aside {
            cache.counters.count(result);
        }
        trail.note(|notes| notes.cache = Some(result));
    };
    trail.note(|notes| notes.cache = Some(CacheResult::Miss));
    let mut outcome = inner.call(routed).await;
    if let (Some(stored), Ok(response)) = (confirms, &outcome)
        && response.status() == StatusCode::NOT_MODIFIED
    {
        if stored.is_confirmed_by(response.headers()) {
            let (renewed, kept) = renew(cache, store, &question, stored, response.headers());
            if let Some(ticket) = &ticket {
                if renewed.selector != stored.selector || !kept {
                    ticket.drop_one(&stored.selector);
                }
                if kept {
                    ticket.keep(&renewed);
                }
            }
            if let Some(lead) = lead {
                lead.land(if kept { Landing::Kept(Arc::clone(&renewed)) } else { Landing::Unshared });
            }
            noted(CacheResult::Revalidated);
            let did = Did::Forwarded { why, status: Some(304), stored: kept, collapsed: false, detail };
            return Ok(answer(&question.method, &question.headers, &renewed, did, &demand, clock::now()));
        }
        if let Some(mut again) = again {
            again.http.headers_mut().remove(header::IF_NONE_MATCH);
            again.http.headers_mut().remove(header::IF_MODIFIED_SINCE);
            outcome = inner.call(again).await;
        }
    }
    let failed = match &outcome {
        Ok(response) => matches!(response.status().as_u16(), 500 | 502 | 503 | 504),
        Err(error) => error.reason.disposition().status >= 500,
    };
    if let Some(stored) = stale.as_ref().filter(|stored| failed && stored.freshness.stands_in(clock::now())) {
        if let Some(lead) = lead {
            lead.land(Landing::StandIn(Arc::clone(stored)));
        }
        noted(CacheResult::Stale);
        let did = Did::Hit(Some(if detail == Some("shared") { "shared-stale-if-error" } else { "stale-if-error" }));
        return Ok(answer(&question.method, &question.headers, stored, did, &demand, clock::now()));
    }
    noted(CacheResult::Miss);
    match outcome {
        Ok(response) => Ok(keep(cache, store, question, response, Sent { why, stale, lead, ticket, detail })),
        Err(error) => {
            // The others may be luckier, with another endpoint.
            if let Some(lead) = lead {
                lead.land(Landing::Unshared);
            }
            Err(error)
        }
    }
}

/// Answers with what other proxies keep too.
fn found<S: Next<Routed>>(
    inner: &S,
    routed: &Routed,
    cache: &RouteCache,
    (stored, used, demand): (&Arc<Stored>, Use, &Demand),
    lead: Option<Lead>,
    aside: bool,
) -> Response {
    match lead {
        Some(lead) if used == Use::Fresh => lead.land(Landing::Kept(Arc::clone(stored))),
        // Who waits finds it in memory, and judges for itself.
        lead => drop(lead),
    }
    if used == Use::WhileRevalidate {
        refresh::begin(inner, routed, stored);
    }
    let result = if used == Use::Fresh { CacheResult::Shared } else { CacheResult::Stale };
    if used != Use::Fresh {
        routed.trail.note(|notes| notes.cache_detail = Some(further::detail(used)));
    }
    if aside {
        routed.trail.note(|notes| notes.cache = Some(result));
    } else {
        routed.count_for_first();
        note(cache, routed, result);
    }
    let did = Did::Hit(Some(further::detail(used)));
    answer(routed.http.method(), routed.http.headers(), stored, did, demand, clock::now())
}

/// What is kept once the service has confirmed it; false where it is to be kept no longer.
fn renew(
    cache: &RouteCache,
    store: &Store,
    question: &Question,
    stored: &Arc<Stored>,
    not_modified: &HeaderMap,
) -> (Arc<Stored>, bool) {
    let now = clock::now();
    let headers = stored.updated(not_modified);
    let label = &question.label;
    let make = |selector: Selector, freshness: Freshness| {
        let head = (stored.status, &headers);
        let shown = Arc::clone(&label.shown);
        Arc::new(Stored::new(selector, freshness, head, stored.body.clone(), label.sent, shown))
    };
    match question.judge(cache, stored.status, &headers, now) {
        Ok((selector, freshness)) => {
            if selector != stored.selector {
                store.drop_one(&label.key, &stored.selector);
            }
            let renewed = make(selector, freshness);
            store.keep(&label.key, &renewed, label.sent);
            (renewed, true)
        }
        Err(_) => {
            store.drop_one(&label.key, &stored.selector);
            let over = Freshness { received: now, initial_age: Duration::ZERO, ..stored.freshness };
            (make(stored.selector.clone(), over), false)
        }
    }
}

/// A request that was sent, when its answer is here.
struct Sent {
    why: Forward,
    stale: Option<Arc<Stored>>,
    lead: Option<Lead>,
    ticket: Option<Ticket>,
    detail: Option<Refusal>,
}

/// Passes an answer on, and takes it in on the way if it may be kept.
fn keep(cache: &RouteCache, store: &Arc<Store>, question: Question, mut response: Response, sent: Sent) -> Response {
    let now = clock::now();
    let Sent { why, stale, lead, ticket, detail: looked } = sent;
    let key = question.label.key.clone();
    let shown = Arc::clone(&question.label.shown);
    let (status, is_head) = (response.status(), question.method == Method::HEAD);
    let longest = store.longest(cache.policy.max_bytes);
    let taken = take_in(cache, store, question, &response, (longest, true), now);
    let (recorder, detail) = match taken {
        Ok(recorder) => (Some(recorder), None),
        Err(detail) => (None, detail),
    };
    let freshness = recorder.as_ref().map(|recorder| recorder.freshness());
    match recorder {
        Some(mut recorder) => {
            recorder.leading(lead);
            recorder.sharing(ticket);
            if response.body().is_empty() {
                recorder.keep();
            } else {
                let body = std::mem::take(response.body_mut());
                *response.body_mut() = Body::watched(body, recorder);
            }
        }
        None => {
            // The service has something else to say now than what was kept; a HEAD need not.
            let speaks_against = |kept: &Stored| !(is_head && kept.agrees_with(status, response.headers()));
            if let Some(stale) = stale.filter(|kept| !status.is_server_error() && speaks_against(kept)) {
                store.drop_one(&key, &stale.selector);
                ticket.inspect(|ticket| ticket.drop_one(&stale.selector));
            }
            if let Some(lead) = lead {
                store.note_unshared(&key, now);
                lead.land(Landing::Unshared);
            }
        }
    }
    let code = Some(status.as_u16());
    let (kept, detail) = (freshness.is_some(), detail.or(looked));
    let did = Did::Forwarded { why, status: code, stored: kept, collapsed: false, detail };
    response.headers_mut().append(CACHE_STATUS, status::value(did, freshness.as_ref(), now, &shown));
    response
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::policy::Timeouts;

    use super::{PATIENCE, patient_until};

    #[test]
    fn nobody_waits_for_another_longer_than_its_own_request_may_take() {
        let started = Instant::now();
        let now = started + Duration::from_millis(100);
        let [short, long] = [1, 60].map(|seconds| Some(Duration::from_secs(seconds)));
        for (request, stream, until) in [
            (None, None, now + PATIENCE),
            (long, long, now + PATIENCE),
            (short, None, started + Duration::from_secs(1)),
            (None, short, started + Duration::from_secs(1)),
            (long, short, started + Duration::from_secs(1)),
        ] {
            let timeouts = Timeouts { request, stream, ..Timeouts::default() };
            assert_eq!(patient_until(&timeouts, started, now), until, "{request:?} {stream:?}");
        }
    }
}
