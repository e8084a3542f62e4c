//! A cache in Observe: what it would have done is noted, and nothing else happens. Where it would share what it keeps, it
//! looks for what others noted so beside the request, which does not wait for that.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::super::Waiting;
use super::fetch::until;
use super::further;
use super::pass::pass;
use super::question::{Question, take_in};
use super::{Look, look, passes};
use crate::body::Body;
use crate::cache::Demand;
use crate::clock;
use crate::error::Error;
use crate::exchange::{Response, Routed};
use crate::telemetry::Would;

/// Sends a request on with `send`, and notes what would have been a hit: nothing of what passes is changed, and no body
/// kept. Beside a cache that acts `send` is what that does, so that this one sees what it would see in its place.
pub(super) async fn observe(send: impl FnOnce(Routed) -> Waiting, routed: Routed) -> Result<Response, Error> {
    let route = Arc::clone(&routed.route);
    let Some(cache) = route.rehearsed.cache.as_ref().or(route.cache.as_ref()) else { return send(routed).await };
    if passes(&routed).is_some() || Demand::of(routed.http.headers()).passes {
        return pass(send, routed, cache, None).await;
    }
    let hit = matches!(look(cache, &routed, routed.trail.started), Look::Hit { .. });
    let shared = Arc::clone(&routed.trail.connection.shared);
    let (caching, trail) = (&shared.caching, Arc::clone(&routed.trail));
    let question = Question::of(cache, &routed);
    let (response, looked) = if !hit && further::can_look(cache, &routed) {
        let demand = Demand::of(&question.headers);
        let who = (&question.label, &question.headers);
        let looks = further::rehearse(cache, caching, who, &demand, until(&routed).into());
        beside(send(routed), looks).await
    } else {
        (send(routed).await, None)
    };
    let hit = hit || looked == Some(true);
    if hit {
        trail.note(|notes| notes.would |= Would::CACHE_HIT);
    }
    let mut response = response?;
    // Once, as who acts would put it there.
    let second = caching.second.as_ref().filter(|_| cache.policy.shared && !hit);
    let ticket = second.map(|second| second.notes(&question.label.key));
    let longest = caching.store.longest(cache.policy.max_bytes);
    if let Ok(mut recorder) = take_in(cache, &caching.store, question, &response, (longest, false), clock::now()) {
        recorder.sharing(ticket);
        if response.body().is_empty() {
            recorder.keep();
        } else {
            let body = std::mem::take(response.body_mut());
            *response.body_mut() = Body::watched(body, recorder);
        }
    }
    Ok(response)
}

/// What `first` brings, as soon as it does; and what `second` has brought by then.
async fn beside<A: Future, B: Future>(first: A, second: B) -> (A::Output, Option<B::Output>) {
    let (mut first, mut second, mut brought) = (pin!(first), pin!(second), None);
    poll_fn(|cx| {
        if brought.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(cx)
        {
            brought = Some(output);
        }
        first.as_mut().poll(cx).map(|output| (output, brought.take()))
    })
    .await
}
