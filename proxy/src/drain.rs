//! Stopping without loss: one token tells every connection of a scope (a listener, or the whole process) to finish
//! what it has and take nothing new; the scope is empty when the last one has gone.
//!
//! Scopes nest: draining the process drains every listener, draining a listener leaves the others alone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A scope of connections that can be told to finish.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    /// What the token says, of this scope and of the one around it, to be asked on every turn of a connection: the
    /// token itself takes a lock for that.
    told: [Arc<AtomicBool>; 2],
}

/// Held by everything that must finish before its scope is empty.
pub type Busy = TaskTrackerToken;

impl Drain {
    /// A scope that nothing surrounds.
    pub fn new() -> Self {
        Drain::default()
    }

    /// A scope inside this one; one level is enough.
    pub fn child(&self) -> Self {
        Drain {
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
            tracker: TaskTracker::new(),
            told: [Arc::default(), Arc::clone(&self.told[0])],
        }
    }

    /// Counts as under way until it is dropped.
    pub fn busy(&self) -> Busy {
        self.tracker.token()
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Whether the scope has been told to finish.
    pub fn is_draining(&self) -> bool {
        self.told.iter().any(|told| told.load(Ordering::Acquire))
    }

    /// Completes when the scope is told to finish. Cancel safe.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.soft.clone().cancelled_owned()
    }

    /// Completes when the time to finish is over and connections must close. Cancel safe.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.hard.clone().cancelled_owned()
    }

    /// Tells the scope to finish, without waiting.
    pub fn start(&self) {
        self.told[0].store(true, Ordering::Release);
        self.soft.cancel();
    }

    /// Tells the scope to finish, and waits until it is empty or `timeout` has passed; what is left is then cut.
    /// Returns whether everything finished by itself.
    pub async fn run(&self, timeout: Duration) -> bool {
        self.start();
        self.tracker.close();
        let finished = tokio::time::timeout(timeout, self.tracker.wait()).await.is_ok();
        self.hard.cancel();
        if !finished {
            // Those that are cut need a moment to go.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.tracker.wait()).await;
        }
        finished
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Drain;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_those_under_way() {
        let drain = Drain::new();
        let busy = drain.busy();
        let task = tokio::spawn({
            let drain = drain.clone();
            async move { drain.run(Duration::from_secs(30)).await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(drain.is_draining() && !task.is_finished());
        drop(busy);
        assert!(task.await.expect("no panic"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_cuts_what_is_left() {
        let drain = Drain::new();
        let _busy = drain.busy();
        assert!(!drain.run(Duration::from_secs(30)).await);
        drain.closing().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_drains_alone_and_with_its_parent() {
        let process = Drain::new();
        let (one, two) = (process.child(), process.child());
        one.start();
        assert!(one.is_draining() && !process.is_draining() && !two.is_draining());
        process.start();
        assert!(two.is_draining());
    }
}
