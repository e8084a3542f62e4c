//! The global limits: one count for all proxies, asked for each request (`envoy.service.ratelimit.v3`).
//!
//! [`rules`] are what the documents say; [`count`] takes their tokens, in memory, or in Redis ([`shared`], over [`link`], [`bounded`]) where several
//! control planes share them; [`server`] is the gRPC service that proxies and stock Envoys ask. Where no count can be had, the
//! question fails, and whoever asked does what its policy declares.
//!
//! Limits that are divided need no question: [`grants`] says who may let in how many, [`leases`] keeps the streams over
//! which that is said, and [`quota`] is their gRPC service (`envoy.service.rate_limit_quota.v3`). Control planes that share
//! a Redis divide a limit among themselves first: [`book`] says who may have which part, and [`replicas`] keeps it.

pub mod rules;
pub mod bounded;
pub mod link;
pub mod shared;
pub mod count;
pub mod server;
pub mod fair;
pub mod member;
pub mod book;
pub mod common;
pub mod grants;
pub mod leases;
pub mod replicas;
pub mod quota;

pub use count::{Count, Counters};
pub use leases::Leases;
pub use link::Link;
pub use replicas::Replicas;
pub use shared::Shared;
