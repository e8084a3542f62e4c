//! Where signals go: counters of every request, spans of the sampled ones, logs.
//!
//! Rooms of the request path come in by [`Metrics`] (a few relaxed additions), [`SpanSink::submit`] (one push into the
//! worker's own list), [`context`] (which trace a request belongs to) and, of the few that need explaining, [`Records`].
//! The control side leaves by [`exporter`] (spans over OTLP), [`reporter`] (counts and records over OTLP, for the control
//! plane), [`scrape`] (Prometheus) and [`logging`]. Nothing here ever waits for a collector on the request path; what does not fit is dropped and counted.

use std::sync::Arc;

use http::Version;
use outrigger_config::listener::Direction;

pub mod withheld;
pub mod would;
pub mod sampler;
pub mod context;
pub mod edge;
pub mod cache;
pub mod second;
pub mod metrics;
pub mod span;
pub mod sink;
pub mod records;
pub mod logging;
pub mod family;
pub mod scrape;
pub mod convert;
pub mod exporter;
pub mod reporter;

pub use cache::{CacheCounters, CacheResult};
pub use edge::Edge;
pub use metrics::{EdgeKey, Metrics};
pub use records::Records;
pub use sampler::Sampler;
pub use sink::SpanSink;
pub use span::{SpanKind, SpanRecord};
pub use withheld::Withheld;
pub use would::{RetryCause, Would};

/// The signals of this process. The default one counts, and keeps no spans.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The finished spans.
    pub spans: SpanSink,
    /// How requests were decided that are worth a look.
    pub records: Records,
    /// Which traces are kept, where the environment says it; else the listeners' policy does.
    pub sampler: Option<Sampler>,
}

/// Which way, as labels and attributes have it.
pub fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

/// `network.protocol.version`.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
