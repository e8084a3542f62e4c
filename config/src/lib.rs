//! The ground both planes of Outrigger stand on: documents, the validated model and its xDS encoding.
//!
//! Three storeys, climbed once and never re-checked: raw (`document`, protobuf) -> model (this crate's types) ->
//! compiled (`proxy::snapshot`). This crate does no I/O, knows no clock, no sockets and no async runtime.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it (`tests/order.rs`).

pub mod cluster;
pub mod endpoint;
pub mod error;
pub mod listener;
pub mod name;
pub mod policy;
pub mod route;
pub mod value;
