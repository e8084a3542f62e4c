//! What waits to be written to Redis, beside the path of requests: nobody waits for it, and what does not fit is counted
//! and given up.
//!
//! Responses wait in a bounded channel. Invalidations wait by themselves, each target once, until Redis has taken them:
//! meanwhile nothing of their targets is taken from there, nor put there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{Notify, mpsc};

use super::super::stored::Stored;
use super::codec::{self, Place};
use super::link::Link;
use super::seal::{Name, Sealer, field, variant_field};
use super::words::{self, Condition};
use crate::clock;
use crate::telemetry::second::{Change, SecondCounters};

/// The most changes that wait.
const MAX_WAITING: usize = 1024;
/// The most bytes of responses that wait.
const MAX_BYTES: usize = 16 << 20;
/// The most targets whose invalidations wait.
const MAX_FORGOTTEN: usize = 8192;
/// How many invalidations are carried out at once: one after the other they would be no faster than Redis is near.
const AT_ONCE: usize = 32;
/// From an invalidation that failed to the next.
const AGAIN: Duration = Duration::from_millis(200);
/// For how long what can be confirmed is kept after it is of no other use: confirming it spares its body.
const CONFIRMABLE: Duration = Duration::from_secs(10 * 60);

/// A change that waits.
#[derive(Debug)]
pub enum Task {
    /// To keep a response.
    Keep(Name, Condition, Arc<Stored>, Room),
    /// To take one away.
    Drop(Name, Vec<u8>),
}

/// What waits.
#[derive(Debug)]
pub struct Queue {
    tasks: mpsc::Sender<Task>,
    bytes: Arc<AtomicUsize>,
    forgotten: Arc<Forgotten>,
    counters: Arc<SecondCounters>,
}

/// Room that a response takes while it waits.
#[derive(Debug)]
pub struct Room {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Relaxed);
    }
}

/// Targets whose invalidations wait, each with how many there have been before: a later one is another.
#[derive(Debug, Default)]
struct Forgotten {
    names: Mutex<(HashMap<Name, u64>, u64)>,
    count: AtomicUsize,
    more: Notify,
}

impl Forgotten {
    fn add(&self, name: Name) -> bool {
        let mut names = self.names.lock();
        let (waiting, begun) = &mut *names;
        if waiting.len() >= MAX_FORGOTTEN && !waiting.contains_key(&name) {
            return false;
        }
        *begun += 1;
        waiting.insert(name, *begun);
        self.count.store(waiting.len(), Relaxed);
        self.more.notify_one();
        true
    }

    fn some(&self) -> Vec<(Name, u64)> {
        self.names.lock().0.iter().take(AT_ONCE).map(|(name, which)| (*name, *which)).collect()
    }

    fn done(&self, name: &Name, which: u64) {
        let mut names = self.names.lock();
        if names.0.get(name) == Some(&which) {
            names.0.remove(name);
        }
        self.count.store(names.0.len(), Relaxed);
    }

    fn has(&self, name: &Name) -> bool {
        self.count.load(Relaxed) > 0 && self.names.lock().0.contains_key(name)
    }
}

impl Queue {
    /// Begins to write to `link`, on the runtime that this is called on, until the queue is dropped.
    pub fn new(link: &Link, sealer: &Sealer, counters: &Arc<SecondCounters>) -> Self {
        let (tasks, waiting) = mpsc::channel(MAX_WAITING);
        let forgotten = Arc::<Forgotten>::default();
        let writer = Writer {
            link: link.clone(),
            sealer: sealer.clone(),
            forgotten: Arc::clone(&forgotten),
            counters: Arc::clone(counters),
        };
        tokio::spawn(forget_all(writer.clone(), tasks.clone()));
        tokio::spawn(writer.write(waiting));
        Queue { tasks, bytes: Arc::default(), forgotten, counters: Arc::clone(counters) }
    }

    /// Whether an invalidation of this target waits.
    pub fn forgets(&self, name: &Name) -> bool {
        self.forgotten.has(name)
    }

    /// How many changes wait.
    pub fn waiting(&self) -> usize {
        self.tasks.max_capacity() - self.tasks.capacity() + self.forgotten.count.load(Relaxed)
    }

    /// Keeps a response, where there is room for it.
    pub fn keep(&self, name: Name, condition: Condition, stored: &Arc<Stored>) {
        let bytes = stored.weight();
        let fits = |waiting: usize| Some(waiting + bytes).filter(|waiting| *waiting <= MAX_BYTES);
        if self.bytes.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return self.counters.changed(Change::Dropped);
        }
        let room = Room { bytes, of: Arc::clone(&self.bytes) };
        self.send(Task::Keep(name, condition, Arc::clone(stored), room));
    }

    /// Takes one away.
    pub fn drop_one(&self, name: Name, place: Vec<u8>) {
        self.send(Task::Drop(name, place));
    }

    fn send(&self, task: Task) {
        if self.tasks.try_send(task).is_err() {
            self.counters.changed(Change::Dropped);
        }
    }

    /// Takes everything of a target away, as soon as that can be; false where too many wait, so that it never is.
    pub fn forget(&self, name: Name) -> bool {
        let remembered = self.forgotten.add(name);
        if !remembered {
            self.counters.changed(Change::Lost);
        }
        remembered
    }
}

/// Who writes.
#[derive(Clone, Debug)]
struct Writer {
    link: Link,
    sealer: Sealer,
    forgotten: Arc<Forgotten>,
    counters: Arc<SecondCounters>,
}

impl Writer {
    async fn write(self, mut waiting: mpsc::Receiver<Task>) {
        while let Some(task) = waiting.recv().await {
            let (answer, done) = match task {
                Task::Keep(name, ..) if self.forgotten.has(&name.of_target()) => {
                    self.counters.changed(Change::Outdated);
                    continue;
                }
                Task::Keep(name, condition, stored, room) => {
                    let Some(command) = self.keeping(&name, condition, &stored) else {
                        self.counters.changed(Change::Unfit);
                        continue;
                    };
                    let answer = self.link.ask(command).await;
                    drop(room);
                    (answer, Change::Stored)
                }
                Task::Drop(name, place) => (self.link.ask(words::drop_one(&name, &place)).await, Change::Removed),
            };
            self.counters.changed(match answer {
                Ok(Value::Int(0)) if done == Change::Stored => Change::Outdated,
                Ok(Value::Int(_)) => done,
                Ok(_) => Change::Failed,
                Err(why) => {
                    tracing::debug!(?why, "Redis did not take a change of the cache");
                    Change::Failed
                }
            });
        }
    }

    /// Takes everything of a target away. Where Redis does not, it goes on waiting, and is counted so.
    async fn forget(&self, name: &Name, which: u64) -> bool {
        // One of its own for each time: who kept the last one knows no better.
        let mark = fastrand::u64(..).to_le_bytes();
        let done = matches!(self.link.ask(words::forget(name, mark)).await, Ok(Value::Int(_)));
        if done {
            self.forgotten.done(name, which);
            self.counters.changed(Change::Removed);
        }
        done
    }

    /// What is said to keep a response; none where that is of no use to anybody any more, or it is too long.
    fn keeping(&self, name: &Name, condition: Condition, stored: &Stored) -> Option<redis::Cmd> {
        let (now, wall) = (clock::now(), clock::wall());
        let freshness = &stored.freshness;
        let stale = freshness.while_revalidate.max(freshness.if_error);
        let useful = (freshness.lifetime + stale).saturating_sub(freshness.age(now));
        let useful = if stored.can_be_confirmed() { useful + CONFIRMABLE } else { useful };
        if useful.is_zero() {
            return None;
        }
        let scope = stored.selector.scope();
        let place = |field| Place { sealer: &self.sealer, name, field, scope, now, wall };
        let main = field(name, scope);
        if stored.selector.vary().is_empty() {
            let entry = codec::response(place(&main), stored)?;
            return Some(words::keep(name, condition, useful, &[(&main, entry)]));
        }
        let variant = variant_field(name, scope, stored.selector.vary());
        let index = codec::index(place(&main), stored.selector.names())?;
        let entry = codec::response(place(&variant), stored)?;
        Some(words::keep(name, condition, useful, &[(&main, index), (&variant, entry)]))
    }
}

/// Carries invalidations out, each until it is done, for as long as there is a queue.
async fn forget_all(writer: Writer, queue: mpsc::Sender<Task>) {
    let queue = queue.downgrade();
    while queue.strong_count() > 0 {
        let names = writer.forgotten.some();
        if names.is_empty() {
            // Not for ever, so that it ends with the queue.
            let _ = tokio::time::timeout(Duration::from_secs(10), writer.forgotten.more.notified()).await;
            continue;
        }
        let done = join_all(names.iter().map(|(name, which)| writer.forget(name, *which))).await;
        if !done.contains(&true) {
            tokio::time::sleep(AGAIN).await;
        }
    }
}
