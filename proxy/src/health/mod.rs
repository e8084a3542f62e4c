//! Active health checks: asks endpoints, on the side thread, and tells their destinations what came of it.
//!
//! Nothing here knows which endpoints there are but from the snapshot in force: each look asks whoever is due, so that
//! no list of tasks has to follow the configuration. A check is a task with a connection of its own; how many there are at
//! once is bounded, and whoever finds no place is asked a look later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cluster::Cluster;
use crate::endpoint::Endpoint;
use crate::exchange::Shared;

mod probe;

/// Checks under way at once in the process.
const MAX_CHECKS: usize = 128;

/// The time from one look to the next while somebody has checks, and while nobody has.
const LOOKS: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(500)];

/// Asks whoever is due, until the process drains.
pub async fn watch(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CHECKS));
    let mut rng = fastrand::Rng::new();
    let mut first = 0_usize;
    while !shared.drain.is_draining() {
        let snapshot = shared.snapshots.load_full();
        let checked: Vec<_> = snapshot.clusters().filter(|cluster| cluster.config.health_check.is_some()).collect();
        // Each look begins with another destination, or the first ones would have all the places when those are short.
        first = first.wrapping_add(1);
        let from = first.checked_rem(checked.len()).unwrap_or(0);
        for cluster in checked[from..].iter().chain(&checked[..from]) {
            begin(&shared, cluster, &places, &mut rng);
        }
        tokio::time::sleep(LOOKS[usize::from(checked.is_empty())]).await;
    }
}

/// Asks the endpoints of a destination that are due, as far as there are places.
fn begin(shared: &Arc<Shared>, cluster: &Arc<Cluster>, places: &Arc<Semaphore>, rng: &mut fastrand::Rng) {
    for endpoint in cluster.picker().endpoints() {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
        if endpoint.check.begin(Instant::now(), rng) {
            let asked = Asked { endpoint: Arc::clone(endpoint), _place: place };
            tokio::spawn(check(Arc::clone(shared), Arc::clone(cluster), asked));
        }
    }
}

/// An endpoint that is being asked; it can be asked again once this is dropped.
struct Asked {
    endpoint: Arc<Endpoint>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.endpoint.check.end();
    }
}

async fn check(shared: Arc<Shared>, cluster: Arc<Cluster>, asked: Asked) {
    let Some(policy) = &cluster.config.health_check else { return };
    let answer = probe::ask(policy, &cluster.label, asked.endpoint.address).await;
    // The configuration may be another by now; what it says of its endpoints is decided there.
    let snapshot = shared.snapshots.load_full();
    if let Some(current) = snapshot.cluster(&cluster.config.name) {
        current.checked(&asked.endpoint, policy, answer, Instant::now(), &mut fastrand::Rng::new());
    }
}
