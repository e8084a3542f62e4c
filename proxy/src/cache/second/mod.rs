//! The second level of the cache: a Redis that proxies share, behind each one's own memory.
//!
//! It is asked by who would ask the service otherwise, once for all that wait for the same, and never for longer than its
//! timeout; what it does not answer in time, or not as it was told to, is a miss, counted by its cause. A Redis that fails is
//! left alone for a while ([`Circuit`]). What is written there waits in a queue of its own. Nothing that comes from there is
//! believed before [`codec`] has checked it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::changes::Changes;
use super::key;
use super::stored::{Selector, Stored};
use crate::circuit::Circuit;
use crate::clock;
use crate::telemetry::second::{Change, Lookup, SecondCounters};

pub mod seal;
pub mod codec;
pub mod meter;
pub mod link;
pub mod words;
pub mod queue;

use codec::{Entry, Flaw, Place};
pub use link::Address;
use link::{Failure, Link};
use queue::Queue;
pub use seal::Sealer;
use seal::{Name, field, variant_field};
use words::{Condition, Found, Mark};

/// How long a look-up may take where nothing is said.
pub const TIMEOUT: Duration = Duration::from_millis(50);

/// The second level.
#[derive(Debug)]
pub struct Second {
    link: Link,
    sealer: Sealer,
    queue: Queue,
    /// Changes that were given up: what stood there before them is as it was.
    lost: Changes,
    circuit: Circuit,
    born: Instant,
    timeout: Duration,
    /// What it did.
    pub counters: Arc<SecondCounters>,
}

/// Who looks, or changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A cache that acts.
    Acting,
    /// One in Observe. It notes what came, without bodies, where nobody looks who acts; and sees what others noted so.
    Observing,
}

/// What a look-up brought.
#[derive(Debug)]
pub struct Looked {
    /// The response for the request.
    pub stored: Option<Arc<Stored>>,
    /// What lets whoever asked keep another one; none where the second level did not answer.
    pub ticket: Option<Ticket>,
    /// How it ended.
    pub how: Lookup,
}

/// What lets one response be kept for the target that was looked up: not after the target has been changed.
#[derive(Clone, Debug)]
pub struct Ticket {
    second: Arc<Second>,
    name: Name,
    condition: Condition,
}

impl Ticket {
    /// Keeps a response, in a while.
    pub fn keep(&self, stored: &Arc<Stored>) {
        if self.second.is_lost(&self.name, stored) {
            return self.second.counters.changed(Change::Outdated);
        }
        self.second.queue.keep(self.name, self.condition, stored);
    }

    /// Forgets the response for the requests of `selector`, in a while.
    pub fn drop_one(&self, selector: &Selector) {
        let place = match selector.vary() {
            [] => field(&self.name, selector.scope()),
            vary => variant_field(&self.name, selector.scope(), vary),
        };
        self.second.queue.drop_one(self.name, place);
    }
}

impl Second {
    /// The one at `address`, whose entries are sealed with `secret`; a look-up takes `timeout` at most. Needs the runtime
    /// that will drive the connection.
    pub fn at(address: &Address, secret: &[u8], timeout: Duration) -> Self {
        Second::over(Link::new(address), secret, timeout)
    }

    fn over(link: Link, secret: &[u8], timeout: Duration) -> Self {
        let (sealer, counters) = (Sealer::new(secret), Arc::default());
        let queue = Queue::new(&link, &sealer, &counters);
        let born = clock::now();
        Second { link, sealer, queue, lost: Changes::new(born), circuit: Circuit::default(), born, timeout, counters }
    }

    /// What lets a response be noted in Observe, whatever became of its target meanwhile.
    pub fn notes(self: &Arc<Self>, key: &[u8]) -> Ticket {
        let name = self.name(key, View::Observing);
        Ticket { second: Arc::clone(self), name, condition: Condition::Any }
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Waits until no change waits, be it that Redis has them or that they are given up.
    pub async fn settled(&self) {
        while self.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many changes wait.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Forgets everything of the target of a key, as soon as that can be.
    pub fn forget(&self, key: &[u8], view: View) {
        let name = self.name(key, view);
        if !self.queue.forget(name.of_target()) {
            self.lost.note(name.target(), clock::now());
        }
    }

    /// Whether a response may be of before a change that was given up.
    fn is_lost(&self, name: &Name, stored: &Stored) -> bool {
        self.lost.since(name.target(), stored.sent)
    }

    fn name(&self, key: &[u8], view: View) -> Name {
        let (target, part) = key::divided(key);
        match view {
            View::Acting => self.sealer.name(&target, part),
            // No key ends so.
            View::Observing => self.sealer.name(&[&target, &b"\0\0observed"[..]].concat(), part),
        }
    }

    /// Looks up the response for the requests of a key, of a route of the mark `scope`, with these fields, until `until`
    /// at the latest.
    pub async fn look(
        self: &Arc<Self>,
        (key, shown): (&[u8], &Arc<str>),
        (scope, view): (u64, View),
        request: &HeaderMap,
        until: Instant,
    ) -> Looked {
        let name = self.name(key, view);
        let (stored, mark, how) = match self.try_look(&name, shown, scope, request, until).await {
            Ok((mark, stored)) => {
                let is_ours = |stored: &Stored| stored.body.is_some() == (view == View::Acting);
                let stored = stored.filter(|stored| is_ours(stored) && !self.is_lost(&name, stored));
                let how = if stored.is_some() { Lookup::Found } else { Lookup::Miss };
                (stored, Some(mark), how)
            }
            Err((how, mark)) => (None, mark, how),
        };
        self.counters.looked(how);
        let ticket = |mark| Ticket { second: Arc::clone(self), name, condition: Condition::Same(mark) };
        Looked { stored: stored.map(Arc::from), ticket: mark.map(ticket), how }
    }

    /// The response and the mark; else why there is none, and the mark if that is known all the same.
    async fn try_look(
        &self,
        name: &Name,
        shown: &Arc<str>,
        scope: u64,
        request: &HeaderMap,
        until: Instant,
    ) -> Result<(Mark, Option<Box<Stored>>), (Lookup, Option<Mark>)> {
        if self.queue.forgets(&name.of_target()) {
            return Err((Lookup::Pending, None));
        }
        // Not so many ask a Redis that does not answer.
        if !self.link.is_up() || !self.circuit.may_ask(self.now()) {
            return Err((Lookup::Away, None));
        }
        let by = until.min(clock::now() + self.timeout);
        let looks = self.ask_twice(name, shown, scope, request);
        let looked = tokio::time::timeout_at(by.into(), looks).await.unwrap_or(Err((Lookup::Timeout, None)));
        match &looked {
            // It answered, whatever stands there.
            Ok(_) | Err((_, Some(_))) => _ = self.circuit.succeeded(),
            Err((Lookup::Away | Lookup::Crowded, _)) => {}
            // What its caller did not wait for says nothing of it.
            Err((Lookup::Timeout, _)) if by == until => {}
            Err(_) => _ = self.circuit.failed(self.now()),
        }
        looked
    }

    /// Asks for the response that varies by nothing; and, where what stands there says what others vary by, for the one
    /// that this request has.
    async fn ask_twice(
        &self,
        name: &Name,
        shown: &Arc<str>,
        scope: u64,
        request: &HeaderMap,
    ) -> Result<(Mark, Option<Box<Stored>>), (Lookup, Option<Mark>)> {
        let main = field(name, scope);
        let (mark, entry) = self.ask(name, &main, scope, shown).await?;
        let (mark, entry) = match entry {
            Some(Entry::Index(names)) => {
                let wanted = Selector::of_request(scope, names, request);
                let variant = variant_field(name, scope, wanted.vary());
                let (later, entry) = self.ask(name, &variant, scope, shown).await?;
                // What was changed between the two answers is of two times.
                if later != mark { (later, None) } else { (mark, entry) }
            }
            entry => (mark, entry),
        };
        let Some(Entry::Response(stored)) = entry else { return Ok((mark, None)) };
        // Where it stands is no proof of whom it is for: that is what it says itself.
        let fits = stored.selector.selects(scope, request);
        Ok((mark, fits.then_some(stored)))
    }

    async fn ask(
        &self,
        name: &Name,
        place: &[u8],
        scope: u64,
        shown: &Arc<str>,
    ) -> Result<(Mark, Option<Entry>), (Lookup, Option<Mark>)> {
        let answer = self.link.ask(words::find(name, place)).await.map_err(|why| (failed(why), None))?;
        let (mark, bytes, stood) = match words::read(answer) {
            Some(Found::Entry(mark, bytes, stood)) => (mark, bytes, stood),
            Some(Found::Nothing(mark)) => return Ok((mark, None)),
            Some(Found::TooLong(mark)) => return Err((Lookup::Oversize, Some(mark))),
            None => return Err((Lookup::Garbage, None)),
        };
        let (now, wall) = (clock::now(), clock::wall());
        let place = Place { sealer: &self.sealer, name, field: place, scope, now, wall };
        match codec::read(place, &bytes, stood, shown) {
            Ok(entry) => Ok((mark, Some(entry))),
            Err(flaw) => Err((
                match flaw {
                    Flaw::Foreign => Lookup::Foreign,
                    Flaw::Corrupt => Lookup::Corrupt,
                    Flaw::Oversize => Lookup::Oversize,
                },
                Some(mark),
            )),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::now().saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn failed(why: Failure) -> Lookup {
    match why {
        Failure::Away => Lookup::Away,
        Failure::Crowded => Lookup::Crowded,
        Failure::Lost => Lookup::Lost,
        Failure::Refused => Lookup::Refused,
        Failure::Garbage => Lookup::Garbage,
    }
}

#[cfg(test)]
mod tests;
