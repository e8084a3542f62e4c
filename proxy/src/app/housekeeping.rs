//! What must happen now and then: ejected endpoints come back, idle connections close, edges that nobody uses go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::exchange::Shared;

/// Keeps house every second, for ever.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let now = Instant::now();
        for cluster in shared.snapshots.load_full().clusters() {
            for change in cluster.sweep(now) {
                change.tell(&cluster.label);
            }
            for endpoint in cluster.picker().endpoints() {
                for pool in endpoint.pools.all() {
                    pool.expire(now, cluster.config.idle_timeout);
                }
            }
        }
        shared.telemetry.metrics.sweep(now);
    }
}
