//! Answers from what is kept of earlier responses, and keeps what may be kept (RFC 9111; a RoutePolicy's `cache`). What
//! is fresh costs no more than looking it up; everything else goes on to the rooms behind, in [`fetch`].
//!
//! Every answer of a route with a cache says in `Cache-Status` what was done (RFC 9211). In Observe nothing is served and
//! no body kept: it is only noted what would have been a hit. Raises [`Reason::NotCached`] for a request that is
//! `only-if-cached` and cannot be answered from here.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::Method;
use http::header::HeaderMap;
use tower::{Layer, Service};

use super::{Next, Waiting, at_once, refuse};
use crate::cache::demand::has_already;
use crate::cache::key::shown;
use crate::cache::status::{self, CACHE_STATUS, Did, Forward};
use crate::cache::store::Resource;
use crate::cache::stored::Use;
use crate::cache::{Demand, Store, Stored};
use crate::error::{Error, Reason};
use crate::exchange::{Response, Routed};
use crate::fields::Fields;
use crate::route::cache::Cache as RouteCache;
use crate::telemetry::CacheResult;

mod pass;
mod further;
mod question;
mod fetch;
mod refresh;
mod observe;

/// Puts [`Cache`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct CacheLayer;

/// Answers from what is kept.
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for Cache<S> {
    type Response = Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Waiting {
        if routed.route.cache.is_none() {
            return self.inner.call(routed);
        }
        if routed.route.rehearsed.cache.is_some() {
            let mut inner = self.inner.clone();
            return Box::pin(observe::observe(move |routed| act(&mut inner, routed), routed));
        }
        act(&mut self.inner, routed)
    }
}

/// Does what the route's own cache says.
fn act<S: Next<Routed>>(inner: &mut S, routed: Routed) -> Waiting {
    let route = Arc::clone(&routed.route);
    let Some(cache) = &route.cache else { return inner.call(routed) };
    if !cache.policy.mode.enforces() {
        let mut inner = inner.clone();
        return Box::pin(observe::observe(move |routed| inner.call(routed), routed));
    }
    let now = routed.trail.started;
    match look(cache, &routed, now) {
        Look::Hit { stored, why, demand } => {
            if why == Use::WhileRevalidate {
                refresh::begin(inner, &routed, &stored);
            }
            at_once(Ok(serve(cache, &routed, &stored, why, &demand, now)))
        }
        Look::Forward(mut forward) => {
            if further::can_look(cache, &routed) && !forward.demand.passes {
                // Nobody waits for one that will not ask the service.
                forward.flight = forward.flight.filter(|_| !forward.demand.only_if_cached);
            } else if forward.demand.only_if_cached {
                return refuse(not_cached(&routed, forward.why));
            }
            Box::pin(fetch::forward(inner.clone(), routed, forward))
        }
    }
}

/// What is kept for a request.
enum Look {
    /// What can be served.
    Hit { stored: Arc<Stored>, why: Use, demand: Demand },
    /// Nothing that can be served as it is.
    Forward(Forwarded),
}

/// A request that is sent on.
struct Forwarded {
    /// Why.
    why: Forward,
    /// What it asks.
    demand: Demand,
    /// What is kept for it and has to be confirmed.
    stale: Option<Arc<Stored>>,
    /// What its flight is called; none where it goes alone.
    flight: Option<Vec<u8>>,
}

impl Forwarded {
    fn alone(why: Forward, demand: Demand) -> Self {
        Forwarded { why, demand, stale: None, flight: None }
    }
}

/// Whether the route's responses to such a request are kept at all.
fn passes(routed: &Routed) -> Option<Forward> {
    let method = routed.http.method();
    if method != Method::GET && method != Method::HEAD {
        return Some(Forward::Method);
    }
    let upgrades = routed.trail.fields.any(Fields::UPGRADE);
    (upgrades || routed.trail.grpc || !routed.http.body().is_empty()).then_some(Forward::Bypass)
}

fn look(cache: &RouteCache, routed: &Routed, now: Instant) -> Look {
    if let Some(why) = passes(routed) {
        return Look::Forward(Forwarded::alone(why, Demand::default()));
    }
    let headers = routed.http.headers();
    let demand = if routed.trail.fields.any(Fields::CACHE) { Demand::of(headers) } else { Demand::default() };
    if demand.passes {
        return Look::Forward(Forwarded::alone(Forward::Request, demand));
    }
    with_key(cache, routed, |key| {
        let store = &routed.trail.connection.shared.caching.store;
        let resource = store.get(key);
        let selected = resource.as_ref().and_then(|resource| resource.select(cache.scope, headers));
        let fresh_for = |stored: &Arc<Stored>| stored.usable(now, &demand);
        match selected.map(|stored| (stored, fresh_for(stored))) {
            Some((stored, why)) if why != Use::Confirmed => Look::Hit { stored: Arc::clone(stored), why, demand },
            selected => {
                let newest = resource.as_ref().and_then(|resource| resource.newest(cache.scope));
                let why = match (selected, newest) {
                    (Some((stored, _)), _) if stored.freshness.left(now).is_ok() => Forward::Request,
                    (Some(_), _) => Forward::Stale,
                    (None, Some(_)) => Forward::VaryMiss,
                    (None, None) => Forward::UriMiss,
                };
                // One that has a response of its own to compare with may be told that it has it still, which is of no use
                // to anybody else; and what a HEAD brings is not kept.
                let alone = routed.http.method() == Method::HEAD
                    || (selected.is_none() && demand.conditional)
                    || demand.confirmed
                    || resource.as_ref().is_some_and(|resource| resource.is_unshared(now));
                let flight = (!alone).then(|| flight(cache, store, key, resource.as_deref(), headers));
                let stale = selected.map(|(stored, _)| Arc::clone(stored));
                Look::Forward(Forwarded { why, demand, stale, flight })
            }
        }
    })
}

/// Those whose key, route and, as far as is known, whose variant are the same fly together; not with those that asked
/// before their target was changed.
fn flight(cache: &RouteCache, store: &Store, key: &[u8], known: Option<&Resource>, headers: &HeaderMap) -> Vec<u8> {
    let mut name = key.to_vec();
    name.push(0);
    name.extend_from_slice(&cache.scope.to_le_bytes());
    name.extend_from_slice(&store.forgotten(key).to_le_bytes());
    let newest = known.and_then(|resource| resource.newest(cache.scope));
    for field in newest.into_iter().flat_map(|stored| stored.selector.names()) {
        name.push(0);
        name.extend_from_slice(&crate::cache::key::joined(headers, field).unwrap_or_default());
    }
    name
}

fn with_key<T>(cache: &RouteCache, routed: &Routed, then: impl FnOnce(&[u8]) -> T) -> T {
    let number = |target: &[u8]| routed.trail.connection.shared.caching.store.number(target);
    cache.rule.with(&routed.authority, routed.http.uri().path_and_query(), routed.http.headers(), number, then)
}

/// The answer from what is kept.
fn serve(cache: &RouteCache, routed: &Routed, stored: &Stored, why: Use, demand: &Demand, now: Instant) -> Response {
    let (result, detail) = match why {
        Use::Fresh => (CacheResult::Hit, None),
        Use::WhileRevalidate => (CacheResult::Stale, Some("stale-while-revalidate")),
        Use::Stale | Use::Confirmed => (CacheResult::Stale, Some("max-stale")),
    };
    // Nobody behind this room will say whom the request was for.
    routed.count_for_first();
    note(cache, routed, result);
    answer(routed.http.method(), routed.http.headers(), stored, Did::Hit(detail), demand, now)
}

/// What was done about a request, for metrics, span and log.
fn note(cache: &RouteCache, routed: &Routed, result: CacheResult) {
    cache.counters.count(result);
    routed.trail.note(|notes| notes.cache = Some(result));
}

fn answer(
    method: &Method,
    headers: &HeaderMap,
    stored: &Stored,
    did: Did<'_>,
    demand: &Demand,
    now: Instant,
) -> Response {
    let says = status::value(did, Some(&stored.freshness), now, &stored.shown);
    let has = demand.conditional && stored.status.is_success() && has_already(headers, &stored.headers);
    stored.response(now, says, method == Method::HEAD, has)
}

fn not_cached(routed: &Routed, why: Forward) -> Error {
    routed.count_for_first();
    let mut fields = HeaderMap::new();
    let did = Did::Forwarded { why, status: None, stored: false, collapsed: false, detail: Some("only-if-cached") };
    let key = routed.route.cache.as_ref().map(|cache| with_key(cache, routed, shown)).unwrap_or_default();
    fields.insert(CACHE_STATUS, status::value(did, None, routed.trail.started, &key));
    let status = http::StatusCode::GATEWAY_TIMEOUT;
    Error::new(Reason::NotCached).because("only-if-cached, and nothing is kept").refusing(status, None, fields)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderMap;
    use outrigger_config::name::ResourceName;
    use outrigger_config::policy::{Cache as Policy, Origin};
    use outrigger_config::route::Route as Model;

    use super::flight;
    use crate::cache::Store;
    use crate::route::cache::Cache;

    #[test]
    fn requests_of_two_routes_do_not_wait_for_each_other() {
        let cache = |cluster: &str| {
            let route = Model::forward("r", ResourceName::try_new(cluster).expect("a name"));
            Cache::new("t", &route, &Policy::with_defaults(Origin::default()), Arc::default())
        };
        let name = |cluster: &str| flight(&cache(cluster), &Store::default(), b"key", None, &HeaderMap::new());
        assert_eq!(name("a"), name("a"));
        assert_ne!(name("a"), name("b"));
    }
}
