//! Keeps the [`Book`] in Redis in which control planes say what they hold of the limits that they divide, and gives
//! [`Leases`] what it answers, twice a second. While Redis is away every part stays as it was answered last.
//!
//! Two scripts: one reads the book and Redis's clock, the other writes the book where it still is what was read. What is
//! not known to have been written is taken to have been: no part ever grows by it, and what proxies took along is not
//! told again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Cmd;
use tokio_util::sync::CancellationToken;

use super::book::{Answer, Ask, Book};
use super::leases::Leases;
use super::link::{Failure, Link};

/// How often.
const TICK: Duration = Duration::from_millis(500);
/// How long Redis may take to read or to write: longer than a connection may say nothing.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is tried again at once where another was faster.
const TURNS: u64 = 8;
/// How long without an answer until the division is held to be old.
const OLD: Duration = Duration::from_secs(5);
/// Bytes of the longest book: some ten thousand limits of a few control planes each.
const MAX_BOOK: usize = super::bounded::MAX_READ / 2;

/// Where the book is.
const KEY: &str = "outrigger:leases";
const READ: &str = "
local time = redis.call('TIME')
return {time[1], time[2], redis.call('GET', KEYS[1])}";
/// Longer than anybody in it counts.
const WRITE: &str = "
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', 600000)
return 1";

/// This control plane, among those that share its Redis. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Replicas {
    leases: Leases,
    redis: Link,
    nonce: u64,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    alive: usize,
    answered: Instant,
    failed: u64,
    is_old: bool,
}

/// How the division with others stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Control planes that divided the limits when that was last known.
    pub alive: usize,
    /// Whether that was lately.
    pub is_fresh: bool,
    /// How often it could not be found out.
    pub failed: u64,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// Nothing was written.
    #[error(transparent)]
    Untold(Failure),
    #[error("others were faster every time")]
    Crowded,
    #[error("there are too many limits, or control planes: what is said of them has more than {MAX_BOOK} bytes")]
    Long,
    /// It may have been written.
    #[error(transparent)]
    Unknown(Failure),
}

impl Replicas {
    /// Divides `leases`, which have to have a nonce, with all others who have the same `redis`.
    pub fn new(leases: Leases, redis: Link, now: Instant) -> Self {
        let nonce = leases.nonce().unwrap_or_default();
        let known = Known { alive: 0, answered: now, failed: 0, is_old: false };
        Replicas { leases, redis, nonce, known: Arc::new(Mutex::new(known)) }
    }

    /// Says what is held, and takes what is answered, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let asks = self.leases.asks(Instant::now());
            let answer = self.exchange(&asks).await;
            let now = Instant::now();
            match &answer {
                Ok((answers, _)) => self.leases.answered(asks, answers, now),
                Err(Unanswered::Unknown(_)) => {}
                Err(_) => self.leases.answered(asks, &BTreeMap::new(), now),
            }
            self.note(answer.map(|(_, alive)| alive), now);
        }
    }

    /// How it stands at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        let known = self.known.lock();
        let is_fresh = known.alive > 0 && now.saturating_duration_since(known.answered) < OLD;
        Standing { alive: known.alive, is_fresh, failed: known.failed }
    }

    /// Says everything that is held, and gets all answers, and how many control planes there are; or none.
    async fn exchange(&self, asks: &BTreeMap<String, Ask>) -> Result<(BTreeMap<String, Answer>, usize), Unanswered> {
        for turn in 0..TURNS {
            let mut read = redis::cmd("EVAL");
            read.arg(READ).arg(1).arg(KEY);
            let (seconds, micros, text) =
                self.ask::<(u64, u64, Option<Vec<u8>>)>(&read).await.map_err(Unanswered::Untold)?;
            let old = text.unwrap_or_default();
            let mut book = Book::read(&old);
            let now = seconds.saturating_mul(1_000_000).saturating_add(micros);
            let answers = book.exchange(self.nonce, asks, now);
            let new = book.text();
            if new.len() > MAX_BOOK {
                return Err(Unanswered::Long);
            }
            let mut write = redis::cmd("EVAL");
            write.arg(WRITE).arg(1).arg(KEY).arg(old).arg(new);
            if self.ask::<u64>(&write).await.map_err(Unanswered::Unknown)? == 1 {
                return Ok((answers, book.alive()));
            }
            // The later, the less likely are two to meet again.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=4 << turn))).await;
        }
        Err(Unanswered::Crowded)
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.redis.ask_for(command, TIMEOUT).await
    }

    fn note(&self, answer: Result<usize, Unanswered>, now: Instant) {
        let mut known = self.known.lock();
        match answer {
            Ok(alive) => {
                if alive != known.alive {
                    tracing::info!(alive, "this many control planes divide limits through Redis");
                }
                if std::mem::take(&mut known.is_old) {
                    tracing::info!("what this control plane may divide of limits is known again");
                }
                (known.alive, known.answered) = (alive, now);
            }
            Err(why) => {
                known.failed += 1;
                let age = now.saturating_duration_since(known.answered);
                if age >= OLD && !std::mem::replace(&mut known.is_old, true) {
                    tracing::warn!(%why, "Redis does not say what this control plane may divide of limits: it goes on \
                                          with what it had, and divides no more");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
