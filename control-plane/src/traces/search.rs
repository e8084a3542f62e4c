//! Which traces a search finds, and what its answer says of each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::TraceId;
use super::span::{Extent, Span, Status, failed, services, top};

/// `GET /api/v1/traces`: the newest traces that match, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceList {
    /// What is known of each.
    pub traces: Vec<Summary>,
}

/// A trace without its spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its identity.
    pub trace_id: TraceId,
    /// What its first span did.
    pub name: String,
    /// The service of its first span.
    pub service: String,
    /// The first start, in nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// From the first start to the last end, in milliseconds.
    pub duration_ms: f64,
    /// Every service that took part.
    pub services: Vec<String>,
    /// Whether any span failed, the attempt of a request that succeeded in the end included.
    pub error: bool,
    /// Whether whoever began the trace saw it fail: a span at its top failed, and no later attempt made up for it.
    pub failed: bool,
    /// Attempts beyond the first ones.
    pub retries: usize,
    /// How many spans are kept.
    pub span_count: usize,
}

/// What to look for; everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A service that took part.
    pub service: Option<String>,
    /// How the trace ended.
    pub status: Option<StatusFilter>,
    /// At least so long.
    pub min_duration: Option<Duration>,
    /// Some request was tried again.
    pub retried: bool,
    /// At most so many answers.
    pub limit: usize,
}

/// A condition on how a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// Whoever began the trace saw it fail.
    Failed,
    /// Some span failed.
    Error,
    /// No span failed.
    Ok,
    /// Some span was answered with this HTTP status.
    Code(i64),
}

impl StatusFilter {
    /// Reads `failed`, `error`, `ok` or an HTTP status.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "failed" => Some(StatusFilter::Failed),
            "error" => Some(StatusFilter::Error),
            "ok" => Some(StatusFilter::Ok),
            code => code.parse().ok().filter(|code| (100..600).contains(code)).map(StatusFilter::Code),
        }
    }
}

impl Query {
    /// Whether a trace of these spans is looked for.
    pub(super) fn matches(&self, spans: &[Span]) -> bool {
        let service = self.service.as_ref().is_none_or(|service| spans.iter().any(|span| span.service == *service));
        let status = match self.status {
            None => true,
            Some(StatusFilter::Failed) => failed(spans),
            Some(StatusFilter::Error) => spans.iter().any(|span| span.status == Status::Error),
            Some(StatusFilter::Ok) => spans.iter().all(|span| span.status != Status::Error),
            Some(StatusFilter::Code(code)) => spans.iter().any(|span| span.http_status() == Some(code)),
        };
        let long_enough =
            self.min_duration.is_none_or(|least| Extent::of(spans).duration_ms >= least.as_secs_f64() * 1000.0);
        let retried = !self.retried || spans.iter().any(|span| span.resend_count().is_some());
        service && status && long_enough && retried
    }
}

impl Summary {
    /// What there is to say of a trace of these spans.
    pub(super) fn new(trace_id: TraceId, spans: &[Span]) -> Self {
        let first = first(spans);
        let Extent { start_unix_ns, duration_ms } = Extent::of(spans);
        Summary {
            trace_id,
            name: first.map(Span::title).unwrap_or_default(),
            service: first.map(|span| span.service.clone()).unwrap_or_default(),
            start_unix_ns,
            duration_ms,
            services: services(spans),
            error: spans.iter().any(|span| span.status == Status::Error),
            failed: failed(spans),
            retries: spans.iter().filter(|span| span.resend_count().is_some()).count(),
            span_count: spans.len(),
        }
    }
}

/// The span the others descend from: the earliest at the top. Clocks differ, so the earliest of all may be another.
fn first(spans: &[Span]) -> Option<&Span> {
    let time = |span: &&Span| (span.start_unix_ns, span.span_id);
    top(spans).min_by_key(time).or_else(|| spans.iter().min_by_key(time))
}
