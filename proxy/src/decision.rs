//! What rooms note of their decisions on a request, so that it can be explained afterwards ([`crate::explain`]).
//!
//! For every request only numbers that are at hand anyway are noted, in place: where a split fell, and of an attempt
//! what it met. What costs more ([`Aside`]) is made only for requests that are being explained already: somebody asked,
//! another attempt is being made, or there is nowhere to go.

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_config::record::{Endpoint, Missed};

use crate::reason::Reason;
use crate::telemetry::RetryCause;

/// Attempts of one request that are told apart; policies allow far fewer.
const MAX_TRIES: usize = 32;

/// Where a request fell in a weighted split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The point, from 0, among the sum of the weights.
    pub point: u64,
    /// Whether a key of the request decided, and not chance.
    pub by_key: bool,
}

/// What is noted of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// Which it is, from 0.
    pub number: u32,
    /// Where it went.
    pub endpoint: SocketAddr,
    /// Why it was made.
    pub cause: Option<RetryCause>,
    /// When it began, after the request.
    pub at: Duration,
    /// How much of the request's time was left.
    pub left: Option<Duration>,
    /// Requests under way at the endpoint, this one included.
    pub active: u32,
    /// Whether it decides over an endpoint's return.
    pub probe: bool,
    /// How long until its answer's head, or its failure.
    pub took: Option<Duration>,
    /// The status of its answer; 0 while there is none.
    pub status: u16,
    /// The gRPC status in its answer's head.
    pub grpc: Option<u8>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Whether another attempt answered first.
    pub lost: bool,
}

/// The attempts of a request: the first in place, further ones on the heap.
#[derive(Debug, Default)]
pub struct Tries {
    first: Option<Try>,
    more: Vec<Try>,
}

impl Tries {
    /// An attempt begins.
    pub fn begin(&mut self, one: Try) {
        match &self.first {
            None => self.first = Some(one),
            Some(_) if self.more.len() < MAX_TRIES => self.more.push(one),
            Some(_) => {}
        }
    }

    /// The attempt of this number, to say what came of it.
    pub fn of(&mut self, number: u32) -> Option<&mut Try> {
        self.first.iter_mut().chain(&mut self.more).find(|one| one.number == number)
    }

    /// When the attempt of this number was answered, after the request began, and how long that took it.
    pub fn answered(&self, number: u32) -> Option<(Duration, Duration)> {
        let one = self.iter().find(|one| one.number == number)?;
        one.took.map(|took| (one.at + took, took))
    }

    /// All of them, in the order they began.
    pub fn iter(&self) -> impl Iterator<Item = &Try> {
        self.first.iter().chain(&self.more)
    }
}

/// What is noted of a request that is being explained already.
#[derive(Debug, Default)]
pub struct Aside {
    /// Whoever sent it may know, and asked.
    pub asked: bool,
    /// The host that was asked for, where no route was found.
    pub host: String,
    /// Routes that might have been meant, by all that is known of the request.
    pub missed: Option<Vec<Missed>>,
    /// The candidates, when they were looked at, and how many more there were.
    pub candidates: Option<(Duration, Vec<Endpoint>, usize)>,
}
