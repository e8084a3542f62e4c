//! When a changed mesh becomes what the streams see.
//!
//! The first change after a quiet time is published at once; those that follow are gathered, so that a burst costs
//! one encoding for each pause and not one for each change. Changes of endpoints alone pause for a shorter time, and
//! take everything else that waits along. One thread encodes; only the newest mesh is ever kept for it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outrigger_config::mesh::Mesh;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::view::snapshot::Snapshot;

/// What kind of change a mesh brings, and with it how long it may wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Only workloads came, went or changed.
    Endpoints,
    /// Anything else.
    Config,
}

impl Pace {
    /// The pause after a publication.
    fn pause(self) -> Duration {
        match self {
            Pace::Endpoints => Duration::from_millis(20),
            Pace::Config => Duration::from_millis(100),
        }
    }
}

/// Publishes meshes, the newest last, on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Publisher {
    slot: Arc<Slot>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Waiting>,
    is_closed: bool,
}

struct Waiting {
    generation: u64,
    mesh: Arc<Mesh>,
    pause: Duration,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Publishes a first mesh and starts the thread.
    pub fn start(generation: u64, mesh: Arc<Mesh>) -> std::io::Result<Self> {
        let (snapshots, _) = watch::channel(Arc::new(Snapshot::new(generation, mesh)));
        let slot = Arc::new(Slot::default());
        let publish = { (slot.clone(), snapshots.clone()) };
        let thread =
            std::thread::Builder::new().name("publish".to_owned()).spawn(move || run(&publish.0, &publish.1))?;
        Ok(Publisher { slot, snapshots, thread: Some(thread) })
    }

    /// Hands over a newer mesh. Does not wait; a mesh that has not been published yet is left out.
    pub fn offer(&self, generation: u64, mesh: Arc<Mesh>, pace: Pace) {
        let mut state = self.slot.state.lock();
        let pause = state.waiting.take().map_or(pace.pause(), |waiting| waiting.pause.min(pace.pause()));
        state.waiting = Some(Waiting { generation, mesh, pause });
        self.slot.changed.notify_one();
    }

    /// The newest snapshot, now and from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.slot.state.lock().is_closed = true;
        self.slot.changed.notify_one();
        // A thread that panicked has nothing left to stop.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(slot: &Slot, snapshots: &watch::Sender<Arc<Snapshot>>) {
    let mut last: Option<Instant> = None;
    while let Some(Waiting { generation, mesh, .. }) = take(slot, last) {
        let started = Instant::now();
        // Encoded against the one before, outside of the channel's lock.
        let snapshot = snapshots.borrow().clone().next(generation, mesh);
        snapshots.send_replace(Arc::new(snapshot));
        let now = Instant::now();
        tracing::debug!(generation, took = ?now.duration_since(started), "published");
        last = Some(now);
    }
}

/// Waits for a mesh and then for its time; `None` when the publisher is dropped.
fn take(slot: &Slot, last: Option<Instant>) -> Option<Waiting> {
    let mut state = slot.state.lock();
    loop {
        if state.is_closed {
            return None;
        }
        let due = match (&state.waiting, last) {
            (None, _) => {
                slot.changed.wait(&mut state);
                continue;
            }
            (Some(_), None) => return state.waiting.take(),
            (Some(waiting), Some(last)) => last + waiting.pause,
        };
        if Instant::now() >= due {
            return state.waiting.take();
        }
        slot.changed.wait_until(&mut state, due);
    }
}
