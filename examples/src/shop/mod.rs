//! The shop: six small services that know nothing of the mesh.
//!
//! `storefront` asks `catalog`, `cart` and `recommend` for a page; `catalog` and `recommend` ask `pricing` over gRPC.
//! Each calls others by name through the address it was given (its sidecar, or without a mesh the instances themselves)
//! and hands on the trace context it was called with: all that a service has to do for whole traces.
//! Modules in the order in which they use each other.

pub(crate) mod passage;
pub(crate) mod caller;
pub(crate) mod fault;
pub(crate) mod pricing;
pub(crate) mod service;
pub(crate) mod app;
