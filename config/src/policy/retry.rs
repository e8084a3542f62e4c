//! Retries: what is tried again, how often, and how long between (xDS `RetryPolicy`, gRFC A6).
//! The budget that bounds them belongs to the destination, because its load is what must not multiply.

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::matching::HeaderMatch;
use crate::value::Percent;

pub mod after;
pub mod condition;
pub mod hedge;

pub use after::{ResetFormat, ResetHeader, RetryAfter};
pub use condition::{Condition, Conditions, GrpcCodes, Methods};
pub use hedge::Hedge;

/// Waiting between attempts: attempt N waits a uniform time below min((2^N - 1) x base, max).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait's bound, longer than zero.
    pub base: Duration,
    /// The longest wait, at least `base`.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// When and how often a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// Attempts after the first, at most 10.
    pub attempts: u32,
    /// What is retried by its kind.
    pub on: Conditions,
    /// What is retried by its HTTP status, ascending (`retriable_status_codes`).
    pub codes: Vec<u16>,
    /// What is retried by a field of its answer; any of them is enough (`retriable_headers`).
    pub headers: Vec<HeaderMatch>,
    /// What is retried by its gRPC status.
    pub grpc_codes: GrpcCodes,
    /// Which methods may be repeated once a byte was sent.
    pub methods: Methods,
    /// The longest an attempt may take until its response head; none leaves it to the request's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Waiting between attempts.
    pub backoff: Backoff,
    /// Waiting as long as an answer asks.
    pub retry_after: RetryAfter,
    /// When another attempt is sent beside one that has not answered; it is one of `attempts`.
    pub hedge: Option<Hedge>,
    /// Whether it also repeats what a layer above repeats already.
    pub nested: bool,
    /// How much of a request body is kept for replay, bytes; a longer body is sent once.
    pub body_limit: u32,
}

impl Retry {
    /// How much of a body is kept unless said otherwise: 64 KiB.
    pub const DEFAULT_BODY_LIMIT: u32 = 64 * 1024;

    /// What holds without any policy: the *unsent* class, twice.
    pub fn default_policy() -> Self {
        Retry {
            origin: Origin::default_policy(),
            mode: Mode::Enforce,
            attempts: 2,
            on: Conditions::UNSENT,
            codes: Vec::new(),
            headers: Vec::new(),
            grpc_codes: GrpcCodes::default(),
            methods: Methods::default(),
            per_try_timeout: None,
            backoff: Backoff::default(),
            retry_after: RetryAfter::default(),
            hedge: None,
            nested: false,
            body_limit: Self::DEFAULT_BODY_LIMIT,
        }
    }

    /// Whether only requests that were never sent are retried, so that nothing need be kept for replay.
    pub fn only_unsent(&self) -> bool {
        self.hedge.is_none()
            && self.on.only_unsent()
            && self.codes.is_empty()
            && self.headers.is_empty()
            && self.grpc_codes.is_empty()
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if !(1..=10).contains(&self.attempts) {
            return Err(Problem::invalid(self.attempts, "must be between 1 and 10").at_field("attempts"));
        }
        if self.backoff.base.is_zero() {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("base").at_field("backoff"));
        }
        if self.backoff.max < self.backoff.base {
            return Err(Problem::new(Code::Conflict, "must be at least as long as backoff.base")
                .at_field("max")
                .at_field("backoff"));
        }
        if let Some(hedge) = self.hedge {
            hedge.check(self.per_try_timeout).map_err(|problem| problem.at_field("hedge"))?;
        }
        self.retry_after.check().map_err(|problem| problem.at_field("retryAfter"))?;
        if self.per_try_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("perTryTimeout"));
        }
        for (index, code) in self.codes.iter().enumerate() {
            if !(400..=599).contains(code) {
                return Err(Problem::invalid(code, "must be a status between 400 and 599")
                    .at_index(index)
                    .at_field("codes"));
            }
        }
        Ok(())
    }
}

/// How many retries a destination bears: at most `percent` of the requests of the last `interval`, and at least
/// `min_per_second`; `min_concurrent` at once where the share comes to fewer. Always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The share of requests that retries may add.
    pub percent: Percent,
    /// The window the share is taken over, 1 s to 60 s.
    pub interval: Duration,
    /// Retries at once that are allowed where the share comes to fewer.
    pub min_concurrent: u32,
    /// Retries a second that are allowed where the share comes to fewer.
    pub min_per_second: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            percent: Percent::from_millionths(200_000).unwrap_or(Percent::HUNDRED),
            interval: Duration::from_secs(10),
            min_concurrent: 3,
            min_per_second: 10,
        }
    }
}

impl Budget {
    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if self.interval < Duration::from_secs(1) || self.interval > Duration::from_secs(60) {
            return Err(Problem::invalid(crate::value::format_duration(self.interval), "must be between 1s and 1m")
                .at_field("interval")
                .at_field("budget"));
        }
        Ok(())
    }
}
