//! One request to the service for many that ask for the same at the same time.
//!
//! The first to ask leads; who comes while it is under way waits for how it lands. It always lands: with a response that
//! others may have, with word that they may not, or, where whoever led it went away, with nothing, and then the next one
//! leads. Nothing here waits by itself, and no lock is held while anything does.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::stored::Stored;

/// The most requests that wait for one; more go on by themselves.
pub const MAX_WAITING: usize = 1024;

/// How a flight landed.
#[derive(Clone, Debug)]
pub enum Landing {
    /// With this response, which is kept. It may still be for other requests than the one that waited.
    Kept(Arc<Stored>),
    /// With a failure; this response, which was kept before, may be served in its place.
    StandIn(Arc<Stored>),
    /// With one that is for nobody else.
    Unshared,
    /// Whoever led it went away.
    Gone,
}

type Way = watch::Sender<Option<Landing>>;

/// Flights under way, by name.
type Ways = HashMap<Box<[u8]>, Arc<Way>>;

/// All flights of the process.
#[derive(Clone, Debug, Default)]
pub struct Flights(Arc<Mutex<Ways>>);

/// What a request does about a flight.
#[derive(Debug)]
pub enum Joined {
    /// It leads it.
    Lead(Lead),
    /// It waits for it.
    Wait(Wait),
    /// There are too many already.
    Crowded,
}

/// The leading request's hold of a flight; it lands when this is dropped, if not before.
#[derive(Debug)]
pub struct Lead {
    flights: Flights,
    key: Box<[u8]>,
    way: Arc<Way>,
    landed: bool,
}

/// A waiting request's hold of a flight.
#[derive(Debug)]
pub struct Wait(watch::Receiver<Option<Landing>>);

impl Flights {
    /// Joins the flight of `key`, or begins it.
    pub fn join(&self, key: &[u8]) -> Joined {
        let mut flights = self.0.lock();
        if let Some(way) = flights.get(key) {
            if way.receiver_count() >= MAX_WAITING {
                return Joined::Crowded;
            }
            return Joined::Wait(Wait(way.subscribe()));
        }
        let way = Arc::new(watch::Sender::new(None));
        flights.insert(key.into(), Arc::clone(&way));
        Joined::Lead(Lead { flights: self.clone(), key: key.into(), way, landed: false })
    }

    /// Begins the flight of `key`, unless it is under way.
    pub fn begin(&self, key: &[u8]) -> Option<Lead> {
        match self.join(key) {
            Joined::Lead(lead) => Some(lead),
            Joined::Wait(_) | Joined::Crowded => None,
        }
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.0.lock().len()
    }
}

impl Lead {
    /// Tells whoever waits how it landed.
    pub fn land(mut self, landing: Landing) {
        self.end(landing);
    }

    fn end(&mut self, landing: Landing) {
        if !std::mem::replace(&mut self.landed, true) {
            // Gone from the map first: who comes from now on asks anew, or finds what is kept.
            self.flights.0.lock().remove(&self.key);
            self.way.send_replace(Some(landing));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(Landing::Gone);
    }
}

impl Wait {
    /// How it landed.
    pub async fn landed(mut self) -> Landing {
        match self.0.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or(Landing::Gone),
            Err(_) => Landing::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Flights, Joined, Landing, MAX_WAITING};

    #[tokio::test]
    async fn one_leads_and_the_others_hear_of_it() {
        let flights = Flights::default();
        let Joined::Lead(lead) = flights.join(b"a") else { panic!("the first leads") };
        let waiting: Vec<_> = (0..3)
            .map(|_| match flights.join(b"a") {
                Joined::Wait(wait) => wait,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(matches!(flights.join(b"b"), Joined::Lead(_)));
        lead.land(Landing::Unshared);
        for wait in waiting {
            assert!(matches!(wait.landed().await, Landing::Unshared));
        }
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_nobody_waiting() {
        let flights = Flights::default();
        let lead = flights.begin(b"a").expect("nobody leads");
        let Joined::Wait(wait) = flights.join(b"a") else { panic!("one leads") };
        assert!(flights.begin(b"a").is_none());
        drop(lead);
        assert!(matches!(wait.landed().await, Landing::Gone));
        assert!(flights.begin(b"a").is_some());
    }

    #[test]
    fn not_more_than_so_many_wait() {
        let flights = Flights::default();
        let _lead = flights.begin(b"a");
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| flights.join(b"a")).collect();
        assert!(waiting.iter().all(|one| matches!(one, Joined::Wait(_))));
        assert!(matches!(flights.join(b"a"), Joined::Crowded));
        drop(waiting);
        assert!(matches!(flights.join(b"a"), Joined::Wait(_)));
    }
}
