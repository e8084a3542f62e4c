//! Why a request was not served: one closed enum, one exhaustive table.
//!
//! A [`Reason`] is the word that stands in `Proxy-Status` (RFC 9209), the span's `error.type`, the metric's `reason`,
//! the access log, the command line and the page. Its [`Disposition`] says what the caller gets and whether another
//! attempt may help; a new reason does not compile until someone decides that. Only `policy::respond` makes responses
//! of errors.

use std::fmt;

/// Why a request was refused, failed or cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// No route takes the request (Envoy: NR).
    DestinationNotFound,
    /// The route leads to a cluster that is not there (NC).
    DestinationUnavailable,
    /// The cluster has no endpoint that takes requests (UH).
    NoHealthyEndpoint,
    /// The endpoint refused the connection, or there is no way to it (UF).
    ConnectionRefused,
    /// The connection was not made in time (UF).
    ConnectionTimeout,
    /// The connection ended before the response head (UC).
    ConnectionTerminated,
    /// The endpoint reset the stream (UR).
    UpstreamReset,
    /// The endpoint refused the stream before it was processed (UR).
    StreamRefused,
    /// The response ended before its announced end; only ever seen after the head (UC).
    HttpResponseIncomplete,
    /// The endpoint broke the protocol (UPE).
    HttpProtocolError,
    /// The request's time was up (UT).
    HttpResponseTimeout,
    /// The attempt's time was up (UT).
    TryTimeout,
    /// Neither side sent anything for too long (SI).
    IdleTimeout,
    /// The stream has lasted as long as it may (DT).
    StreamTimeout,
    /// The request is one a proxy must not pass on (DPE).
    HttpRequestDenied,
    /// The request's header is too large (DPE).
    HttpRequestTooLarge,
    /// A rate limit had no token left (RL).
    RateLimited,
    /// The caller wanted no answer but a kept one, and there is none.
    NotCached,
    /// The rate limit service said nothing in time, and the policy says Deny (RLSE).
    RateLimitUnavailable,
    /// A policy asked for a fault (FI).
    FaultInjected,
    /// Every attempt failed (URX).
    RetriesExhausted,
    /// The destination's retry budget had nothing left (UO).
    RetryBudgetExhausted,
    /// The destination's limit on requests was reached (UO).
    BreakerRequests,
    /// The destination's limit on waiting requests was reached (UO).
    BreakerPending,
    /// The destination's limit allows no connection (UO).
    BreakerConnections,
    /// The destination fails, and only a share of the requests to it is tried.
    AdmissionControl,
    /// What is behind the listener has as many requests under way as it bears.
    AdaptiveConcurrency,
    /// The proxy itself runs short of memory or descriptors (OM).
    Overloaded,
    /// The caller went away (DC).
    DownstreamReset,
    /// The configuration cannot serve the request.
    ProxyConfigurationError,
    /// A fault of this proxy.
    ProxyInternalError,
}

/// Whether another attempt may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// It would end the same way, or must not be tried.
    Never,
    /// No connection was made; nothing was sent.
    ConnectFailure,
    /// The stream was refused; nothing was processed.
    Refused,
    /// The connection or stream ended without a response.
    Reset,
    /// The attempt took too long.
    Timeout,
}

/// What a reason means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// The word, as RFC 9209 has it where it has one.
    pub word: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status.
    pub grpc: u8,
    /// Envoy's letters, for people who know them.
    pub flag: &'static str,
    /// Whether another attempt may help.
    pub retry: RetryClass,
}

impl Reason {
    /// Every reason, in declaration order.
    pub const ALL: [Reason; 31] = [
        Reason::DestinationNotFound,
        Reason::DestinationUnavailable,
        Reason::NoHealthyEndpoint,
        Reason::ConnectionRefused,
        Reason::ConnectionTimeout,
        Reason::ConnectionTerminated,
        Reason::UpstreamReset,
        Reason::StreamRefused,
        Reason::HttpResponseIncomplete,
        Reason::HttpProtocolError,
        Reason::HttpResponseTimeout,
        Reason::TryTimeout,
        Reason::IdleTimeout,
        Reason::StreamTimeout,
        Reason::HttpRequestDenied,
        Reason::HttpRequestTooLarge,
        Reason::RateLimited,
        Reason::NotCached,
        Reason::RateLimitUnavailable,
        Reason::FaultInjected,
        Reason::RetriesExhausted,
        Reason::RetryBudgetExhausted,
        Reason::BreakerRequests,
        Reason::BreakerPending,
        Reason::BreakerConnections,
        Reason::AdmissionControl,
        Reason::AdaptiveConcurrency,
        Reason::Overloaded,
        Reason::DownstreamReset,
        Reason::ProxyConfigurationError,
        Reason::ProxyInternalError,
    ];

    /// The table.
    pub const fn disposition(self) -> Disposition {
        use RetryClass::{ConnectFailure, Never, Refused, Reset, Timeout};
        let (word, status, grpc, flag, retry) = match self {
            Reason::DestinationNotFound => ("destination_not_found", 404, 12, "NR", Never),
            Reason::DestinationUnavailable => ("destination_unavailable", 503, 14, "NC", Never),
            Reason::NoHealthyEndpoint => ("no_healthy_endpoint", 503, 14, "UH", Never),
            Reason::ConnectionRefused => ("connection_refused", 503, 14, "UF", ConnectFailure),
            Reason::ConnectionTimeout => ("connection_timeout", 503, 14, "UF", ConnectFailure),
            Reason::ConnectionTerminated => ("connection_terminated", 503, 14, "UC", Reset),
            Reason::UpstreamReset => ("connection_terminated", 503, 14, "UR", Reset),
            Reason::StreamRefused => ("connection_terminated", 503, 14, "UR", Refused),
            Reason::HttpResponseIncomplete => ("http_response_incomplete", 502, 14, "UC", Never),
            Reason::HttpProtocolError => ("http_protocol_error", 502, 14, "UPE", Reset),
            Reason::HttpResponseTimeout => ("http_response_timeout", 504, 4, "UT", Never),
            Reason::TryTimeout => ("http_response_timeout", 504, 4, "UT", Timeout),
            Reason::IdleTimeout => ("http_response_timeout", 504, 4, "SI", Never),
            Reason::StreamTimeout => ("http_response_timeout", 504, 4, "DT", Never),
            Reason::HttpRequestDenied => ("http_request_denied", 400, 13, "DPE", Never),
            Reason::HttpRequestTooLarge => ("http_request_denied", 431, 13, "DPE", Never),
            Reason::RateLimited => ("rate_limited", 429, 8, "RL", Never),
            Reason::NotCached => ("not_cached", 504, 14, "NFCF", Never),
            Reason::RateLimitUnavailable => ("rate_limit_unavailable", 503, 14, "RLSE", Never),
            Reason::FaultInjected => ("fault_injected", 503, 14, "FI", Never),
            Reason::RetriesExhausted => ("retries_exhausted", 503, 14, "URX", Never),
            Reason::RetryBudgetExhausted => ("retry_budget_exhausted", 503, 14, "UO", Never),
            Reason::BreakerRequests => ("breaker_requests", 503, 14, "UO", Never),
            Reason::BreakerPending => ("breaker_pending", 503, 14, "UO", Never),
            Reason::BreakerConnections => ("breaker_connections", 503, 14, "UO", Never),
            Reason::AdmissionControl => ("admission_control", 503, 14, "-", Never),
            Reason::AdaptiveConcurrency => ("adaptive_concurrency", 503, 14, "-", Never),
            Reason::Overloaded => ("overloaded", 503, 14, "OM", Never),
            Reason::DownstreamReset => ("downstream_reset", 499, 1, "DC", Never),
            Reason::ProxyConfigurationError => ("proxy_configuration_error", 500, 13, "-", Never),
            Reason::ProxyInternalError => ("proxy_internal_error", 500, 13, "-", Never),
        };
        Disposition { word, status, grpc, flag, retry }
    }

    /// The word, as it stands in `Proxy-Status`, spans, metrics and logs.
    pub const fn word(self) -> &'static str {
        self.disposition().word
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_listed_once() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn the_table_of_reasons() {
        let table: String = Reason::ALL
            .iter()
            .map(|reason| {
                let row = reason.disposition();
                format!("{reason:?}: {} {} grpc={} {} {:?}\n", row.word, row.status, row.grpc, row.flag, row.retry)
            })
            .collect();
        insta::assert_snapshot!(table);
    }
}
