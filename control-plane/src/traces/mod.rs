//! The traces of the last minutes, kept in memory so that a first trace needs no backend.
//!
//! [`Traces`] takes spans one by one, in any order and from any number of proxies and applications, files them by trace
//! and answers searches. It is bounded in bytes and in traces; when it is full the oldest trace goes, whole. What one
//! span or one trace may hold is capped too, so no sender can push out more than its share.
//!
//! A trace that was forgotten and of which a late span arrives starts anew with that span.

mod id;
mod search;
mod span;
mod store;

pub use id::{SpanId, TraceId};
pub use search::{Query, StatusFilter, Summary, TraceList};
pub use span::{Attribute, Attributes, Call, Kind, MAX_ATTRIBUTES, MAX_TEXT, Span, Status, Trace};
pub use store::{Counters, MAX_SPANS, MAX_TRACES, Traces};
