//! What the rooms note of a request, read once when its response is over.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::carried::Held;
use crate::decision::{Aside, Roll, Tries};
use crate::reason::Reason;
use crate::route::Route;
use crate::telemetry::{CacheResult, Edge, Withheld, Would};

/// What rooms note.
#[derive(Debug, Default)]
pub struct Notes {
    /// The configuration that served the request.
    pub snapshot: u64,
    /// The route that took it.
    pub route: Option<Arc<Route>>,
    /// The counters of its route and destination.
    pub edge: Option<Arc<Edge>>,
    /// The destination's host, for people.
    pub host: Option<Arc<str>>,
    /// Where its last attempt went.
    pub endpoint: Option<SocketAddr>,
    /// Where the attempts before that went, oldest first.
    pub tried: Vec<SocketAddr>,
    /// An attempt was given up for another.
    pub retried: bool,
    /// An answer is held back for what its trailers say.
    pub held: bool,
    /// It is remembered as one that a layer above tries again.
    pub held_mark: Option<Held>,
    /// Why an attempt that might have helped was not made.
    pub withheld: Option<Withheld>,
    /// Why a timeout gave the current attempt up, before it was dropped.
    pub cut: Option<Reason>,
    /// The attempts that are dropped now lost to another that answered first.
    pub lost: bool,
    /// Its one attempt is a span without a root above it.
    pub alone: bool,
    /// How many attempts began.
    pub attempts: u32,
    /// Where a split fell; none of a request that has not come so far.
    pub roll: Option<Roll>,
    /// What its attempts met.
    pub tries: Tries,
    /// What is noted only of a request that is being explained.
    pub aside: Option<Box<Aside>>,
    /// Why it was not served, or why its answer is what it is.
    pub reason: Option<Reason>,
    /// What happened, for people.
    pub detail: Box<str>,
    /// What the cache did.
    pub cache: Option<CacheResult>,
    /// What it found in its second level, or why it does not know, in a word of `Cache-Status`.
    pub cache_detail: Option<&'static str>,
    /// What policies in Observe would have done.
    pub would: Would,
    /// The status that the caller got; 0 while there is none.
    pub status: u16,
    /// The gRPC status that the caller got.
    pub grpc_status: Option<u8>,
}

impl Notes {
    /// What is noted beside, made where it is missing.
    pub fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }
}
