//! Load reports beside requests (ORCA out of band, gRFC A51): asks endpoints, on the side thread, to say every so often
//! how loaded they are, where a destination is balanced by that.
//!
//! As with health checks nothing here knows which endpoints there are but from the snapshot in force: each look begins to
//! ask whoever is new and lets go of whoever is gone. An endpoint has one connection for this, of its own, that counts
//! against no limit; how many there are in the process is bounded, and whoever finds no place goes without, which costs it
//! nothing but that it counts as the mean of its neighbours.

use std::sync::Arc;
use std::time::Duration;

use outrigger_config::cluster::Balancing;
use outrigger_config::endpoint::Health;
use tokio::task::AbortHandle;

use crate::cluster::Cluster;
use crate::exchange::Shared;

mod stream;

use stream::Asking;

/// Endpoints that are asked at once in the process.
const MAX_STREAMS: usize = 1024;

/// The time from one look to the next.
const LOOK: Duration = Duration::from_millis(500);

/// An endpoint that is being asked; no longer once this is dropped.
struct Asked {
    asking: Asking,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks whoever is to be asked, until the process drains.
pub async fn watch(shared: Arc<Shared>) {
    let mut asked: Vec<Asked> = Vec::new();
    while !shared.drain.is_draining() {
        let snapshot = shared.snapshots.load_full();
        let mut wanted: Vec<Asking> = snapshot.clusters().flat_map(askings).collect();
        drop(snapshot);
        asked.retain(|one| match wanted.iter().position(|asking| *asking == one.asking) {
            Some(index) => {
                wanted.swap_remove(index);
                true
            }
            None => false,
        });
        wanted.truncate(MAX_STREAMS.saturating_sub(asked.len()));
        asked.extend(wanted.into_iter().map(|asking| {
            let task = tokio::spawn(asking.clone().run()).abort_handle();
            Asked { asking, task }
        }));
        tokio::time::sleep(LOOK).await;
    }
}

/// How the endpoints of a destination are asked, if they are.
fn askings(cluster: &Arc<Cluster>) -> Vec<Asking> {
    let Balancing::ClientSideWeightedRoundRobin(rules) = cluster.config.balancing else { return Vec::new() };
    let Some(period) = rules.asks_every else { return Vec::new() };
    let picker = cluster.picker();
    let takes_part = picker.endpoints().iter().filter(|endpoint| endpoint.health() == Health::Healthy);
    let asking = |endpoint: &Arc<_>| Asking {
        endpoint: Arc::clone(endpoint),
        traffic: Arc::clone(&cluster.traffic),
        host: Arc::clone(&cluster.label),
        period,
        connect_timeout: cluster.config.connect_timeout,
        penalty_thousandths: rules.penalty_thousandths,
    };
    takes_part.map(asking).collect()
}
