//! Asks anew for what was just served stale (RFC 5861, 3), in a task of its own, so that nobody waits for it.
//!
//! One at a time for each response: it leads a flight, which who finds the response too stale meanwhile waits for.

use std::sync::Arc;
use std::time::Duration;

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

/// How long it may take where its route says nothing.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The most flights beside which another one is begun for this.
const MAX_UNDER_WAY: usize = 256;

/// Begins to ask for `stored` anew, unless somebody does.
pub(super) fn begin<S: Next<Routed>>(inner: &S, routed: &Routed, stored: &Arc<Stored>) {
    let Some(cache) = &routed.route.cache else { return };
    let flights = &routed.trail.connection.shared.caching.flights;
    if flights.under_way() >= MAX_UNDER_WAY {
        return;
    }
    let name = with_key(cache, routed, |key| flight(key, Some(stored), routed.http.headers()));
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
    let aside = Routed { http: Box::new(http), trail, authority, route };
    let fetch = Fetch {
        why: Forward::Stale,
        demand: Demand::default(),
        stale: Some(Arc::clone(stored)),
        lead: Some(lead),
        aside: true,
    };
    tokio::spawn(run(inner.clone(), aside, fetch));
}

async fn run<S: Next<Routed>>(inner: S, aside: Routed, fetched: Fetch) {
    let (route, trail) = (Arc::clone(&aside.route), Arc::clone(&aside.trail));
    let Some(cache) = &route.cache else { return };
    let asked = async {
        match fetch(inner, aside, cache, fetched).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let mut body = response.into_body();
                // It is kept as it passes, which it does only if it is read.
                while let Some(Ok(_)) = body.frame().await {}
                (status, None)
            }
            Err(error) => (error.reason.disposition().status, Some(error.reason)),
        }
    };
    if let Ok((status, reason)) = tokio::time::timeout(TIMEOUT, asked).await {
        trail.read(|notes| {
            if let Some(edge) = &notes.edge {
                edge.record(status, None, reason, notes.would, trail.elapsed());
            }
        });
    }
}
