//! An HTTP/2 connection to an endpoint, shared by many requests.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;

use super::h1::{Sent, sent};
use crate::body::Body;

/// The most streams on one connection, whatever more the endpoint would take: past it another connection spreads the
/// load and halves what one loss costs.
const MAX_STREAMS: usize = 256;

/// Streams that may be opened before the endpoint has said how many it takes (RFC 9113, 6.5.2 recommends at least 100).
const INITIAL_STREAMS: usize = 100;

/// A shared HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct H2 {
    sender: SendRequest<Body>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    streams: AtomicU32,
    /// What the endpoint takes (SETTINGS_MAX_CONCURRENT_STREAMS).
    allowed: Arc<AtomicUsize>,
    idle_since: Mutex<Instant>,
}

/// A place on a shared connection, free again when it is dropped.
#[derive(Debug)]
pub struct H2Stream {
    connection: H2,
}

impl H2 {
    /// `allowed` follows what the endpoint takes; whoever drives the connection keeps it up to date.
    pub(super) fn new(sender: SendRequest<Body>, allowed: Arc<AtomicUsize>) -> Self {
        let state = State { streams: AtomicU32::new(0), allowed, idle_since: Mutex::new(Instant::now()) };
        H2 { sender, state: Arc::new(state) }
    }

    pub(super) fn initially_allowed() -> Arc<AtomicUsize> {
        Arc::new(AtomicUsize::new(INITIAL_STREAMS))
    }

    /// Whether it is gone, or goes as soon as its streams are over (GOAWAY).
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Streams open now.
    pub fn streams(&self) -> u32 {
        self.state.streams.load(Ordering::Relaxed)
    }

    /// Whether the endpoint's own bound, and ours, leave room for another stream.
    pub fn has_room(&self) -> bool {
        (self.streams() as usize) < self.state.allowed.load(Ordering::Relaxed).clamp(1, MAX_STREAMS)
    }

    /// Since when it has had no stream.
    pub fn idle_since(&self) -> Instant {
        *self.state.idle_since.lock()
    }

    pub(super) fn open(&self) -> H2Stream {
        self.state.streams.fetch_add(1, Ordering::Relaxed);
        H2Stream { connection: self.clone() }
    }
}

impl H2Stream {
    /// Sends a request. Dropping the future resets the stream (CANCEL).
    pub fn send(&mut self, request: http::Request<Body>) -> impl Future<Output = Sent> + Send + use<> {
        self.connection.sender.try_send_request(request).map(sent)
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        if self.connection.state.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.connection.state.idle_since.lock() = Instant::now();
        }
    }
}
