//! A span as the data plane leaves it: what happened to one request or one attempt, in the data plane's own terms, most
//! of it shared with the request rather than copied. [`super::convert`] makes OpenTelemetry of it, off the request
//! path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Version};
use outrigger_config::listener::{Direction, Identity};

use crate::reason::Reason;
use crate::telemetry::cache::CacheResult;
use crate::telemetry::withheld::Withheld;
use crate::telemetry::would::{RetryCause, Would};

/// What a span is in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came to the workload.
    Server,
    /// An attempt at a destination.
    Client,
    /// The root of a trace that began at this proxy.
    Internal,
}

/// A span that is over.
#[derive(Debug)]
pub struct SpanRecord {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Its own id.
    pub span_id: [u8; 8],
    /// The span above it.
    pub parent: Option<[u8; 8]>,
    /// The trace's `tracestate`.
    pub state: Option<Box<str>>,
    /// What it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// The workload beside the proxy.
    pub identity: Option<Arc<Identity>>,
    /// Which way the request passed.
    pub direction: Direction,
    /// The request's method.
    pub method: Method,
    /// The path of the request's target, copied like all that came in its head: what only refers to a head keeps the
    /// whole buffer that it was read into.
    pub path: Box<str>,
    /// The authority of the request's target, where it named one.
    pub authority: Option<Box<str>>,
    /// The protocol it came by.
    pub version: Version,
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// Whether it is a gRPC request.
    pub grpc: bool,
    /// The gRPC status.
    pub grpc_status: Option<u8>,
    /// Why it was not served, or not to its end.
    pub reason: Option<Reason>,
    /// The route that took it.
    pub route: Option<Arc<str>>,
    /// The destination's host.
    pub host: Option<Arc<str>>,
    /// The other side of the connection: the endpoint outbound, the caller inbound.
    pub peer: Option<SocketAddr>,
    /// Which attempt this is, from 0.
    pub attempt: u32,
    /// Why there was an attempt before this one and no good answer of it.
    pub retry_of: Option<RetryCause>,
    /// It was cancelled, because another attempt answered first.
    pub lost: bool,
    /// Why there was no further attempt, though it might have helped.
    pub withheld: Option<Withheld>,
    /// What the cache did.
    pub cache: Option<CacheResult>,
    /// What policies in Observe would have done.
    pub would: Would,
    /// The configuration that served it.
    pub snapshot: u64,
}

impl SpanRecord {
    /// What it holds in memory, bytes, with what it may share counted as its own.
    pub fn weight(&self) -> usize {
        let authority = self.authority.as_ref().map_or(0, |authority| authority.len());
        size_of::<SpanRecord>() + self.path.len() + authority + self.state.as_ref().map_or(0, |state| state.len())
    }

    /// Whether the request or attempt failed, as the semantic conventions see it: a 4xx is the caller's fault, and so
    /// an error of a CLIENT span alone; gRPC statuses that speak of the request are none of a SERVER span.
    pub fn is_error(&self) -> bool {
        // Nobody waited for it any more.
        if self.lost {
            return false;
        }
        let client = self.kind == SpanKind::Client;
        let by_status = match self.status {
            0 => true,
            400..=499 => client,
            status => status >= 500,
        };
        let by_grpc = match self.grpc_status {
            None | Some(0) => false,
            Some(status) => client || matches!(status, 2 | 4 | 12 | 13 | 14 | 15),
        };
        // A reason beside a good status: the answer began well and was cut short.
        by_status || by_grpc || self.reason.is_some() && self.status < 400 && !self.grpc
    }
}

#[cfg(test)]
pub(in crate::telemetry) mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use http::{Method, Version};
    use outrigger_config::listener::{Direction, Identity};
    use outrigger_config::name::ObjectName;

    use super::{SpanKind, SpanRecord};
    use crate::reason::Reason;
    use crate::telemetry::would::{RetryCause, Would};

    /// The second attempt at a destination, which went well.
    pub(in crate::telemetry) fn attempt() -> SpanRecord {
        SpanRecord {
            trace_id: [0xa1; 16],
            span_id: [0xb2; 8],
            parent: Some([0xc3; 8]),
            state: None,
            kind: SpanKind::Client,
            start: UNIX_EPOCH + Duration::from_millis(1_767_225_600_123),
            duration: Duration::from_micros(1_500),
            identity: Some(Arc::new(Identity {
                workload: ObjectName::try_new("shop", "storefront-1").expect("a name"),
                service: "storefront".into(),
                version: "v1".into(),
                locality: Default::default(),
            })),
            direction: Direction::Outbound,
            method: Method::GET,
            path: "/products/7".into(),
            authority: None,
            version: Version::HTTP_11,
            status: 200,
            grpc: false,
            grpc_status: None,
            reason: None,
            route: Some("HTTPRoute shop/catalog/rule-0".into()),
            host: Some("catalog".into()),
            peer: Some(([127, 0, 0, 1], 9001).into()),
            attempt: 1,
            retry_of: Some(RetryCause::Status(503)),
            lost: false,
            withheld: None,
            cache: None,
            would: Would::default(),
            snapshot: 7,
        }
    }

    /// A request that a rate limit refused on the way in.
    pub(in crate::telemetry) fn refused() -> SpanRecord {
        SpanRecord {
            kind: SpanKind::Server,
            direction: Direction::Inbound,
            status: 429,
            reason: Some(Reason::RateLimited),
            attempt: 0,
            retry_of: None,
            would: Would::RETRY,
            ..attempt()
        }
    }

    /// A gRPC call.
    pub(in crate::telemetry) fn call(kind: SpanKind, grpc_status: u8) -> SpanRecord {
        SpanRecord {
            kind,
            method: Method::POST,
            path: "/shop.Pricing/Quote".into(),
            authority: None,
            version: Version::HTTP_2,
            grpc: true,
            grpc_status: Some(grpc_status),
            attempt: 0,
            retry_of: None,
            ..attempt()
        }
    }

    #[test]
    fn what_is_an_error_depends_on_the_side() {
        for (kind, status, error) in [
            (SpanKind::Server, 200, false),
            (SpanKind::Server, 404, false),
            (SpanKind::Client, 404, true),
            (SpanKind::Server, 503, true),
            (SpanKind::Client, 503, true),
            (SpanKind::Client, 0, true),
        ] {
            assert_eq!(SpanRecord { kind, status, ..attempt() }.is_error(), error, "{kind:?} {status}");
        }
        for (kind, status, error) in [
            (SpanKind::Client, 0, false),
            (SpanKind::Client, 5, true),
            (SpanKind::Server, 5, false),
            (SpanKind::Server, 14, true),
        ] {
            assert_eq!(call(kind, status).is_error(), error, "{kind:?} {status}");
        }
        let cut = SpanRecord { reason: Some(Reason::HttpResponseIncomplete), ..attempt() };
        assert!(cut.is_error());
    }
}
