//! The global limits: one count for all proxies, asked for each request (`envoy.service.ratelimit.v3`).
//!
//! [`rules`] are what the documents say; [`count`] takes their tokens, in memory, or in Redis ([`shared`], over [`link`]) where several
//! control planes share them; [`server`] is the gRPC service that proxies and stock Envoys ask. Where no count can be had, the
//! question fails, and whoever asked does what its policy declares.

pub mod rules;
pub mod link;
pub mod shared;
pub mod count;
pub mod server;

pub use count::{Count, Counters};
pub use shared::Shared;
