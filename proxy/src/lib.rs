//! The data plane: one small proxy beside each service.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it (`tests/order.rs`), so
//! reading this list from the top is the tour of the crate. `stack` shows the order of the policy layers.

pub mod clock;
pub mod reason;
pub mod grpc;
pub mod body;
pub mod error;
pub mod telemetry;
pub mod fields;
pub mod circuit;
pub mod cache;
pub mod hop;
pub mod head;
pub mod path;
pub mod io;
pub mod drain;
pub mod pipe;
pub mod liveness;
pub mod pool;
pub mod limits;
pub mod endpoint;
pub mod balance;
pub mod cluster;
pub mod overload;
pub mod gradient;
pub mod rls;
pub mod route;
pub mod snapshot;
pub mod quota;
pub mod decision;
pub mod carried;
pub mod wishes;
pub mod exchange;
pub mod affinity;
pub mod explain;
pub mod session;
pub mod message;
pub mod attempt;
pub mod interim;
pub mod tunnel;
pub mod policy;
pub mod stack;
pub mod detect;
pub mod server;
pub mod listener;
pub mod health;
pub mod reports;
pub mod discovery;
pub mod admin;
pub mod app;
pub mod simulate;
