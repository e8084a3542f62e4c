//! Callers from outside: an open loop that makes calls at a given rate whether or not earlier ones were answered, with
//! a bound on those under way. Where the bound holds a call back, its time still counts from when it was due, so that a
//! stall is seen in full.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::stats::Seen;
use crate::wire::{Answer, Call, Wire};

const MOST_UNDER_WAY: usize = 512;
const DEADLINE: Duration = Duration::from_secs(5);

/// What is called again and again.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where to connect, in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The service asked for.
    pub(crate) host: &'static str,
    /// The path asked for.
    pub(crate) path: &'static str,
    /// Fields of every call.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// A running load. Dropping it stops it and forgets what is under way.
pub(crate) struct Load {
    shared: Arc<Shared>,
    pacer: JoinHandle<()>,
}

struct Shared {
    wire: Wire,
    target: Target,
    rate: AtomicU32,
    under_way: AtomicUsize,
    seen: Mutex<Seen>,
}

impl Load {
    /// Starts calling `rate` times a second.
    pub(crate) fn start(wire: Wire, target: Target, rate: u32) -> Self {
        let shared = Arc::new(Shared {
            wire,
            target,
            rate: AtomicU32::new(rate),
            under_way: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let pacer = tokio::spawn(pace(Arc::clone(&shared)));
        Load { shared, pacer }
    }

    /// Calls `rate` times a second from now on.
    pub(crate) fn set_rate(&self, rate: u32) {
        // The pacer reads it before each call; nothing else depends on when.
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    /// What callers have seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.shared.with(|seen| seen.clone())
    }

    /// Makes no more calls, waits for those under way, and says what was seen in all.
    pub(crate) async fn finish(self) -> Seen {
        self.pacer.abort();
        let deadline = Instant::now() + DEADLINE;
        while self.shared.under_way.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.seen()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.pacer.abort();
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn one(&self, turn: usize, due: Instant) {
        let target = &self.target;
        let address = target.addresses[turn % target.addresses.len()];
        let call =
            Call { headers: &target.headers, deadline: DEADLINE, ..Call::get(address, target.host, target.path) };
        let answer = self.wire.call(call).await;
        let took = due.elapsed();
        self.with(|seen| count(seen, &answer, took));
    }
}

async fn pace(shared: Arc<Shared>) {
    let bound = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let mut due = Instant::now();
    for turn in 0_usize.. {
        due += Duration::from_secs(1) / shared.rate.load(Ordering::Relaxed).max(1);
        tokio::time::sleep_until(due).await;
        let Ok(permit) = Arc::clone(&bound).acquire_owned().await else { return };
        let shared = Arc::clone(&shared);
        let under_way = shared.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        shared.with(|seen| seen.most_in_flight = seen.most_in_flight.max(under_way));
        tokio::spawn(async move {
            shared.one(turn, due).await;
            shared.under_way.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
}

fn count(seen: &mut Seen, answer: &anyhow::Result<Answer>, took: Duration) {
    seen.durations.record(took);
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            seen.bad += 1;
            *seen.statuses.entry(0).or_default() += 1;
            *seen.reasons.entry(format!("{error:#}")).or_default() += 1;
            return;
        }
    };
    *seen.statuses.entry(answer.status.as_u16()).or_default() += 1;
    if answer.status == StatusCode::OK {
        seen.good += 1;
        for name in answer.field("x-served-by").split_whitespace() {
            *seen.served.entry(name.to_owned()).or_default() += 1;
        }
        return;
    }
    seen.bad += 1;
    let line = answer.field("proxy-status");
    let reason = match reason(line) {
        Some(reason) => reason.to_owned(),
        None => said(answer),
    };
    if !line.is_empty() {
        seen.said.entry(reason.clone()).or_insert_with(|| line.to_owned());
    }
    *seen.reasons.entry(reason).or_default() += 1;
}

/// What a service of the shop says went wrong.
fn said(answer: &Answer) -> String {
    let error = answer.json().ok().and_then(|json| Some(json["error"].as_str()?.to_owned()));
    let text = error.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
    text.chars().take(200).collect()
}

/// The `error` of a `Proxy-Status` field.
fn reason(line: &str) -> Option<&str> {
    line.split(';').find_map(|part| part.trim().strip_prefix("error=")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::{count, reason};
    use crate::stats::Seen;
    use crate::wire::Answer;

    #[test]
    fn the_reason_is_read_from_proxy_status() {
        assert_eq!(reason("outrigger; error=rate_limited; details=\"scraper\""), Some("rate_limited"));
        assert_eq!(reason("outrigger; received-status=503"), None);
    }

    #[test]
    fn answers_are_counted_by_who_served_them_and_why_they_failed() {
        let mut seen = Seen::default();
        let answer = |status, name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            Ok(Answer { status, headers, body: Bytes::from_static(b"no") })
        };
        let took = Duration::from_millis(1);
        count(&mut seen, &answer(StatusCode::OK, "x-served-by", "storefront-1 catalog-2 recommend-v1"), took);
        count(&mut seen, &answer(StatusCode::TOO_MANY_REQUESTS, "proxy-status", "outrigger; error=rate_limited"), took);
        count(&mut seen, &answer(StatusCode::BAD_GATEWAY, "x-other", ""), took);
        count(&mut seen, &Err(anyhow::anyhow!("connection refused")), took);
        assert_eq!((seen.good, seen.bad, seen.durations.count()), (1, 3, 4));
        assert_eq!((seen.served_by("catalog-2"), seen.status(429), seen.status(0)), (1, 1, 1));
        assert_eq!(seen.reasons["rate_limited"] + seen.reasons["no"] + seen.reasons["connection refused"], 3);
        assert_eq!(seen.said["rate_limited"], "outrigger; error=rate_limited");
    }
}
