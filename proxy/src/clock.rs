//! The time, for whoever is on a request's way.
//!
//! It is the system's, read through tokio, which a simulation ([`crate::simulate`]) holds and moves on as it likes: then
//! every timer and everything that is judged by time agree. Outside a simulation that costs a load.

use std::time::{Instant, SystemTime};

/// Now.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The date and time of day, for what is written into messages, cookies and records, or compared with what stands there.
/// Nothing is measured by it: it may jump, and a simulation does not hold it.
pub fn wall() -> SystemTime {
    SystemTime::now()
}
