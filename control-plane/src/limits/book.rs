//! What control planes that divide the same limits claim of each, as it stands in the Redis that they share: a book that one
//! reads, changes and writes back whole, or not at all where another was faster.
//!
//! Who claims more gets it of what nobody claims; who is to have less says so when its proxies have given it up, and no
//! sooner. So the claims are never below what is in force with proxies, and together never above the limit but for what
//! proxies take along from one control plane to another, which is counted twice until it is settled.
//!
//! A control plane that says nothing is counted for [`FORGET`], less what its proxies have taken along. Time is Redis's,
//! in microseconds, and only what passes from one look to the next counts: where that is too long, or less than nothing,
//! the book may not know of everybody (Redis was away, or its clock was set), and nobody gets more for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fair::fair;
use super::member::Hold;

/// How long a control plane counts that says nothing: as long as a proxy does that is out of reach, at last with its
/// fallback.
pub const FORGET: u64 = 120_000_000;
/// How long it takes part in divisions.
const ALIVE: u64 = 5_000_000;
/// From when on what its proxies have becomes their fallbacks: no sooner than they may have heard of it last.
const FADE: u64 = 3_000_000;
/// From one look to the next at most.
const GAP: u64 = 5_000_000;
/// How long nobody gets more after the book was begun, or left alone: others may not have said yet what they have.
const SETTLE: u64 = 5_000_000;
/// The part of a limit that all are taken to want together, whatever they say.
const FLOOR: f64 = 0.02;

/// What all claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// When it was last written, and how long it has been kept up.
    at: u64,
    steady: u64,
    replicas: BTreeMap<u64, Replica>,
}

/// What one claims.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Replica {
    /// Since it last said something.
    age: u64,
    claims: BTreeMap<String, Claim>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Claim {
    rate: f64,
    fallback: f64,
    demand: f64,
    weight: u32,
}

/// What a control plane says of one limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// The limit, requests a second.
    pub limit: f64,
    /// What may be in force with its proxies, or was to be divided among them: no less than it has.
    pub hold: f64,
    /// What its proxies would have where they hear of no control plane for long.
    pub fallback: f64,
    /// What it was to divide when it asked.
    pub base: f64,
    /// What its proxies want, requests a second.
    pub demand: f64,
    /// How many they are.
    pub weight: u32,
    /// What proxies took along that came from other control planes, by whose it was.
    pub moved: BTreeMap<u64, Hold>,
}

/// What it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// To divide from now on, requests a second; where that is less than it holds it goes on claiming what it holds.
    pub part: f64,
    /// Whether that is what there is to have: everybody has said what they have.
    pub is_settled: bool,
}

impl Book {
    /// Reads what [`Book::text`] wrote; anything else is a book that knows nothing yet.
    pub fn read(text: &[u8]) -> Book {
        let mut book: Book = serde_json::from_slice(text).unwrap_or_default();
        let claims = book.replicas.values_mut().flat_map(|replica| replica.claims.values_mut());
        claims.for_each(|claim| {
            let parts = [&mut claim.rate, &mut claim.fallback, &mut claim.demand];
            parts.into_iter().for_each(|part| *part = part.max(0.0));
        });
        book
    }

    /// As it stands in Redis.
    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// How many control planes are there.
    pub fn alive(&self) -> usize {
        self.replicas.values().filter(|replica| replica.age <= ALIVE).count()
    }

    /// Takes what the control plane `who` says of all its limits at `now`, and says what it gets of each.
    pub fn exchange(&mut self, who: u64, asks: &BTreeMap<String, Ask>, now: u64) -> BTreeMap<String, Answer> {
        self.pass(now);
        let claim =
            |ask: &Ask| Claim { rate: ask.hold, fallback: ask.fallback, demand: ask.demand, weight: ask.weight };
        let claims = asks.iter().map(|(rule, ask)| (rule.clone(), claim(ask))).collect();
        self.replicas.insert(who, Replica { age: 0, claims });
        for (rule, ask) in asks {
            for (from, hold) in ask.moved.iter().filter(|(from, _)| **from != who) {
                let claim = self.replicas.get_mut(from).and_then(|replica| replica.claims.get_mut(rule));
                if let Some(claim) = claim {
                    claim.rate = (claim.rate - hold.rate).max(0.0);
                    claim.fallback = (claim.fallback - hold.fallback).max(0.0);
                }
            }
        }
        asks.iter().map(|(rule, ask)| (rule.clone(), self.answer(who, rule, ask))).collect()
    }

    fn answer(&mut self, who: u64, rule: &str, ask: &Ask) -> Answer {
        let (mut silent, mut all, mut wanted, mut own) = (0.0, 0.0, Vec::new(), 0);
        for (name, replica) in &self.replicas {
            let Some(claim) = replica.claims.get(rule) else { continue };
            let fades = if replica.age > FADE { claim.fallback } else { 0.0 };
            all += claim.rate.max(fades);
            if replica.age > ALIVE {
                silent += claim.rate.max(fades);
                continue;
            }
            if *name == who {
                own = wanted.len();
            }
            wanted.push((claim.demand, f64::from(claim.weight.max(1))));
        }
        let floor = ask.limit * FLOOR / wanted.len().max(1) as f64;
        wanted.iter_mut().for_each(|(demand, _)| *demand = demand.max(floor));
        let target = fair(&wanted, (ask.limit - silent).max(0.0)).get(own).copied().unwrap_or(0.0);
        let is_settled = self.steady >= SETTLE;
        let more = (target - ask.hold).min(ask.limit - all).max(0.0);
        if target <= ask.hold || !is_settled {
            return Answer { part: target.min(ask.hold), is_settled };
        }
        if let Some(claim) = self.replicas.get_mut(&who).and_then(|replica| replica.claims.get_mut(rule)) {
            claim.rate = ask.hold + more;
        }
        Answer { part: ask.hold + more, is_settled }
    }

    /// Lets the time pass that has passed since the last look, as far as that is to be believed.
    fn pass(&mut self, now: u64) {
        match now.checked_sub(self.at) {
            Some(passed) if passed <= GAP => {
                self.steady = self.steady.saturating_add(passed);
                self.replicas.values_mut().for_each(|replica| replica.age = replica.age.saturating_add(passed));
            }
            _ => self.steady = 0,
        }
        self.at = now;
        self.replicas.retain(|_, replica| {
            let claims = replica.claims.values().any(|claim| claim.rate > 0.0 || claim.fallback > 0.0);
            replica.age <= if claims { FORGET } else { ALIVE }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Answer, Ask, Book, FORGET, Hold};

    const SECOND: u64 = 1_000_000;

    fn ask(hold: f64, demand: f64) -> Ask {
        Ask { limit: 100.0, hold, demand, weight: 1, ..Ask::default() }
    }

    /// What one gets of the one rule.
    fn one(book: &mut Book, who: u64, ask: Ask, now: u64) -> Answer {
        book.exchange(who, &BTreeMap::from([("all".to_owned(), ask)]), now)["all"]
    }

    /// A book that has been kept up until `now` by the control plane 9, which wants nothing.
    fn kept(now: u64) -> Book {
        let mut book = Book::default();
        (0..=6).for_each(|turn| drop(book.exchange(9, &BTreeMap::new(), now - (6 - turn) * SECOND)));
        book
    }

    #[test]
    fn nobody_gets_more_before_all_have_said_what_they_have() {
        let mut book = Book::default();
        for second in 0..5 {
            let answer = one(&mut book, 1, ask(0.0, 50.0), 1000 * SECOND + second * SECOND);
            assert_eq!(answer, Answer { part: 0.0, is_settled: false });
        }
        one(&mut book, 2, ask(70.0, 50.0), 1004 * SECOND);
        assert_eq!(one(&mut book, 1, ask(0.0, 50.0), 1005 * SECOND), Answer { part: 30.0, is_settled: true });
    }

    #[test]
    fn what_one_is_to_give_up_another_gets_when_it_has_been_given_up() {
        let (mut book, now) = (kept(1000 * SECOND), 1000 * SECOND);
        assert_eq!(one(&mut book, 1, ask(0.0, 500.0), now).part, 100.0, "it is alone");
        assert_eq!(one(&mut book, 2, ask(0.0, 500.0), now).part, 0.0);
        assert_eq!(one(&mut book, 1, ask(100.0, 500.0), now).part, 50.0, "half of it is the other's");
        assert_eq!(one(&mut book, 2, ask(0.0, 500.0), now).part, 0.0, "its proxies have it still");
        assert_eq!(one(&mut book, 1, ask(50.0, 500.0), now).part, 50.0);
        assert_eq!(one(&mut book, 2, ask(0.0, 500.0), now).part, 50.0);
        // By demand.
        assert_eq!(one(&mut book, 2, ask(50.0, 10.0), now).part, 10.0);
        one(&mut book, 2, ask(10.0, 10.0), now);
        assert_eq!(one(&mut book, 1, ask(50.0, 500.0), now).part, 90.0);
    }

    #[test]
    fn who_says_nothing_is_counted_for_long() {
        let (mut book, start) = (kept(1000 * SECOND), 1000 * SECOND);
        one(&mut book, 1, ask(100.0, 500.0), start);
        let part = |book: &mut Book, second| one(book, 2, ask(0.0, 500.0), start + second * SECOND).part;
        for second in 1..=FORGET / SECOND {
            assert_eq!(part(&mut book, second), 0.0, "{second}");
        }
        assert_eq!(part(&mut book, FORGET / SECOND + 1), 100.0);
    }

    #[test]
    fn what_proxies_take_along_is_no_longer_whose_it_was() {
        let (mut book, now) = (kept(1000 * SECOND), 1000 * SECOND);
        one(&mut book, 1, ask(100.0, 100.0), now);
        let of = |rate| Hold { rate, fallback: rate };
        let later = |turn: u64| now + turn * 3 * SECOND;
        one(&mut book, 2, ask(0.0, 100.0), later(1));
        one(&mut book, 2, ask(0.0, 100.0), later(2));
        let moved = BTreeMap::from([(1, of(95.0)), (7, of(5.0))]);
        assert_eq!(one(&mut book, 2, Ask { moved, ..ask(95.0, 100.0) }, later(2)).part, 95.0, "nobody has to give up");
        assert_eq!(one(&mut book, 2, ask(95.0, 100.0), later(2)).part, 95.0, "the rest is still the other's");
    }

    #[test]
    fn a_clock_that_is_set_settles_anew_and_forgets_nobody() {
        for set in [3_600 * SECOND, 7_200 * SECOND, 100_000 * SECOND] {
            let (mut book, start) = (kept(7_200 * SECOND - SECOND), 7_200 * SECOND - SECOND);
            one(&mut book, 2, ask(0.0, 500.0), start);
            one(&mut book, 1, ask(80.0, 10.0), start);
            let mut later = |seconds: u64| one(&mut book, 2, ask(0.0, 500.0), set + seconds * SECOND);
            let settled = Answer { part: 20.0, is_settled: true };
            let first = if set == 7_200 * SECOND { settled } else { Answer::default() };
            assert_eq!(later(0), first, "{set}");
            assert_eq!((1..8).map(later).last(), Some(settled), "{set}");
        }
    }

    #[test]
    fn what_was_written_is_read_and_nonsense_is_nothing() {
        let mut book = kept(1000 * SECOND);
        one(&mut book, u64::MAX, ask(33.0, 500.0), 1000 * SECOND);
        assert_eq!(Book::read(&book.text()), book);
        for nonsense in [&b""[..], b"{}", b"[1]", b"{\"at\":-1}", b"\xff\xfe", &[b'['; 100_000]] {
            assert_eq!(Book::read(nonsense), Book::default());
        }
    }
}
