//! The control plane: documents in, xDS out, and what the proxies and their traffic are doing, to look at.
//!
//! Documents come from a watched directory ([`source`]) and from the API, whose documents live in one file
//! ([`store`]). [`state`] holds them together: each change makes a whole new validated mesh or is refused whole.
//! [`view`] encodes a mesh once for each kind of client and namespace, and [`ads`] sends each proxy what it has not
//! got yet, in an order that breaks nothing. What proxies report comes in through [`otlp`], into [`graph`], [`traces`] and [`decisions`];
//! [`limits`] counts, or divides, what is limited for all proxies together; [`api`] shows it all, and [`cli`] is the command that asks.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it (`tests/order.rs`).

pub mod error;
pub mod store;
pub mod source;
pub mod standing;
pub mod graph;
pub mod traces;
pub mod decisions;
pub mod signals;
mod inflow;
pub mod otlp;
pub mod view;
pub mod ads;
pub mod limits;
pub mod state;
pub mod api;
pub mod cli;
pub mod follow;
pub mod settings;
pub mod app;
