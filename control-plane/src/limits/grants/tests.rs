//! One limit and a hundred proxies, on a network that takes its time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outrigger_config::policy::lease::Lease;

use super::{Grants, Hold, Report, Word};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// How often a proxy reports, and how often the limit is divided.
const REPORTS: u64 = 250 * MS;
const DIVIDES: u64 = 100 * MS;
const STEP: u64 = 10 * MS;

/// A proxy, and what it knows.
struct Proxy {
    name: Arc<str>,
    lease: Option<Lease>,
    serial: u64,
    /// Requests a second that come to it, and the part of one that has come.
    demand: f64,
    come: f64,
    wanted: f64,
    refused: f64,
    since: u64,
    /// Whether it runs, and whether the control plane can be reached.
    up: bool,
    linked: bool,
    joined: bool,
}

/// What is under way, by when it arrives.
enum Letter {
    Join(Arc<str>, Hold),
    Report(Arc<str>, Report),
    Leave(Arc<str>),
    Word(Word),
}

struct World {
    rate: f64,
    burst: f64,
    grants: Grants,
    proxies: Vec<Proxy>,
    mail: BTreeMap<u64, VecDeque<Letter>>,
    now: u64,
    admitted: u64,
    /// Whether the control plane is there.
    up: bool,
    /// The most by which what was admitted passed rate x time + burst.
    overshoot: f64,
    rng: u64,
}

impl World {
    fn new(count: usize, rate: f64, burst: f64, fallback: f64) -> Self {
        let proxy = |number: usize| Proxy {
            name: format!("shop/web-{number}").into(),
            lease: None,
            serial: 0,
            demand: 0.0,
            come: 0.0,
            wanted: 0.0,
            refused: 0.0,
            since: 0,
            up: true,
            linked: true,
            joined: false,
        };
        World {
            rate,
            burst,
            grants: Grants::new((rate, burst), fallback, 0, 0),
            proxies: (0..count).map(proxy).collect(),
            mail: BTreeMap::new(),
            now: 0,
            admitted: 0,
            up: true,
            overshoot: f64::MIN,
            rng: 7,
        }
    }

    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.rng >> 33
    }

    /// 1 to 50 ms later, in order: a stream.
    fn send(&mut self, letter: Letter) {
        let at = self.now + MS + self.random() % 49 * MS;
        self.mail.entry(at).or_default().push_back(letter);
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.mail.first_entry()
            && *entry.key() <= self.now
        {
            for letter in entry.remove() {
                match letter {
                    Letter::Word(word) => {
                        let Some(proxy) = self.proxies.iter_mut().find(|proxy| proxy.name == word.member) else {
                            continue;
                        };
                        // A stream keeps its order, and ends with its link.
                        if proxy.linked && proxy.up && word.serial > proxy.serial {
                            proxy.serial = word.serial;
                            match &mut proxy.lease {
                                Some(lease) => lease.renew(word.share, self.now),
                                none => *none = Some(Lease::new(word.share, self.now)),
                            }
                            // It says at once that it knows.
                            let report = Report { serial: word.serial, ..Report::default() };
                            let letter = Letter::Report(Arc::clone(&proxy.name), report);
                            self.send(letter);
                        }
                    }
                    _ if !self.up => {}
                    Letter::Join(name, hold) => assert!(self.grants.join(&name, hold, None, self.now)),
                    Letter::Report(name, report) => self.grants.report(&name, &report, self.now),
                    Letter::Leave(name) => self.grants.leave(&name, self.now),
                }
            }
        }
    }

    fn report(&mut self, index: usize) {
        let (now, up) = (self.now, self.up);
        let proxy = &mut self.proxies[index];
        if !proxy.up || !proxy.linked || !up {
            return;
        }
        if !proxy.joined {
            proxy.joined = true;
            let hold = proxy
                .lease
                .map(|lease| lease.share())
                .map_or(Hold::default(), |share| Hold { rate: share.rate, fallback: share.fallback });
            let letter = Letter::Join(Arc::clone(&proxy.name), hold);
            self.grants_now(letter);
            return;
        }
        let seconds = (now - proxy.since).max(STEP) as f64 / 1e9;
        let report = Report { demand: Some(proxy.wanted / seconds), refused: proxy.refused, serial: proxy.serial };
        (proxy.wanted, proxy.refused, proxy.since) = (0.0, 0.0, now);
        let letter = Letter::Report(Arc::clone(&proxy.name), report);
        self.send(letter);
    }

    /// The first letter of a stream comes before all others.
    fn grants_now(&mut self, letter: Letter) {
        self.mail.entry(self.now).or_default().push_back(letter);
    }

    fn run(&mut self, seconds: u64) -> f64 {
        let (end, before) = (self.now + seconds * SECOND, self.admitted);
        while self.now < end {
            self.now += STEP;
            self.arrive();
            for index in 0..self.proxies.len() {
                let proxy = &mut self.proxies[index];
                if proxy.up {
                    proxy.come += proxy.demand * STEP as f64 / 1e9;
                }
                while proxy.come >= 1.0 {
                    proxy.come -= 1.0;
                    proxy.wanted += 1.0;
                    let taken = proxy.lease.as_mut().is_some_and(|lease| lease.take(self.now).is_ok());
                    self.admitted += u64::from(taken);
                    proxy.refused += f64::from(u8::from(!taken));
                }
                // Each in its own turn.
                if ((self.now + index as u64 * 17 * MS) / STEP * STEP).is_multiple_of(REPORTS) {
                    self.report(index);
                }
            }
            if self.up && self.now.is_multiple_of(DIVIDES) {
                for word in self.grants.divide(self.now) {
                    self.send(Letter::Word(word));
                }
            }
            let allowed = self.rate * self.now as f64 / 1e9 + self.burst;
            self.overshoot = self.overshoot.max(self.admitted as f64 - allowed);
        }
        (self.admitted - before) as f64 / (self.rate * seconds as f64)
    }

    fn demand(&mut self, of: impl Fn(usize) -> f64) {
        self.proxies.iter_mut().enumerate().for_each(|(index, proxy)| proxy.demand = of(index));
    }

    /// The control plane is no longer there; it knows nothing when it comes back.
    fn goes(&mut self) {
        self.up = false;
        self.mail.clear();
        self.proxies.iter_mut().for_each(|proxy| proxy.joined = false);
    }

    fn comes_back(&mut self, fallback: f64) {
        self.up = true;
        self.proxies.iter_mut().for_each(|proxy| proxy.serial = 0);
        self.grants = Grants::new((self.rate, self.burst), fallback, self.now, self.now + 2 * SECOND);
    }

    fn cut(&mut self, index: usize) {
        let proxy = &mut self.proxies[index];
        (proxy.linked, proxy.joined) = (false, false);
        let letter = Letter::Leave(Arc::clone(&proxy.name));
        self.send(letter);
    }
}

#[test]
fn a_hundred_even_proxies_use_the_limit_and_never_pass_it() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    world.demand(|_| 20.0);
    world.run(5);
    let used = world.run(60);
    assert!(used > 0.95 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
}

#[test]
fn uneven_demand_gets_what_it_wants() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    // Ten want it all.
    world.demand(|index| if index < 10 { 500.0 } else { 0.1 });
    world.run(5);
    let used = world.run(60);
    assert!(used > 0.9 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
    // And where there is enough for all, nobody is refused.
    world.demand(|index| if index.is_multiple_of(2) { 12.0 } else { 1.0 });
    world.run(5);
    let used = world.run(60);
    assert!(used > 0.64, "650 of 1000 are wanted");
}

#[test]
fn demand_that_moves_takes_the_limit_along() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    world.run(2);
    let mut used = 0.0;
    for turn in 0..20 {
        world.demand(|index| if index / 5 == turn % 20 { 400.0 } else { 0.0 });
        used += world.run(3) / 20.0;
    }
    assert!(used > 0.8 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
}

#[test]
fn with_the_control_plane_away_shares_stay_and_become_fallbacks() {
    let mut world = World::new(100, 1000.0, 100.0, 0.5);
    world.demand(|index| if index < 20 { 200.0 } else { 20.0 });
    world.run(20);
    world.goes();
    let first = world.run(6);
    let decaying = world.run(24);
    let later = world.run(60);
    assert!(
        first > 0.9 && (0.5..0.75).contains(&decaying) && (0.4..0.52).contains(&later),
        "{first} {decaying} {later}"
    );
    world.comes_back(0.5);
    world.run(10);
    let used = world.run(30);
    assert!(used > 0.9 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
}

#[test]
fn proxies_that_come_and_go_never_pass_the_limit_together() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    world.demand(|_| 30.0);
    (50..100).for_each(|index| world.proxies[index].up = false);
    world.run(10);
    let mut used = 0.0;
    for turn in 0..100_usize {
        let (goes, comes, cut, linked) = (turn % 50, 50 + turn % 50, (turn * 7) % 100, (turn * 7 + 50) % 100);
        world.proxies[comes].up = true;
        // One ends, and another is cut off and goes on with what it has.
        world.proxies[goes].up = !turn.is_multiple_of(3);
        if world.proxies[goes].joined && turn.is_multiple_of(3) {
            world.cut(goes);
            world.proxies[goes].lease = None;
        }
        world.cut(cut);
        (world.proxies[linked].linked, world.proxies[goes].linked) = (true, true);
        used += world.run(2) / 100.0;
    }
    assert!(world.overshoot <= 0.0 && used > 0.6, "{used}, {} beyond", world.overshoot);
}

#[test]
fn what_is_held_before_it_is_known_is_not_handed_out() {
    let (mut grants, name): (_, Arc<str>) = (Grants::new((10.0, 5.0), 0.0, 0, 2 * SECOND), "a".into());
    // It has let in ten a second all the time.
    assert!(grants.join(&name, Hold { rate: 10.0, fallback: 0.0 }, None, SECOND));
    grants.report(&name, &Report { demand: Some(100.0), refused: 90.0, serial: 0 }, SECOND);
    let words = grants.divide(3 * SECOND);
    assert!(words.len() == 1 && words[0].share.credit < 1.0, "{words:?}");
}

#[test]
fn nonsense_takes_nothing_from_others() {
    let (mut grants, name): (_, Arc<str>) = (Grants::new((10.0, 5.0), 1.0, 0, 0), "a".into());
    assert!(grants.join(&name, Hold { rate: f64::NAN, fallback: f64::INFINITY }, None, 0));
    let report = Report { demand: Some(f64::INFINITY), refused: f64::NAN, serial: u64::MAX };
    grants.report(&name, &report, 1);
    let words = grants.divide(2);
    assert!(words.iter().all(|word| word.share.rate <= 10.0 && word.share.credit <= 5.0), "{words:?}");
    // One that never answers is told no more in the end.
    let mut told = 0;
    for turn in 0..1000 {
        grants.report(&name, &Report { serial: 0, ..report }, turn * SECOND);
        told += grants.divide(turn * SECOND).len();
    }
    assert!(told <= super::UNANSWERED);
}

#[test]
fn a_word_that_comes_as_late_as_it_may_is_counted_with() {
    let (mut grants, rate): (_, f64) = (Grants::new((100.0, 10.0), 0.2, 0, 0), 100.0);
    let (slow, other): (Arc<str>, Arc<str>) = ("slow".into(), "other".into());
    assert!(grants.join(&slow, Hold::default(), None, 0));
    grants.report(&slow, &Report { demand: Some(1000.0), ..Report::default() }, 0);
    let word = grants.divide(0).pop().expect("a word");
    // Its stream ends before the word is there; the proxy finds out as late as it may, and takes the word.
    grants.leave(&slow, SECOND);
    let mut lease = Lease::new(word.share, SECOND + super::nanos(outrigger_config::policy::lease::PATIENCE));
    let mut mine = Lease::new(Default::default(), SECOND);
    assert!(grants.join(&other, Hold::default(), None, SECOND));
    for step in 10..1300 {
        let now = step * SECOND / 10;
        // From when it comes until the proxy is forgotten.
        if (70..1200).contains(&step) {
            assert!(lease.rate(now) + mine.rate(now) <= rate * 1.0001, "at {step}: {lease:?} {mine:?}");
        }
        grants.report(&other, &Report { demand: Some(1000.0), refused: 0.0, serial: u64::MAX }, now);
        grants.divide(now).iter().for_each(|word| mine.renew(word.share, now));
        let _ = lease.take(now);
    }
    assert!(mine.rate(130 * SECOND) > 99.0, "and forgotten in the end");
}

#[test]
fn nobody_is_told_to_let_nothing_in_before_there_is_anything_to_divide() {
    let mut grants = Grants::new((10.0, 5.0), 1.0, 0, 2 * SECOND);
    let (new, old): (Arc<str>, Arc<str>) = ("new".into(), "old".into());
    assert!(grants.join(&new, Hold::default(), None, SECOND));
    assert!(grants.join(&old, Hold { rate: 4.0, fallback: 2.0 }, None, SECOND));
    let report = Report { demand: Some(100.0), ..Report::default() };
    for step in 10..20 {
        let now = step * SECOND / 10;
        [&new, &old].iter().for_each(|member| grants.report(member, &report, now));
        let words = grants.divide(now);
        assert!(words.iter().all(|word| word.member == old && word.share.rate > 3.9), "{words:?}");
    }
    let words = grants.divide(2 * SECOND);
    assert!(words.iter().any(|word| word.member == new && word.share.rate > 1.0), "{words:?}");
}

#[test]
fn where_nothing_changes_only_who_asks_is_answered_and_everybody_with_what_it_had() {
    let mut grants = Grants::new((100.0, 10.0), 1.0, 0, 0);
    let names: Vec<Arc<str>> = (0..10).map(|number| format!("{number}").into()).collect();
    let report = Report { demand: Some(4.0), serial: u64::MAX, ..Report::default() };
    for name in &names {
        assert!(grants.join(name, Hold::default(), None, 0));
        grants.report(name, &report, 0);
    }
    let mut shares = BTreeMap::new();
    for turn in 0..20 {
        names.iter().for_each(|name| grants.report(name, &report, turn * SECOND));
        grants.divide(turn * SECOND).into_iter().for_each(|word| {
            shares.insert(word.member, word.share);
        });
    }
    names.iter().for_each(|name| grants.report(name, &report, 20 * SECOND));
    grants.divide(20 * SECOND);
    assert!(!grants.stirred && grants.due == u64::MAX, "nothing is left to do");
    assert!(grants.divide(21 * SECOND).is_empty());
    grants.report(&names[3], &report, 22 * SECOND);
    let words = grants.divide(22 * SECOND);
    assert!(words.len() == 1 && words[0].member == names[3] && words[0].share.rate == shares[&names[3]].rate);
    grants.report(&names[3], &Report { demand: Some(50.0), ..report }, 23 * SECOND);
    assert!(grants.divide(23 * SECOND).len() > 1, "more for one is less for others");
}

#[test]
fn a_limit_is_divided_among_a_bounded_number() {
    let mut grants = Grants::new((100.0, 10.0), 1.0, 0, 0);
    for number in 0..super::MAX_MEMBERS {
        let name = format!("{number}").into();
        assert!(grants.join(&name, Hold::default(), None, 0));
        grants.leave(&name, 0);
    }
    let last: Arc<str> = "last".into();
    assert!(
        !grants.join(&last, Hold::default(), None, SECOND) && grants.join(&"7".into(), Hold::default(), None, SECOND)
    );
    grants.divide(200 * SECOND);
    assert!(grants.join(&last, Hold::default(), None, 201 * SECOND), "those who went are forgotten");
}
