//! The single writer of snapshots: compiles what is accepted, makes it the one that serves, and opens and closes
//! listeners accordingly.
//!
//! A table is in force before its listener opens, so that no connection meets a listener without routes. A listener
//! that cannot be opened leaves the others alone; [`Publisher::retry`] tries it again, because ports come free.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::Discovery;
use outrigger_config::endpoint::Assignment;
use outrigger_config::error::Problem;

use crate::discovery::status::Status;
use crate::exchange::Shared;
use crate::listener::DataPlane;
use crate::snapshot::{Context, ResourceSet, compile};

/// Makes configuration serve.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    data_plane: Arc<DataPlane>,
    status: Status,
}

impl Publisher {
    /// For the listeners of `data_plane`; how it stands is written to `status`.
    pub fn new(shared: Arc<Shared>, data_plane: Arc<DataPlane>, status: Status) -> Self {
        Publisher { shared, data_plane, status }
    }

    /// Makes `set` serve. Returns the listeners that could not be opened.
    pub fn publish(&self, set: &Arc<ResourceSet>, now: Instant) -> Vec<Problem> {
        let previous = self.shared.snapshots.load_full();
        let context = Context {
            workers: self.shared.workers,
            metrics: Arc::clone(&self.shared.telemetry.metrics),
            seed: fastrand::u64(..),
            now,
        };
        let snapshot = Arc::new(compile(set, Some(&previous), &context));
        self.shared.snapshots.store(Arc::clone(&snapshot));
        let problems = self.data_plane.apply(&snapshot);
        let took = now.elapsed();
        tracing::info!(
            snapshot = snapshot.number,
            listeners = set.listeners.len(),
            tables = set.tables.len(),
            clusters = set.clusters.len(),
            took_ms = took.as_secs_f64() * 1e3,
            "Configuration in force"
        );
        if let Some(identity) = set.listeners.values().find_map(|listener| listener.identity.as_ref()) {
            self.shared.telemetry.metrics.set_identity(Arc::new(identity.clone()));
        }
        self.shared.telemetry.metrics.discovery.note(|state| state.applied = Some((snapshot.number, took)));
        self.status.note(|standing| {
            standing.serving = true;
            standing.resources = Arc::clone(set);
        });
        self.note_closed(&problems, true);
        problems
    }

    /// Exchanges a cluster's endpoints, without a new snapshot. Returns whether one is needed after all, because routes
    /// know the cluster's version and that changed.
    pub fn assign(&self, assignment: &Assignment, now: Instant) -> bool {
        let snapshot = self.shared.snapshots.load_full();
        let asks = |discovery: &Discovery| matches!(discovery, Discovery::Eds(name) if *name == assignment.name);
        let mut changed = false;
        for cluster in snapshot.clusters().filter(|cluster| asks(&cluster.config.discovery)) {
            changed |= cluster.set_assignment(assignment, now);
        }
        changed
    }

    /// Tries again to open the listeners that could not be opened.
    pub fn retry(&self) {
        if !self.status.get().closed.is_empty() {
            let problems = self.data_plane.apply(&self.shared.snapshots.load_full());
            self.note_closed(&problems, false);
        }
    }

    fn note_closed(&self, problems: &[Problem], loudly: bool) {
        if loudly {
            for problem in problems {
                tracing::error!(%problem, "Listener closed; it is tried again every second");
            }
        }
        self.status.note(|standing| standing.closed = problems.iter().map(Problem::to_string).collect());
    }
}
