//! The client of a rate limit service: who counts what is limited for all proxies together.

pub mod service;

pub use service::{Asking, Failure, LimitService, Outcome, Who, channel};
