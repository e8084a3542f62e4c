//! Where signals go (temporary outline, replaced by the real room).
#![allow(missing_docs)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_config::listener::{Direction, Identity};
use outrigger_config::policy::{Mode, Origin};

use crate::reason::Reason;

pub mod context;
pub mod logging;

#[derive(Debug, Default)]
pub struct Telemetry {
    pub metrics: Arc<Metrics>,
    pub spans: SpanSink,
}
#[derive(Debug, Default)]
pub struct Metrics;
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    pub direction: Direction,
    pub dst_service: Arc<str>,
    pub dst_namespace: Arc<str>,
    pub dst_version: Arc<str>,
    pub route: Arc<str>,
}
#[derive(Debug, Default)]
pub struct Edge;
#[derive(Debug, Default)]
pub struct SpanSink;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Server,
    Client,
    Internal,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    Reason(Reason),
    Status(u16),
    Grpc(u8),
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Would(u8);
impl Would {
    pub const RATE_LIMIT: Would = Would(1);
    pub const BREAKER: Would = Would(2);
    pub const RETRY: Would = Would(4);
    pub const EJECT: Would = Would(8);
}
impl std::ops::BitOrAssign for Would {
    fn bitor_assign(&mut self, o: Would) {
        self.0 |= o.0
    }
}
#[derive(Debug)]
pub struct SpanRecord {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub state: Option<http::HeaderValue>,
    pub kind: SpanKind,
    pub start: SystemTime,
    pub duration: Duration,
    pub identity: Option<Arc<Identity>>,
    pub direction: Direction,
    pub method: http::Method,
    pub uri: http::Uri,
    pub version: http::Version,
    pub status: u16,
    pub grpc: bool,
    pub grpc_status: Option<u8>,
    pub reason: Option<Reason>,
    pub route: Option<Arc<str>>,
    pub host: Option<Arc<str>>,
    pub peer: Option<SocketAddr>,
    pub attempt: u32,
    pub retry_of: Option<RetryCause>,
    pub would: Would,
    pub snapshot: u64,
}
impl SpanSink {
    pub fn submit(&self, _worker: usize, _record: SpanRecord) {}
}
impl Metrics {
    pub fn edge(&self, _key: &EdgeKey) -> Arc<Edge> {
        Arc::default()
    }
    pub fn rate_limited(&self, _origin: &Origin, _mode: Mode) {}
    pub fn ejected(&self, _label: &str, _mode: Mode) {}
    pub fn unrouted(&self, _direction: Direction, _status: u16, _reason: Option<Reason>, _duration: Duration) {}
}
impl Edge {
    pub fn record(&self, _status: u16, _grpc: Option<u8>, _reason: Option<Reason>, _would: Would, _duration: Duration) {
    }
    pub fn retry(&self, _cause: RetryCause) {}
}
