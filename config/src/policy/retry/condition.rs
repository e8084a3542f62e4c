//! What makes an attempt worth repeating: the conditions in Envoy's words, gRPC statuses, and the methods that bear it.

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
    /// An answer that says a rate limit made it (`envoy-ratelimited`). Without it such an answer is never retried, even
    /// where its status is listed.
    RateLimited,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Condition; 8] = [
        Condition::ConnectFailure,
        Condition::RefusedStream,
        Condition::ResetBeforeRequest,
        Condition::Reset,
        Condition::GatewayError,
        Condition::ServerError,
        Condition::Retriable4xx,
        Condition::RateLimited,
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
            Condition::RateLimited => "envoy-ratelimited",
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
