//! The aggregated discovery service: what each client is sent, when, and what it said to it.

pub mod status;
