//! Tests of whole meshes: one binary, a module for each behaviour. The harness is this crate's library; what a test
//! writes down is what its reader should remember.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod admin;
mod admission;
mod bad_input;
mod balance;
mod bodies;
mod cancellation;
mod cli;
mod cross;
mod differ;
mod discovery;
mod discovery_foreign;
mod drain;
mod faults;
mod grpc;
mod headers;
mod health_checks;
mod hostile;
mod http1;
mod http2;
mod inbound;
mod limits;
mod observe;
mod mirror;
mod outlier;
mod peers_envoy;
mod peers_grpc;
mod peers_rotel;
mod printed;
mod rate_limit;
mod retry;
mod reuse;
mod rewrite;
mod route;
mod sessions;
mod signals;
mod split;
mod store;
mod swap;
mod timeout;
mod truncation;
mod upgrade;
mod zones;
