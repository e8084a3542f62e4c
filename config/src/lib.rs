//! The ground both planes of Outrigger stand on: documents, the validated model and its xDS encoding.
//!
//! Three storeys, climbed once and never re-checked: raw (`document`, protobuf) -> model (this crate's types) ->
//! compiled (`proxy::snapshot`). This crate does no I/O, knows no clock, no sockets and no async runtime.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it (`tests/order.rs`).

pub mod error;
pub mod name;
pub mod value;
pub mod template;
pub mod matching;
pub mod header;
pub mod rewrite;
pub mod policy;
pub mod subset;
pub mod endpoint;
pub mod cluster;
pub mod route;
pub mod listener;
pub mod resource;
pub mod record;
pub mod xds;
pub mod document;
pub mod mesh;
