//! The aggregated discovery service: what each client is sent, when, and what it said to that.
//!
//! A stream is a [`session`]: a state machine without clock, socket or task. It keeps one `subscription` for each
//! type, whose other half, `plan`, says what is due. [`server`] is the skin: tonic, tokio and the clock. [`status`]
//! is what the API sees of it all.

pub mod status;
pub mod client;
pub mod wire;
mod holding;
mod subscription;
mod plan;
pub mod session;
pub mod server;
