//! Where copies of requests go, and how many may be under way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_config::value::Percent;

use super::fault::hit;
use super::{Route, Target};

/// How many copies of one mirror may be under way at once in one proxy. What comes beyond is not copied.
pub const MAX_UNDER_WAY: usize = 100;

/// A place that copies of a route's requests go to.
#[derive(Debug)]
pub struct Mirror {
    /// The route of the copies: to one destination, with a timeout and nothing else.
    pub route: Arc<Route>,
    percent: Percent,
    under_way: Arc<AtomicUsize>,
}

/// A copy's place among those under way, free again when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Mirror {
    /// A mirror with room.
    pub fn new(route: Arc<Route>, percent: Percent) -> Self {
        Mirror { route, percent, under_way: Arc::default() }
    }

    /// Whether a request is of the share that is copied.
    pub fn is_chosen(&self, rng: &mut fastrand::Rng) -> bool {
        hit(self.percent, rng)
    }

    /// A place for one more copy.
    pub fn enter(&self) -> Option<Place> {
        // Relaxed: the count alone is shared, nothing is published by it.
        let enter = |held: usize| (held < MAX_UNDER_WAY).then_some(held + 1);
        self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(Place(Arc::clone(&self.under_way)))
    }

    /// The one destination.
    pub fn target(&self) -> Option<&Target> {
        self.route.targets.as_ref()?.iter().next()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_config::route::Route as Model;
    use outrigger_config::value::Percent;

    use super::{MAX_UNDER_WAY, Mirror};
    use crate::route::Route;

    #[test]
    fn there_are_never_more_copies_than_places() {
        let config = Model::bare("mirror");
        let mirrors = Box::default();
        let route = Route { config, targets: None, answer: None, mirrors, fault: None, limiter: None };
        let mirror = Mirror::new(Arc::new(route), Percent::HUNDRED);
        assert!(mirror.is_chosen(&mut fastrand::Rng::with_seed(1)));
        let mut places: Vec<_> = std::iter::from_fn(|| mirror.enter()).take(MAX_UNDER_WAY + 1).collect();
        assert_eq!(places.len(), MAX_UNDER_WAY);
        places.pop();
        assert!(mirror.enter().is_some());
    }
}
