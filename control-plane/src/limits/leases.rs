//! All limits that are divided, and the streams of the proxies that count them: what comes in goes to the limit's
//! [`Grants`], and what those say goes out, at every tick.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::document::Spec;
use outrigger_config::mesh::Mesh;
use outrigger_config::policy::RateLimitRule;
use outrigger_config::policy::lease::Share;
use outrigger_config::policy::rate_limit::Scope;
use outrigger_config::value::Percent;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::book::{Answer, Ask};
use super::grants::{Grants, Hold, MAX_MEMBERS, Report};
use crate::view::snapshot::Snapshot;

/// How often limits are divided anew.
const TICK: Duration = Duration::from_millis(100);
/// How long after its start a control plane gives nobody more than it says it has: those who have not come back yet may
/// still hold a share.
const SILENCE: Duration = Duration::from_secs(2);
/// Words that may wait for a proxy to read them, where there are few limits; one that lets more wait is out of reach. Else
/// twice as many as there are limits: one division may have a word for each.
const WAITING: usize = 2048;
/// Streams at once.
const MAX_STREAMS: usize = 20_000;

/// The name of a rule: its policy's and its own.
pub type Key = (Arc<str>, Arc<str>);

/// What goes to a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Of which rule.
    pub rule: Key,
    /// What has to be answered.
    pub serial: u64,
    /// The share.
    pub share: Share,
}

/// All limits that are divided. Cloning it shares them.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    born: Instant,
    /// Who this is among those who divide the same limits, where others do.
    nonce: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: HashMap<Key, Limit>,
    streams: HashMap<Arc<str>, Stream>,
    /// How many streams there ever were.
    opened: u64,
}

#[derive(Debug)]
struct Limit {
    rule: RateLimitRule,
    fallback: Percent,
    /// What others who divide it call it: one of other numbers is another limit.
    name: String,
    grants: Grants,
}

/// The stream of a proxy.
#[derive(Debug)]
struct Stream {
    number: u64,
    words: mpsc::Sender<Told>,
    joined: BTreeSet<Key>,
}

/// A proxy's stream; dropping it says that the proxy is out of reach.
#[derive(Debug)]
pub struct Seat {
    leases: Leases,
    member: Arc<str>,
    number: u64,
}

/// Why a proxy is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// There are too many.
    #[error("this control plane divides limits among {MAX_STREAMS} proxies already")]
    Streams,
    /// One limit has too many.
    #[error(
        "a limit is divided among {MAX_MEMBERS} proxies already, those included that were there within two minutes"
    )]
    Members,
}

/// What a proxy says of one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Of which rule.
    pub rule: Key,
    /// What it would let in, and refused.
    pub report: Report,
    /// What it holds; one that does not say is taken to have read what it was told.
    pub holds: Option<Hold>,
    /// Which control plane told it that; 0 where there is one.
    pub grantor: u64,
    /// That it holds nothing of it any more.
    pub ends: bool,
}

impl Leases {
    /// None yet, which this control plane divides alone.
    pub fn new(now: Instant) -> Self {
        Leases(Arc::new(Shared { born: now, nonce: None, state: Mutex::default() }))
    }

    /// None yet, which others divide as well ([`super::replicas`]), to whom this one is `nonce`, which is not 0.
    pub fn common(nonce: u64, now: Instant) -> Self {
        Leases(Arc::new(Shared { born: now, nonce: Some(nonce), state: Mutex::default() }))
    }

    /// Who this is among those who divide the same limits, where others do.
    pub fn nonce(&self) -> Option<u64> {
        self.0.nonce
    }

    /// Divides what the documents of `snapshots` say, until `stop`.
    pub async fn run(self, mut snapshots: watch::Receiver<Arc<Snapshot>>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mesh = Arc::clone(snapshots.borrow_and_update().mesh());
        self.follow(&mesh, Instant::now());
        loop {
            tokio::select! {
                _ = tick.tick() => self.divide(Instant::now()),
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let mesh = Arc::clone(snapshots.borrow_and_update().mesh());
                    self.follow(&mesh, Instant::now());
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes the rules of `mesh`. One that stays as it is goes on with its shares.
    pub fn follow(&self, mesh: &Mesh, now: Instant) {
        let at = self.nanos(now);
        let silent_until = u64::try_from(SILENCE.as_nanos()).unwrap_or(0);
        let mut state = self.0.state.lock();
        let (mut old, mut begun) = (std::mem::take(&mut state.limits), BTreeSet::new());
        for document in mesh.documents() {
            let Spec::RateLimitPolicy(policy) = document.spec() else { continue };
            let name: Arc<str> = document.name().to_string().into();
            for rule in policy.limit.rules_of(Scope::Leased) {
                let key = (Arc::clone(&name), Arc::clone(&rule.name));
                let fallback = policy.limit.global.fallback;
                let same = old.remove(&key).filter(|old| old.rule == *rule && old.fallback == fallback);
                if same.is_none() {
                    begun.insert(key.clone());
                }
                let new = || {
                    let rate = f64::from(rule.requests) / rule.interval.as_secs_f64().max(1e-3);
                    let part = f64::from(fallback.millionths()) / 1e6;
                    let limit = (rate, f64::from(rule.burst));
                    let grants = match self.0.nonce {
                        Some(_) => Grants::common(limit, part, at),
                        None => Grants::new(limit, part, at, silent_until),
                    };
                    let (requests, interval) = (rule.requests, rule.interval.as_millis());
                    let full = format!("{name}:{}:{requests}/{interval}/{}", rule.name, rule.burst);
                    Limit { rule: rule.clone(), fallback, name: full, grants }
                };
                state.limits.insert(key, same.unwrap_or_else(new));
            }
        }
        // Who is there counts a rule of other numbers anew, with what it holds of the old one: it says so.
        let State { limits, streams, .. } = &mut *state;
        for stream in streams.values_mut() {
            stream.joined.retain(|key| limits.contains_key(key) && !begun.contains(key));
        }
    }

    /// Lets a proxy in: what it is told comes by the receiver.
    pub fn open(&self, member: &str, now: Instant) -> Result<(Seat, mpsc::Receiver<Told>), Crowded> {
        let now = self.nanos(now);
        let member: Arc<str> = member.into();
        let mut state = self.0.state.lock();
        if state.streams.len() >= MAX_STREAMS && !state.streams.contains_key(&member) {
            return Err(Crowded::Streams);
        }
        let (words, receiver) = mpsc::channel(WAITING.max(2 * state.limits.len()));
        state.opened += 1;
        let number = state.opened;
        // A stream before this one is over, whether it has heard of that or not.
        state.streams.insert(Arc::clone(&member), Stream { number, words, joined: BTreeSet::new() });
        // And what was said on it: of rules that this one does not speak of the proxy is out of reach.
        state.limits.values_mut().for_each(|limit| limit.grants.leave(&member, now));
        drop(state);
        Ok((Seat { leases: self.clone(), member, number }, receiver))
    }

    /// Divides every limit, and sends what has to be said.
    pub fn divide(&self, now: Instant) {
        let now = self.nanos(now);
        let mut state = self.0.state.lock();
        let State { limits, streams, .. } = &mut *state;
        let mut lost = Vec::new();
        for (key, limit) in limits.iter_mut() {
            for word in limit.grants.divide(now) {
                let told = Told { rule: key.clone(), serial: word.serial, share: word.share };
                let stream = streams.get(&word.member);
                if stream.is_none_or(|stream| stream.words.try_send(told).is_err()) {
                    lost.push(word.member);
                }
            }
        }
        // Its stream ends with the sender.
        for member in lost {
            streams.remove(&member);
            limits.values_mut().for_each(|limit| limit.grants.leave(&member, now));
        }
    }

    /// What the others who divide the same limits are to be told.
    pub fn asks(&self, now: Instant) -> BTreeMap<String, Ask> {
        let now = self.nanos(now);
        let mut state = self.0.state.lock();
        let asks = state.limits.values_mut().map(|limit| Some((limit.name.clone(), limit.grants.ask(now)?)));
        asks.flatten().collect()
    }

    /// What they answered to that; nothing where they have not been told.
    pub fn answered(&self, mut asks: BTreeMap<String, Ask>, answers: &BTreeMap<String, Answer>, now: Instant) {
        let now = self.nanos(now);
        for limit in self.0.state.lock().limits.values_mut() {
            let Some(ask) = asks.remove(&limit.name) else { continue };
            match answers.get(&limit.name) {
                Some(answer) => limit.grants.answer(&ask, *answer, now),
                None => limit.grants.untold(ask),
            }
        }
    }

    /// How many limits are divided, among how many proxies.
    pub fn numbers(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.limits.len(), state.streams.len())
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Seat {
    /// Takes what the proxy says. What it says of a rule that is not there is left.
    pub fn hear(&self, said: &Said, now: Instant) -> Result<(), Crowded> {
        let now = self.leases.nanos(now);
        let mut state = self.leases.0.state.lock();
        let State { limits, streams, .. } = &mut *state;
        let Some(limit) = limits.get_mut(&said.rule) else { return Ok(()) };
        let own = streams.get_mut(&self.member).filter(|stream| stream.number == self.number);
        let Some(stream) = own else { return Ok(()) };
        if said.ends {
            stream.joined.remove(&said.rule);
            limit.grants.end(&self.member, now);
            return Ok(());
        }
        if !stream.joined.contains(&said.rule) {
            let from = Some(said.grantor).filter(|from| *from != 0 && self.leases.nonce() != Some(*from));
            if !limit.grants.join(&self.member, said.holds.unwrap_or_default(), from, now) {
                return Err(Crowded::Members);
            }
            stream.joined.insert(said.rule.clone());
        }
        let serial = if said.holds.is_some() { said.report.serial } else { u64::MAX };
        limit.grants.report(&self.member, &Report { serial, ..said.report }, now);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = self.leases.nanos(Instant::now());
        let mut state = self.leases.0.state.lock();
        let is_this = state.streams.get(&self.member).is_some_and(|stream| stream.number == self.number);
        if is_this {
            state.streams.remove(&self.member);
            state.limits.values_mut().for_each(|limit| limit.grants.leave(&self.member, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::mesh::Mesh;

    use super::{Leases, Said};
    use crate::limits::grants::{Hold, Report};
    use crate::limits::rules::tests::mesh as of_rules;

    /// A policy of so many rules, `rule-0` and so on, of ten requests a second each.
    fn mesh(rules: usize) -> Mesh {
        let limit = "limit: { requests: 10, interval: 1s }";
        let rule = |number| format!("{{ name: rule-{number}, scope: Global, sharing: Lease, {limit} }}, ");
        of_rules(&format!("[{}]", (0..rules).map(rule).collect::<String>()))
    }

    /// What a proxy says that wants all of a rule and holds `rate`.
    fn wants(rule: usize, rate: f64) -> Said {
        Said {
            rule: ("shop/calm".into(), format!("rule-{rule}").into()),
            report: Report { demand: Some(100.0), ..Report::default() },
            holds: Some(Hold { rate, fallback: 0.0 }),
            grantor: 0,
            ends: false,
        }
    }

    #[test]
    fn a_stream_that_is_over_gives_back_only_what_its_proxy_gave_up() {
        let (born, leases) = (Instant::now(), Leases::new(Instant::now()));
        leases.follow(&mesh(1), born);
        let at = |second| born + Duration::from_secs(second);
        let (first, _first_words) = leases.open("shop/first", at(3)).expect("room");
        first.hear(&wants(0, 10.0), at(3)).expect("room");
        drop(first);
        let (second, mut words) = leases.open("shop/second", at(4)).expect("room");
        second.hear(&wants(0, 0.0), at(4)).expect("room");
        leases.divide(at(4));
        assert!(words.try_recv().expect("a word").share.rate < 0.1, "the first may go on with what it has");
        let (first, _first_words) = leases.open("shop/first", at(5)).expect("room");
        first.hear(&wants(0, 10.0), at(5)).expect("room");
        first.hear(&Said { ends: true, ..wants(0, 10.0) }, at(5)).expect("room");
        leases.divide(at(5));
        assert!(words.try_recv().expect("a word").share.rate > 9.9);
    }

    #[test]
    fn a_stream_that_takes_anothers_place_does_not_hold_for_ever_what_it_does_not_speak_of() {
        let (born, leases) = (Instant::now(), Leases::new(Instant::now()));
        leases.follow(&mesh(2), born);
        let at = |second| born + Duration::from_secs(second);
        let (first, _first_words) = leases.open("shop/first", at(3)).expect("room");
        first.hear(&wants(1, 10.0), at(3)).expect("room");
        // It comes back without that rule, before its old stream is known to be over.
        let (again, _words) = leases.open("shop/first", at(4)).expect("room");
        again.hear(&wants(0, 0.0), at(4)).expect("room");
        let (second, mut words) = leases.open("shop/second", at(5)).expect("room");
        second.hear(&wants(1, 0.0), at(5)).expect("room");
        leases.divide(at(5));
        assert!(words.try_recv().expect("a word").share.rate < 0.1, "it may have kept it for a while");
        leases.divide(at(60));
        assert!(words.try_recv().expect("a word").share.rate > 9.9);
    }

    #[test]
    fn a_proxy_with_as_many_rules_as_a_report_may_have_stays() {
        let (born, leases) = (Instant::now(), Leases::new(Instant::now()));
        leases.follow(&mesh(1024), born);
        let now = born + Duration::from_secs(3);
        let (seat, mut words) = leases.open("shop/a", now).expect("room");
        (0..1024).for_each(|rule| seat.hear(&wants(rule, 0.0), now).expect("room"));
        leases.divide(now);
        assert_eq!(leases.numbers(), (1024, 1));
        assert_eq!(std::iter::from_fn(|| words.try_recv().ok()).count(), 1024);
    }
}
