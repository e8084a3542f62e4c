//! Logs (temporary outline).
#![allow(missing_docs)]
use super::SpanRecord;
pub fn access(_record: &SpanRecord, _detail: &str, _peer: std::net::SocketAddr) {}
