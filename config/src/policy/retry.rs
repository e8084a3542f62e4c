//! Retries: what is tried again, how often, and how long between (xDS `RetryPolicy`, gRFC A6).
//! The budget that bounds them belongs to the destination, because its load is what must not multiply.

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::value::Percent;

/// What makes an attempt worth repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Condition {
    /// No connection could be made (`connect-failure`). Nothing was sent.
    ConnectFailure,
    /// The stream was refused before it was processed (`refused-stream`). Nothing was sent.
    RefusedStream,
    /// The connection went before any byte of the request did (`reset-before-request`). Nothing was sent.
    ResetBeforeRequest,
    /// No response: reset, disconnect or per-try timeout (`reset`).
    Reset,
    /// 502, 503, 504 or no response (`gateway-error`).
    GatewayError,
    /// Any 5xx or no response (`5xx`).
    ServerError,
    /// 409 (`retriable-4xx`).
    Retriable4xx,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Condition; 7] = [
        Condition::ConnectFailure,
        Condition::RefusedStream,
        Condition::ResetBeforeRequest,
        Condition::Reset,
        Condition::GatewayError,
        Condition::ServerError,
        Condition::Retriable4xx,
    ];

    /// The condition as Envoy's `retry_on` spells it.
    pub fn token(self) -> &'static str {
        match self {
            Condition::ConnectFailure => "connect-failure",
            Condition::RefusedStream => "refused-stream",
            Condition::ResetBeforeRequest => "reset-before-request",
            Condition::Reset => "reset",
            Condition::GatewayError => "gateway-error",
            Condition::ServerError => "5xx",
            Condition::Retriable4xx => "retriable-4xx",
        }
    }

    /// Reads Envoy's spelling.
    pub fn from_token(token: &str) -> Option<Self> {
        Condition::ALL.into_iter().find(|condition| condition.token() == token)
    }
}

/// A set of [`Condition`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions(u8);

impl Conditions {
    /// The three that can only be raised while nothing was sent: safe for every method and body.
    pub const UNSENT: Conditions = Conditions(0b111);

    /// The set with `condition` in it.
    #[must_use]
    pub fn with(self, condition: Condition) -> Self {
        Conditions(self.0 | 1 << condition as u8)
    }

    /// Whether `condition` is in it.
    pub fn has(self, condition: Condition) -> bool {
        self.0 & (1 << condition as u8) != 0
    }

    /// Whether it holds nothing but the *unsent* class.
    pub fn only_unsent(self) -> bool {
        self.0 & !Self::UNSENT.0 == 0
    }

    /// Those in it, in the order of [`Condition::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL.into_iter().filter(move |condition| self.has(*condition))
    }
}

impl FromIterator<Condition> for Conditions {
    fn from_iter<I: IntoIterator<Item = Condition>>(conditions: I) -> Self {
        conditions.into_iter().fold(Conditions::default(), Conditions::with)
    }
}

/// A set of gRPC status codes, 0 to 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcCodes(u32);

impl GrpcCodes {
    /// The names of the codes, by number.
    pub const NAMES: [&'static str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// The set with code `number` in it; numbers above 16 are ignored.
    #[must_use]
    pub fn with(self, number: u8) -> Self {
        if number > 16 { self } else { GrpcCodes(self.0 | 1 << number) }
    }

    /// Whether code `number` is in it.
    pub fn has(self, number: u8) -> bool {
        number <= 16 && self.0 & (1 << number) != 0
    }

    /// Whether none is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers in it, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=16).filter(move |number| self.has(*number))
    }

    /// The number of a code's name.
    pub fn number(name: &str) -> Option<u8> {
        GrpcCodes::NAMES.iter().position(|known| *known == name).and_then(|index| u8::try_from(index).ok())
    }
}

/// Which methods may be repeated once a byte was sent. The *unsent* class is repeated whatever the method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Methods {
    /// Those of RFC 9110, 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
    #[default]
    Idempotent,
    /// Every method: the service declares that repeating is safe. What Envoy does.
    Any,
    /// Just these, upper case.
    Only(Vec<String>),
}

impl Methods {
    /// Whether `method` may be repeated.
    pub fn allows(&self, method: &str) -> bool {
        match self {
            Methods::Idempotent => matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
            Methods::Any => true,
            Methods::Only(list) => list.iter().any(|one| one == method),
        }
    }
}

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
    /// What is retried by its gRPC status.
    pub grpc_codes: GrpcCodes,
    /// Which methods may be repeated once a byte was sent.
    pub methods: Methods,
    /// The longest an attempt may take until its response head; none leaves it to the request's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Waiting between attempts.
    pub backoff: Backoff,
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
            grpc_codes: GrpcCodes::default(),
            methods: Methods::default(),
            per_try_timeout: None,
            backoff: Backoff::default(),
            body_limit: Self::DEFAULT_BODY_LIMIT,
        }
    }

    /// Whether only requests that were never sent are retried, so that nothing need be kept for replay.
    pub fn only_unsent(&self) -> bool {
        self.on.only_unsent() && self.codes.is_empty() && self.grpc_codes.is_empty()
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

/// How many retries a destination bears: at most `percent` of the requests under way or in the last `interval`,
/// and at least `min_concurrent` at once or `min_per_second`. Always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The share of requests that retries may add.
    pub percent: Percent,
    /// The window the share is taken over, 1 s to 60 s.
    pub interval: Duration,
    /// Retries at once that are always allowed.
    pub min_concurrent: u32,
    /// Retries a second that are always allowed.
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

#[cfg(test)]
mod tests {
    use super::{Condition, Conditions, GrpcCodes, Methods};

    #[test]
    fn the_unsent_class_is_the_first_three_conditions() {
        let unsent: Vec<_> = Conditions::UNSENT.iter().map(Condition::token).collect();
        assert_eq!(unsent, ["connect-failure", "refused-stream", "reset-before-request"]);
        assert!(!Conditions::UNSENT.with(Condition::Reset).only_unsent());
    }

    #[test]
    fn grpc_codes_are_found_by_name() {
        assert_eq!(GrpcCodes::number("UNAVAILABLE"), Some(14));
        assert_eq!(GrpcCodes::number("unavailable"), None);
        assert_eq!(GrpcCodes::default().with(14).with(99).iter().collect::<Vec<_>>(), [14]);
    }

    #[test]
    fn only_idempotent_methods_are_repeated_unless_declared() {
        assert!(Methods::Idempotent.allows("PUT") && !Methods::Idempotent.allows("POST"));
        assert!(Methods::Any.allows("POST"));
        assert!(!Methods::Only(vec!["GET".into()]).allows("PUT"));
    }
}
