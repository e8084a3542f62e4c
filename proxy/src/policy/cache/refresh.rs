//! Asks anew for what was just served stale (RFC 5861, 3), in a task of its own, so that nobody waits for it.
//!
//! One at a time for each response: it leads a flight, which who finds the response too stale meanwhile waits for. Where
//! nothing good comes back the next one is asked for after a rest, or a service in trouble would be asked as often as its
//! stale response is served.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body_util::BodyExt;

use super::super::Next;
use super::fetch::{Fetch, fetch};
use super::{flight, with_key};
use crate::body::Body;
use crate::cache::status::Forward;
use crate::cache::{Demand, Stored};
use crate::exchange::{Routed, Trail};
use crate::head;
use crate::telemetry::CacheResult;

/// How long it may take where its route says nothing.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long nobody asks anew after one that failed.
const REST: Duration = Duration::from_secs(1);

/// The most flights beside which another one is begun for this.
const MAX_UNDER_WAY: usize = 256;

/// The most responses that are being asked for anew, or rest. Far more: those of one service in trouble must not keep
/// another's from being asked for.
const MAX_TURNS: usize = 8192;

/// Begins to ask for `stored` anew, unless somebody does.
pub(super) fn begin<S: Next<Routed>>(inner: &S, routed: &Routed, stored: &Arc<Stored>) {
    let Some(cache) = &routed.route.cache else { return };
    let caching = &routed.trail.connection.shared.caching;
    let flights = &caching.flights;
    if flights.under_way() >= MAX_UNDER_WAY || caching.turns.under_way() >= MAX_TURNS {
        return;
    }
    let name = with_key(cache, routed, |key| {
        flight(cache, &caching.store, key, caching.store.get(key).as_deref(), routed.http.headers())
    });
    // Held until the rest is over; nobody waits for it.
    let Some(turn) = caching.turns.begin(&name) else { return };
    let Some(lead) = flights.begin(&name) else { return };
    let mut http = head::copy(&routed.http).map(|()| Body::empty());
    // What its caller asks is answered already; this is for whoever comes next.
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::CACHE_CONTROL, header::PRAGMA] {
        http.headers_mut().remove(name);
    }
    *http.method_mut() = http::Method::GET;
    let of = &routed.trail;
    if of.traced {
        of.context.inject(http.headers_mut(), true);
    }
    let trail = Arc::new(Trail::new(&http, Arc::new(of.connection.aside())));
    let (authority, route) = (routed.authority.clone(), Arc::clone(&routed.route));
    let aside = Routed { http: Box::new(http), trail, authority, route, gradients: None, asking: None };
    let fetch = Fetch {
        why: Forward::Stale,
        demand: Demand::default(),
        stale: Some(Arc::clone(stored)),
        lead: Some(lead),
        aside: true,
    };
    let inner = inner.clone();
    tokio::spawn(async move {
        if !run(inner, aside, fetch).await {
            tokio::time::sleep(REST).await;
        }
        drop(turn);
    });
}

/// Whether something good came back.
async fn run<S: Next<Routed>>(inner: S, aside: Routed, fetched: Fetch) -> bool {
    let (route, trail) = (Arc::clone(&aside.route), Arc::clone(&aside.trail));
    let Some(cache) = &route.cache else { return false };
    let longest = trail.connection.shared.caching.store.longest(cache.policy.max_bytes);
    let asked = async {
        match fetch(inner, aside, cache, fetched).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let whole = read(response.into_body(), longest).await;
                // What stands in for a failure is none the better for it.
                let stands_in = trail.read(|notes| notes.cache == Some(CacheResult::Stale));
                (status, None, whole && status < 500 && !stands_in)
            }
            Err(error) => (error.reason.disposition().status, Some(error.reason), false),
        }
    };
    let Ok((status, reason, good)) = tokio::time::timeout(TIMEOUT, asked).await else { return false };
    trail.read(|notes| {
        if let Some(edge) = &notes.edge {
            edge.record(status, None, reason, notes.would, trail.elapsed());
        }
    });
    good
}

/// Reads a body, which is kept as it passes; of one that is too long to be kept no more than shows that. Whether it
/// was whole.
async fn read(mut body: Body, longest: usize) -> bool {
    let mut seen = 0;
    while seen <= longest {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
        }
    }
    false
}
