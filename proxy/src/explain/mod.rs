//! Explains how a request was decided: makes its [`Record`] of what rooms noted ([`crate::decision`]) and of the
//! configuration that served it.
//!
//! A record is made only where somebody will want it: the request failed, was tried again or was slow, and then it is
//! kept ([`crate::telemetry::records`]); or whoever sent it asked with [`FIELD`] and may know, and then it is in the
//! answer's head as well. All other requests pay for a few numbers and a branch.
//!
//! Who may ask: the workload beside the proxy, over loopback, of what it sends out, with `1`. Where the proxy was given
//! a token, only whoever says it, from anywhere. The field never goes on, whoever sent it: neither to a service, nor in
//! from outside to a workload that would pass it on.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use outrigger_config::listener::Direction;
use outrigger_config::record::{Cause, MAX_BYTES, Missed, Record};

use crate::clock;
use crate::exchange::{Aim, Notes, Request, Response, Trail};
use crate::route::{Facts, Route, Table};

mod destination;
mod policies;
mod miss;
mod build;

/// Asks for a record, and carries it back.
pub const FIELD: HeaderName = HeaderName::from_static("x-outrigger-explain");

/// The largest record in an answer's head.
const MAX_FIELD: usize = 4096;

/// Why a request is worth a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The caller got an error, or no answer.
    pub failed: bool,
    /// It was tried again.
    pub retried: bool,
    /// It took long.
    pub slow: bool,
    /// Somebody asked.
    pub asked: bool,
}

impl Why {
    /// What is to be said of a request that is over.
    pub fn of(notes: &Notes, slow: bool) -> Self {
        let failed = notes.reason.is_some()
            || notes.status >= 500
            || notes.status == 0
            || matches!(notes.grpc_status, Some(2 | 4 | 13 | 14 | 15));
        Why { failed, retried: notes.retried, slow, asked: notes.aside.as_ref().is_some_and(|aside| aside.asked) }
    }

    /// Whether there is any reason.
    pub fn any(self) -> bool {
        self.failed || self.retried || self.slow || self.asked
    }

    /// The weightiest; whoever asked is the only one left.
    fn cause(self) -> Cause {
        match self {
            Why { failed: true, .. } => Cause::Failed,
            Why { retried: true, .. } => Cause::Retried,
            Why { slow: true, .. } => Cause::Slow,
            _ => Cause::Asked,
        }
    }

    fn words(self) -> Vec<String> {
        let all = [self.failed, self.retried, self.slow, self.asked].into_iter().zip(Cause::ALL);
        all.filter(|(is, _)| *is).map(|(_, cause)| cause.word().to_owned()).collect()
    }
}

/// Takes the question out of a request, and notes it if whoever asked may know.
pub fn hear(request: &mut Request) {
    let Some(asked) = request.http.headers_mut().remove(FIELD) else { return };
    let connection = &request.trail.connection;
    let allowed = match connection.shared.telemetry.records.token() {
        Some(token) => same(token, asked.as_bytes()),
        None => {
            let beside = connection.entrance.direction == Direction::Outbound && connection.peer.ip().is_loopback();
            beside && asked == "1"
        }
    };
    if allowed {
        request.trail.note(|notes| notes.aside.get_or_insert_default().asked = true);
    }
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Notes why routes did not take a request: where none did, or somebody asked. To be called by whoever still has all of
/// the request.
pub fn note_missed(trail: &Trail, table: &Table, route: Option<&Arc<Route>>, facts: &Facts<'_>) {
    let records = &trail.connection.shared.telemetry.records;
    // Requests for what is not there may come in any number; of those beyond the rate no record is made.
    if !records.has_room(trail.connection.worker, clock::now()) {
        return;
    }
    let missed = match route {
        Some(route) => miss::missed(table.before(route), facts, true),
        None => {
            let missed = miss::missed(table.of_host(facts.authority), facts, true);
            if missed.is_empty() { hosts(table) } else { missed }
        }
    };
    let host = facts.authority.to_owned();
    trail.note(|notes| {
        let aside = notes.aside.get_or_insert_default();
        (aside.missed, aside.host) = (Some(missed), host);
    });
}

/// The hosts that there are, for a request that asked for another one.
fn hosts(table: &Table) -> Vec<Missed> {
    const MOST: usize = 8;
    let mut names: Vec<_> = table.hosts().collect();
    names.sort_unstable();
    let named = |host: &str| Missed { route: host.to_owned(), because: "is another host".to_owned() };
    names.into_iter().take(MOST).map(named).collect()
}

/// Notes who could be chosen now, for a request that is being explained already.
pub fn note_candidates(aim: &Aim, now: Instant) {
    let (endpoints, more) = destination::endpoints(&aim.cluster, aim.ask, now);
    let at = now.saturating_duration_since(aim.trail.started);
    aim.trail.note(|notes| notes.aside.get_or_insert_default().candidates = Some((at, endpoints, more)));
}

/// Puts the record into the head of an answer, where the caller asked and may know.
pub fn answer(trail: &Trail, response: &mut Response) {
    let why = trail.read(|notes| Why::of(notes, false));
    if !why.asked {
        return;
    }
    let record = build::record(trail, why, trail.elapsed(), clock::now());
    let value = record.write(MAX_FIELD).and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(value) = value {
        response.headers_mut().insert(FIELD, value);
    }
}

/// Keeps the record of a request that is over.
pub fn keep(trail: &Trail, why: Why, took: Duration) {
    let (records, worker) = (&trail.connection.shared.telemetry.records, trail.connection.worker);
    let now = clock::now();
    if !records.admits(worker, why.cause(), now) {
        return;
    }
    let record = build::record(trail, why, took, now);
    let at = record.at_unix_ms;
    if let Some(json) = record.write(MAX_BYTES) {
        records.push(worker, why.cause(), trail.context.trace_id, at, json);
    }
}

/// The record of a request as it stands.
pub fn record(trail: &Trail) -> Record {
    let took = trail.elapsed();
    build::record(trail, trail.read(|notes| Why::of(notes, false)), took, clock::now())
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are as exact as anybody reads.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn unix_millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
