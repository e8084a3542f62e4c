//! The visible half of the control plane, over its real ports: the API, OTLP both ways, and the command line.
#![allow(missing_docs)]

#[path = "../ads_live/peer.rs"]
#[allow(dead_code, reason = "the tests of ADS need all of it, these a client that refuses")]
mod peer;
mod plane;

mod cli;
mod documents;
mod guard;
mod openapi;
mod otlp;
