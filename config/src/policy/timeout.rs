//! Timeouts of a route (xDS `RouteAction.timeout`, `idle_timeout`, `max_stream_duration`; Gateway API
//! `HTTPRouteTimeouts`).

use std::time::Duration;

use crate::error::{Code, Problem};
use crate::policy::Retry;
use crate::value::format_duration;

/// How long a request may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of the request to the response's last, all attempts and waits included.
    pub request: Option<Duration>,
    /// One attempt, from its start to its response head, where there is no retry policy that says it
    /// (Gateway API `backendRequest`).
    pub per_try: Option<Duration>,
    /// Neither side sends anything for so long.
    pub idle: Option<Duration>,
    /// From the first byte of the request to the last of either side, after an upgrade too (xDS `max_stream_duration`).
    pub stream: Option<Duration>,
    /// How long a gRPC caller's own `grpc-timeout` may be at most, which then stands in the place of `stream`; zero: as
    /// long as it says (xDS `grpc_timeout_header_max`).
    pub grpc_max: Option<Duration>,
}

impl Timeouts {
    /// A timeout that never counts, or an attempt that may take as long as the whole request, so that none after it has
    /// any time: allowed, and rarely meant.
    pub fn leaves_no_time(&self, retry: Option<&Retry>) -> Option<Problem> {
        let request = self.request?;
        if let Some(stream) = self.stream.filter(|stream| *stream < request) {
            let reason =
                format!("is shorter than the request timeout of {}, which never counts", format_duration(request));
            let problem = Problem::new(Code::Suspicious, reason).with_value(format_duration(stream));
            return Some(problem.at_field("stream").at_field("timeouts"));
        }
        let own = retry.and_then(|retry| retry.per_try_timeout).map(|inner| (inner, "perTryTimeout", "retry"));
        let inner = own.or_else(|| self.per_try.map(|inner| (inner, "backendRequest", "timeouts")));
        let (inner, field, part) = inner.filter(|(inner, ..)| *inner == request && retry.is_some())?;
        let reason = "is as long as the request timeout, so that no attempt after the first has any time";
        let problem = Problem::new(Code::Suspicious, reason).with_value(format_duration(inner));
        Some(problem.at_field(field).at_field(part))
    }

    /// A timeout inside another must be the shorter one, and none may be zero.
    pub fn check(&self, retry: Option<&Retry>) -> Result<(), Problem> {
        for (field, value) in
            [("request", self.request), ("backendRequest", self.per_try), ("idle", self.idle), ("stream", self.stream)]
        {
            if value.is_some_and(|value| value.is_zero()) {
                return Err(Problem::invalid("0s", "must be longer than zero; leave it out to have no timeout")
                    .at_field(field)
                    .at_field("timeouts"));
            }
        }
        let Some(request) = self.request else { return Ok(()) };
        if let Some(inner) = self.per_try.filter(|inner| *inner > request) {
            let reason = format!("must not be longer than the request timeout of {}", format_duration(request));
            return Err(Problem::new(Code::TimeoutOrder, reason)
                .with_value(format_duration(inner))
                .at_field("backendRequest")
                .at_field("timeouts"));
        }
        if let Some(inner) = retry.and_then(|retry| retry.per_try_timeout).filter(|inner| *inner > request) {
            let reason = format!("must not be longer than the request timeout of {}", format_duration(request));
            return Err(Problem::new(Code::TimeoutOrder, reason)
                .with_value(format_duration(inner))
                .at_field("perTryTimeout")
                .at_field("retry"));
        }
        Ok(())
    }
}
