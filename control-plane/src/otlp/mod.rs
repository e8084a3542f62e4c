//! The receiver of OTLP: spans and metrics in, over gRPC and over HTTP, into the graph and the traces; and what proxies
//! record of their decisions, as logs over gRPC.
//!
//! A message passes [`grpc`] or [`http`], which bound its size (4 MiB, compressed or not), and is then walked by
//! [`Receiver`] one span and one data point at a time. The tree of a message is never built in memory: four megabytes of
//! empty spans on the wire would be half a gigabyte of them decoded. A message in JSON becomes protobuf first ([`json`]). What is too large or makes no sense is left out
//! and counted, and the sender is told how many (OTLP's partial success).
//!
//! Nothing leaves the control plane from here unless [`forward`] was configured.

mod codec;
mod wire;
mod convert;
mod json;
pub mod forward;
mod receiver;
mod signal;
pub mod grpc;
pub mod http;

pub use receiver::{Counters, Receiver, Rejected};
pub use wire::Malformed;

/// The largest message that is taken in, in bytes, before and after decompression.
pub const MAX_MESSAGE: usize = 4 << 20;
