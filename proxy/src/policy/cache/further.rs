//! Looks further than the proxy's own memory: in what other proxies keep too (`cache.shared`), for a request that would be
//! sent on otherwise.
//!
//! What is found is kept in memory as well, unless its target was changed since, or what is there is newer. Where nothing
//! is, or nobody answers in time, the request goes on as if there were no such place.

use std::sync::{Arc, Once};
use std::time::Instant;

use http::header::HeaderMap;

use crate::cache::recorder::Label;
use crate::cache::second::{Ticket, View};
use crate::cache::stored::Use;
use crate::cache::{Caching, Demand, Stored};
use crate::clock;
use crate::exchange::Routed;
use crate::route::cache::Cache as RouteCache;

/// What was found.
#[derive(Default)]
pub(super) struct Further {
    /// What can be served.
    pub(super) usable: Option<(Arc<Stored>, Use)>,
    /// What has to be confirmed, and is newer than what memory holds.
    pub(super) stale: Option<Arc<Stored>>,
    /// What lets an answer be kept there.
    pub(super) ticket: Option<Ticket>,
    /// Why it is not known what is there, in a word for `Cache-Status`.
    pub(super) failed: Option<&'static str>,
}

/// Whether there is anywhere to look.
pub(super) fn can_look(cache: &RouteCache, routed: &Routed) -> bool {
    cache.policy.shared && routed.trail.connection.shared.caching.second.is_some()
}

/// Looks for the answer to a request, until `until` at the latest. `held` is what memory has for it.
pub(super) async fn look(
    cache: &RouteCache,
    caching: &Caching,
    (label, headers): (&Label, &HeaderMap),
    (demand, held): (&Demand, Option<&Arc<Stored>>),
    until: Instant,
) -> Further {
    if !cache.policy.shared {
        return Further::default();
    }
    let Some(second) = &caching.second else {
        say_once(cache);
        return Further::default();
    };
    let unshared = |now| caching.store.get(&label.key).is_some_and(|resource| resource.is_unshared(now));
    if unshared(clock::now()) {
        return Further::default();
    }
    let whose = (cache.scope, View::Acting);
    let looked = Box::pin(second.look((&label.key, &label.shown), whose, headers, until)).await;
    // What was changed before the look is taken away there, or waits to be, and then nothing is looked for.
    let outdated = caching.store.is_outdated(&label.key, label.sent);
    let counts = |stored: &Arc<Stored>| !outdated && held.is_none_or(|held| held.sent < stored.sent);
    let mut further = Further { ticket: looked.ticket, failed: looked.how.detail(), ..Further::default() };
    if let Some(stored) = looked.stored.filter(counts) {
        let body = stored.body.as_ref().map_or(0, bytes::Bytes::len);
        if body <= caching.store.longest(cache.policy.max_bytes) {
            caching.store.keep(&label.key, &stored, label.sent);
        }
        match stored.usable(clock::now(), demand) {
            Use::Confirmed => further.stale = Some(stored),
            used => further.usable = Some((stored, used)),
        }
    }
    further
}

/// Says in the log that a policy asks for what there is not; once, since it is nothing that fails.
fn say_once(cache: &RouteCache) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let policy = &cache.policy.origin;
        tracing::warn!(%policy, "It has cache.shared, and this proxy no --cache-redis: what it keeps is its own");
    });
}

/// The same in Observe: whether what others noted would have been served.
pub(super) async fn rehearse(
    cache: &RouteCache,
    caching: &Caching,
    (label, headers): (&Label, &HeaderMap),
    demand: &Demand,
    until: Instant,
) -> bool {
    let Some(second) = caching.second.as_ref().filter(|_| cache.policy.shared) else { return false };
    let whose = (cache.scope, View::Observing);
    let looked = Box::pin(second.look((&label.key, &label.shown), whose, headers, until)).await;
    let outdated = caching.store.is_outdated(&label.key, label.sent);
    let Some(noted) = looked.stored.filter(|_| !outdated) else { return false };
    caching.store.keep(&label.key, &noted, label.sent);
    noted.usable(clock::now(), demand) != Use::Confirmed
}

/// What is said of an answer that was found so.
pub(super) fn detail(used: Use) -> &'static str {
    match used {
        Use::Fresh => "shared",
        Use::WhileRevalidate => "shared-stale-while-revalidate",
        Use::Stale | Use::Confirmed => "shared-max-stale",
    }
}
