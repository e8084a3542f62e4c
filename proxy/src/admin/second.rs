//! What `/metrics` says of the cache's second level.

use prometheus::proto::MetricFamily;

use crate::cache::Second;
use crate::telemetry::family::Family;
use crate::telemetry::second::{Change, Lookup};

/// Whether it is there, what was looked up and what was written.
pub(super) fn families(second: &Second) -> Vec<MetricFamily> {
    let mut up =
        Family::gauge("outrigger_cache_shared_up", "1 while there is a connection to the shared cache's Redis.");
    up.add(&[], f64::from(u8::from(second.is_up())));
    let mut waiting =
        Family::gauge("outrigger_cache_shared_waiting", "Changes that wait to be written to the shared cache's Redis.");
    waiting.add(&[], second.waiting() as f64);
    let mut lookups =
        Family::counter("outrigger_cache_shared_lookups_total", "Look-ups in the shared cache, by how they ended.");
    for how in Lookup::ALL {
        let count = second.counters.lookups(how);
        // One that is always there to be found; the others once they happened, to spare series.
        if count > 0 || how == Lookup::Found {
            lookups.add(&[("outcome", how.word())], count as f64);
        }
    }
    let mut changes =
        Family::counter("outrigger_cache_shared_changes_total", "Changes of the shared cache, by how they ended.");
    for how in Change::ALL {
        let count = second.counters.changes(how);
        if count > 0 || how == Change::Stored {
            changes.add(&[("outcome", how.word())], count as f64);
        }
    }
    [up, waiting, lookups, changes].into_iter().filter_map(Family::finish).collect()
}
