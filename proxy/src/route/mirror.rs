//! Where copies of requests go, and how many may be under way at once.

use std::sync::Arc;

use outrigger_config::value::Percent;

use super::fault::hit;
use super::{Route, Target};
use crate::cluster::Traffic;

/// How many copies may be under way at once to one destination in one proxy, whichever routes they are of. What comes
/// beyond is not copied.
pub const MAX_UNDER_WAY: usize = 100;

/// A place that copies of a route's requests go to.
#[derive(Debug)]
pub struct Mirror {
    /// The route of the copies: to one destination, with a timeout and nothing else.
    pub route: Arc<Route>,
    percent: Percent,
}

/// A copy's place among those under way, free again when it is dropped. It is counted where it outlasts the
/// configuration, so that a push of a new one leaves the bound as it is.
#[derive(Debug)]
pub struct Place(Arc<Traffic>);

impl Mirror {
    /// A mirror with room.
    pub fn new(route: Arc<Route>, percent: Percent) -> Self {
        Mirror { route, percent }
    }

    /// Whether a request is of the share that is copied.
    pub fn is_chosen(&self, rng: &mut fastrand::Rng) -> bool {
        hit(self.percent, rng)
    }

    /// A place for one more copy.
    pub fn enter(&self) -> Option<Place> {
        let traffic = &self.target()?.cluster.as_ref()?.traffic;
        traffic.begin_copy(MAX_UNDER_WAY).then(|| Place(Arc::clone(traffic)))
    }

    /// The one destination.
    pub fn target(&self) -> Option<&Target> {
        self.route.targets.as_ref()?.iter().next()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.end_copy();
    }
}
