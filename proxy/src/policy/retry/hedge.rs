//! Sends another attempt beside one that takes too long; the first good answer wins and the others are cancelled (gRFC A6).
//!
//! A hedge is a retry that does not wait for a failure: it takes one of the policy's attempts and one of the
//! destination's budget, goes where no attempt is, and is only sent of a request that may be repeated and whose body is
//! here as a whole. What fails meanwhile is tried again as ever; the request fails only when nothing of it is under way
//! and nothing more is to come. In Observe the request goes on alone, and the trail says that it would have had company.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outrigger_config::policy::{Hedge, Retry as Policy};

use super::copy::Copy;
use super::wait::Asked;
use super::{Again, Rules, admit, discard};
use crate::body::Body;
use crate::carried;
use crate::clock;
use crate::cluster::budget::RetryPermit;
use crate::error::Error;
use crate::exchange::{Aim, Cause, Response, Targeted};
use crate::fields::Fields;
use crate::policy::Next;
use crate::route::Route;
use crate::telemetry::Would;

/// A hedge does not wait once it is due.
const AT_ONCE: Asked = Asked::Exactly(Duration::ZERO);

type Attempt = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// An attempt that is over, as far as its head.
struct Finished {
    number: u32,
    aim: Aim,
    outcome: Result<Response, Error>,
}

/// An attempt that was decided on and waits for its time.
struct Due {
    at: tokio::time::Instant,
    permit: RetryPermit,
    cause: Cause,
    http: Box<http::Request<Body>>,
}

/// The attempts of one request that are under way.
struct Race<S> {
    inner: S,
    racing: FuturesUnordered<Attempt>,
    /// When each that is under way began.
    begun: Vec<(u32, Instant)>,
    marks: bool,
}

impl<S: Next<Targeted>> Race<S> {
    fn start(&mut self, mut http: Box<http::Request<Body>>, aim: Aim, permit: Option<RetryPermit>) {
        if self.marks {
            carried::mark(http.headers_mut(), aim.attempt);
        }
        self.begun.push((aim.attempt, clock::now()));
        let attempt = self.inner.call(Targeted { http, aim: aim.clone(), permit: None, edits: None });
        self.racing.push(Box::pin(async move {
            let outcome = attempt.await;
            drop(permit);
            Finished { number: aim.attempt, aim, outcome }
        }));
    }

    /// Takes an attempt that is over out of the race, and gives how long it took.
    fn finish(&mut self, number: u32, now: Instant) -> Option<Duration> {
        let at = self.begun.iter().position(|(one, _)| *one == number)?;
        Some(now.duration_since(self.begun.swap_remove(at).1))
    }

    /// Cancels whatever is under way. It took at least so long, which is what is known of it.
    fn cancel(&mut self, aim: &Aim, now: Instant) {
        if self.racing.is_empty() {
            return;
        }
        if let Some(pace) = aim.route.pace() {
            self.begun.iter().for_each(|(_, begun)| pace.observe(now, now.duration_since(*begun)));
        }
        // Said before they are dropped, which is when their accounts are settled.
        aim.trail.note(|notes| notes.lost = true);
        self.racing.clear();
        aim.trail.note(|notes| notes.lost = false);
    }
}

pub(super) async fn run<S: Next<Targeted>>(
    inner: S,
    targeted: Targeted,
    policy: &Policy,
    rehearsed: Option<&Policy>,
    route: &Arc<Route>,
) -> Result<Response, Error> {
    let Targeted { http, aim, .. } = targeted;
    let (copy, http) = Copy::of(http, policy, aim.trail.fields, &aim.trail.connection.shared.replay);
    let rules = Rules { policy, rehearsed, copy: &copy, route };
    let acts = policy.hedge.is_some();
    let delay = policy.hedge.or(rehearsed.and_then(|one| one.hedge)).and_then(|hedge| delay(hedge, &aim));
    let expects = aim.trail.fields.any(Fields::EXPECT);
    let rehearses = !acts && rehearsed.is_some_and(|policy| policy.methods.allows(aim.trail.method.as_str()));
    let delay = delay.filter(|_| (copy.is_whole() || rehearses) && !expects);
    let mut hedge = delay.map(|delay| tokio::time::Instant::now() + delay);
    let mut due: Option<Due> = None;
    // An answer asks to be left alone for good: nothing more is sent, be it beside what is under way (gRFC A6).
    let mut told_off = false;
    let mut race = Race { inner, racing: FuturesUnordered::new(), begun: Vec::new(), marks: copy.is_whole() };
    let mut latest = aim.clone();
    race.start(http, aim, None);
    loop {
        tokio::select! {
            biased;
            Some(Finished { number, aim, mut outcome }) = race.racing.next() => {
                let now = clock::now();
                let took = race.finish(number, now);
                // It was this attempt's; another may be under way.
                aim.trail.note(|notes| notes.cut = None);
                let mut again = rules.weigh(&mut outcome, &aim).await;
                if again.is_none() && outcome.is_ok() {
                    if let (Some(took), Some(pace)) = (took, route.pace()) {
                        pace.observe(now, took);
                    }
                    aim.trail.note(|notes| notes.reason = None);
                    race.cancel(&aim, now);
                    rules.rehearse(&mut outcome, &aim);
                    return outcome;
                }
                if let Some(Again { asked, .. }) = &mut again
                    && (told_off || *asked == Asked::Never)
                {
                    (told_off, *asked, hedge, due) = (true, Asked::Never, None, None);
                }
                if due.is_none()
                    && let Some(Again { cause, asked, next }) = again
                    && let Some((permit, wait)) = admit(policy, &latest, cause, asked)
                {
                    due = Some(Due { at: tokio::time::Instant::now() + wait, permit, cause, http: next });
                }
                if race.racing.is_empty() && due.is_none() {
                    return outcome;
                }
                // Another outcome comes. At once, since the next attempt may need the place that this one holds.
                // Said before, or its span would be taken for the request's only one.
                aim.trail.note(|notes| notes.retried = true);
                if let Ok(response) = outcome {
                    discard(response);
                }
            }
            () = until(due.as_ref().map(|due| due.at)) => {
                if let Some(Due { permit, cause, http, .. }) = due.take() {
                    latest = latest.again(cause);
                    race.start(http, latest.clone(), Some(permit));
                    if acts {
                        hedge = delay.map(|delay| tokio::time::Instant::now() + delay);
                    }
                }
            }
            () = until(hedge) => {
                hedge = None;
                if !acts {
                    latest.trail.note(|notes| notes.would |= Would::HEDGE);
                } else if due.is_none() && latest.attempt < policy.attempts && let Some(http) = copy.beside() {
                    // Once refused, for want of time or budget, none is asked for again: each refusal is counted.
                    if let Some((permit, _)) = admit(policy, &latest, Cause::Hedge, AT_ONCE) {
                        latest.trail.note(|notes| notes.retried = true);
                        latest = latest.again(Cause::Hedge);
                        race.start(http, latest.clone(), Some(permit));
                        hedge = delay.map(|delay| tokio::time::Instant::now() + delay);
                    }
                } else if !copy.is_settled() {
                    // The body is still coming.
                    hedge = delay.map(|delay| tokio::time::Instant::now() + delay);
                }
            }
        }
    }
}

async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}

/// After how long a hedge is due; none while too few answers were seen to say.
fn delay(hedge: Hedge, aim: &Aim) -> Option<Duration> {
    match hedge {
        Hedge::Delay(delay) => Some(delay),
        Hedge::Percentile(share) => aim.route.pace()?.percentile(share),
    }
}
