//! A shared cache of responses, as RFC 9111 has it: what is kept, for which requests, for how long, and how it is
//! served. Nothing here knows of routes, connections or the stack; `policy::cache` is the room that asks.
//!
//! [`Store`] holds what is kept, by [`key`], as [`Stored`] variants, and [`changes`] when targets were changed;
//! [`freshness`] decides what is kept and for how long;
//! [`Demand`] is what a request asks beside its target; [`flight`] makes one request of many; [`recorder`] takes a
//! response in as it passes. All that decides takes the time as an argument.

pub mod date;
pub mod directives;
pub mod freshness;
pub mod demand;
pub mod key;
pub mod status;
pub mod stored;
pub mod changes;
pub mod store;
pub mod flight;
pub mod second;
pub mod recorder;

pub use demand::Demand;
pub use flight::Flights;
pub use key::KeyRule;
pub use second::Second;
pub use store::Store;
pub use stored::Stored;

/// All of the process's cache.
#[derive(Debug, Default)]
pub struct Caching {
    /// What is kept.
    pub store: std::sync::Arc<Store>,
    /// What is being asked for.
    pub flights: Flights,
    /// What is being asked for anew while it is served stale, or was a moment ago and failed.
    pub turns: Flights,
    /// What other proxies keep too.
    pub second: Option<std::sync::Arc<Second>>,
}

impl Caching {
    /// With room for `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Caching {
            store: std::sync::Arc::new(Store::new(capacity)),
            flights: Flights::default(),
            turns: Flights::default(),
            second: None,
        }
    }

    /// With a second level behind it.
    pub fn sharing(self, second: Option<std::sync::Arc<Second>>) -> Self {
        Caching { second, ..self }
    }
}
