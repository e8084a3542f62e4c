//! The counts that several control planes share, in Redis.
//!
//! Each bucket is one key that holds the time at which it is full, by Redis's own clock, and expires then: so a bucket
//! takes memory only while it is not full. A script reads, decides and writes at once, so that no two replicas ever take
//! the same token. A time that no bucket of now could hold is of another clock, as where a replica took over whose own is
//! behind: the bucket is then empty, and fills. The numbers are microseconds, which a double of Lua holds exactly until the year 2255.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outrigger_config::policy::buckets::Key;
use outrigger_config::policy::gcra::Level;

use super::link::{Failure, Link};
use super::rules::Rule;

/// Takes ARGV[3] tokens of the bucket KEYS[1], one each ARGV[1], that takes ARGV[2] to fill. Returns how long it takes
/// to fill from then on; or -1 less how long whoever was refused has to wait.
const TAKE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
if full > now + ARGV[2] then
  full = now + ARGV[2]
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', math.ceil(ARGV[2] / 1000)))
end
local filled = math.max(full, now) + ARGV[1] * ARGV[3]
local missing = filled - now
if missing > tonumber(ARGV[2]) then return -1 - (missing - ARGV[2]) end
redis.call('SET', KEYS[1], string.format('%.0f', filled), 'PX', string.format('%.0f', math.ceil(missing / 1000)))
return missing";

/// A Redis that counts. Cloning it shares its one connection.
#[derive(Clone, Debug)]
pub struct Shared {
    redis: Link,
    failed: Arc<AtomicU64>,
}

impl Shared {
    /// Counts in `redis`.
    pub fn new(redis: Link) -> Self {
        Shared { redis, failed: Arc::default() }
    }

    /// Takes of a bucket.
    pub async fn take(&self, rule: &Rule, key: Key, hits: u32) -> Result<Result<Level, Duration>, Failure> {
        let taken = self.try_take(rule, key, hits).await;
        self.failed.fetch_add(u64::from(taken.is_err()), Relaxed);
        taken
    }

    /// How often Redis did not count.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    async fn try_take(&self, rule: &Rule, key: Key, hits: u32) -> Result<Result<Level, Duration>, Failure> {
        let config = &rule.config;
        let period = micros(rule.gcra.period());
        // As many tokens as a bucket in memory holds.
        let tokens = rule.gcra.span().as_nanos() / rule.gcra.period().as_nanos().max(1);
        let span = period.saturating_mul(u64::try_from(tokens).unwrap_or(u64::MAX));
        // A rule of other numbers is another bucket.
        let name = format!(
            "outrigger:limit:{}:{}:{}/{}/{}:{key:032x}",
            rule.policy,
            config.name,
            config.requests,
            config.interval.as_millis(),
            config.burst,
        );
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(1).arg(name).arg(period).arg(span).arg(hits);
        let answer = self.redis.ask(&command).await?;
        match u64::try_from(answer) {
            Ok(missing) if missing <= span => {
                let left = u32::try_from((span - missing) / period).unwrap_or(u32::MAX);
                let next = Duration::from_micros(missing.checked_sub(1).map_or(0, |rest| rest % period + 1));
                Ok(Ok(Level { left, next }))
            }
            Ok(_) => Err(Failure::Said(answer.to_string())),
            Err(_) => Ok(Err(Duration::from_micros((-1 - answer).unsigned_abs()))),
        }
    }
}

/// Whole microseconds, rounded up: never more is admitted than was allowed.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}
