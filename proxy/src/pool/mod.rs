//! The connections of one endpoint, a slot for each worker: a request never leaves its worker, so a slot's lock is
//! never waited for.
//!
//! HTTP/1 connections are taken out while a request is on them and given back when its response is over; HTTP/2
//! connections are shared by many. A pool opens nothing by itself: `policy::upstream` decides when a connection is
//! made and holds the limits.

pub mod connect;
mod h1;
mod h2;

use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use outrigger_config::policy::Priority;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

pub use h1::{H1, listen};
pub use h2::{H2, H2Stream};

use crate::body::{Body, Broken};

/// What became of sending a request.
#[derive(Debug)]
pub enum Sent {
    /// The response head.
    Response(http::Response<Body>),
    /// Not a byte was sent, or the endpoint says that it did nothing about it: the request comes back.
    Unsent(Box<http::Request<Body>>, Failure),
    /// Some of it may have been.
    Failed(Failure),
}

/// Why a connection brought no response.
#[derive(Debug)]
pub enum Failure {
    /// HTTP/1 failed.
    Http1(hyper::Error),
    /// HTTP/2 failed.
    Http2(::h2::Error),
    /// The request's own body broke off.
    Body(Broken),
}

impl Failure {
    /// Whether the endpoint says that it did nothing about the request: it refused the stream, or the stream is beyond
    /// the last one that a closing connection takes (RFC 9113, 6.8 and 8.7).
    pub fn is_refused(&self) -> bool {
        let Failure::Http2(error) = self else { return false };
        let reason = error.reason();
        reason == Some(::h2::Reason::REFUSED_STREAM) || (error.is_go_away() && reason == Some(::h2::Reason::NO_ERROR))
    }

    /// Whether the connection takes no more requests, and nothing else is wrong.
    pub fn is_closing(&self) -> bool {
        matches!(self, Failure::Http2(error) if !error.is_reset())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Http1(error) => error.fmt(f),
            Failure::Http2(error) => error.fmt(f),
            Failure::Body(broken) => broken.fmt(f),
        }
    }
}

/// Who hears of a 1xx response that comes before the final one.
pub type Interim = Box<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

/// The connections of one endpoint.
#[derive(Debug)]
pub struct Pool {
    slots: Box<[Mutex<Slot>]>,
    /// Whoever makes a shared connection holds its worker's turn.
    turns: Box<[Semaphore]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Idle HTTP/1 connections, the most recently used last.
    idle: Vec<H1>,
    /// Requests waiting for one of them.
    waiting: VecDeque<oneshot::Sender<H1>>,
    shared: Vec<H2>,
}

/// The connections of one endpoint, those of each priority for themselves: else a connection that counts against the
/// limits of one would carry requests of the other.
#[derive(Debug)]
pub struct Pools {
    workers: usize,
    usual: Pool,
    /// Made when first wanted, which most endpoints never see.
    high: OnceLock<Pool>,
}

impl Pools {
    /// Empty pools with a slot for each worker.
    pub fn new(workers: usize) -> Self {
        Pools { workers, usual: Pool::new(workers), high: OnceLock::new() }
    }

    /// The pool of this priority's requests.
    pub fn of(&self, priority: Priority) -> &Pool {
        match priority {
            Priority::Default => &self.usual,
            Priority::High => self.high.get_or_init(|| Pool::new(self.workers)),
        }
    }

    /// All there are.
    pub fn all(&self) -> impl Iterator<Item = &Pool> {
        std::iter::once(&self.usual).chain(self.high.get())
    }
}

impl Pool {
    /// An empty pool with a slot for each worker.
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        Pool {
            slots: (0..workers).map(|_| Mutex::default()).collect(),
            turns: (0..workers).map(|_| Semaphore::new(1)).collect(),
        }
    }

    fn slot(&self, worker: usize) -> &Mutex<Slot> {
        &self.slots[worker % self.slots.len()]
    }

    /// An idle HTTP/1 connection that can take a request at once; the most recently used, since it is the least
    /// likely to be closed by its peer.
    pub fn take_h1(&self, worker: usize) -> Option<H1> {
        let mut slot = self.slot(worker).lock();
        while let Some(connection) = slot.idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Gives an idle HTTP/1 connection to whoever waits, or keeps it.
    pub fn give_h1(&self, worker: usize, mut connection: H1) {
        let mut slot = self.slot(worker).lock();
        while let Some(waiting) = slot.waiting.pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
        slot.idle.push(connection);
    }

    /// Waits for an HTTP/1 connection that comes free. Cancel safe: one that came too late is given on.
    pub fn wait_h1(&self, worker: usize) -> oneshot::Receiver<H1> {
        let (sender, receiver) = oneshot::channel();
        self.slot(worker).lock().waiting.push_back(sender);
        receiver
    }

    /// Whether somebody waits for a connection in this worker's slot.
    pub fn has_waiters(&self, worker: usize) -> bool {
        self.slot(worker).lock().waiting.iter().any(|waiting| !waiting.is_closed())
    }

    /// A place on an HTTP/2 connection that has one free: the one with the fewest streams.
    pub fn take_h2(&self, worker: usize) -> Option<H2Stream> {
        let mut slot = self.slot(worker).lock();
        slot.shared.retain(|connection| !connection.is_closed());
        let best = slot.shared.iter().filter(|connection| connection.has_room()).min_by_key(|one| one.streams())?;
        Some(best.open())
    }

    /// Waits for the turn to make a shared connection: of many who find none, one makes it and the others use it.
    /// Cancel safe.
    pub async fn connect_turn(&self, worker: usize) -> Option<SemaphorePermit<'_>> {
        self.turns[worker % self.turns.len()].acquire().await.ok()
    }

    /// Shares a new HTTP/2 connection, and takes the first place on it.
    pub fn share_h2(&self, worker: usize, connection: H2) -> H2Stream {
        let stream = connection.open();
        self.slot(worker).lock().shared.push(connection);
        stream
    }

    /// Closes connections that nobody used for `idle`; called now and then. Returns how many are left.
    pub fn expire(&self, now: Instant, idle: Option<Duration>) -> usize {
        let old = |since: Instant| idle.is_some_and(|idle| now.saturating_duration_since(since) >= idle);
        let mut left = 0;
        for slot in &self.slots {
            let mut slot = slot.lock();
            slot.idle.retain(|connection| !connection.is_closed() && !old(connection.idle_since()));
            slot.shared.retain(|connection| {
                !connection.is_closed() && (connection.streams() > 0 || !old(connection.idle_since()))
            });
            slot.waiting.retain(|waiting| !waiting.is_closed());
            left += slot.idle.len() + slot.shared.len();
        }
        left
    }

    /// Closes one idle connection of any worker, to make room under the destination's limit; says whether there was one.
    pub fn shed(&self) -> bool {
        self.slots.iter().any(|slot| {
            let mut slot = slot.lock();
            if !slot.idle.is_empty() {
                slot.idle.remove(0);
                return true;
            }
            let idle = slot.shared.iter().position(|connection| connection.streams() == 0);
            idle.map(|index| slot.shared.remove(index)).is_some()
        })
    }

    /// Asks a busy shared connection of another worker to make way for this one, if this one has none. Says whether one
    /// was asked.
    pub fn ask_to_yield(&self, worker: usize, now: Instant) -> bool {
        let own = worker % self.slots.len();
        if self.slots[own].lock().shared.iter().any(|connection| !connection.is_closed()) {
            return false;
        }
        let mut others = self.slots.iter().enumerate().filter(|(index, _)| *index != own).map(|(_, slot)| slot);
        others.any(|slot| slot.lock().shared.iter().any(|connection| connection.ask_to_yield(now)))
    }
}
