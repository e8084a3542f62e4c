//! Where it is played: several control planes that divide one limit through one Redis, and proxies that go from one to
//! another, while anything goes away, comes back, forgets, or has its clock set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outrigger_config::policy::lease::Lease;

use crate::limits::book::{Answer, Ask, Book};
use crate::limits::grants::{Grants, Hold, Report, Word};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MS;
pub(super) const STEP: u64 = 20 * MS;
pub(super) const RATE: f64 = 200.0;
pub(super) const BURST: f64 = 20.0;
pub(super) const RULE: &str = "all";

/// A control plane.
pub(super) struct Replica {
    nonce: u64,
    grants: Grants,
    pub(super) up: bool,
    /// Until when it cannot reach Redis.
    cut: u64,
}

/// A proxy, and which control plane it talks to.
pub(super) struct Proxy {
    name: Arc<str>,
    lease: Option<(Lease, u64)>,
    pub(super) at: Option<usize>,
    /// Its streams so far: what is said on another is not heard.
    stream: u64,
    serial: u64,
    back: u64,
    pub(super) demand: f64,
    come: f64,
    wanted: f64,
    refused: f64,
    since: u64,
}

enum Letter {
    Join(Hold, u64),
    Report(Report),
    Leave,
    Word(Word, u64),
    Answer(Ask, Answer),
    Write(Vec<u8>, Vec<u8>),
}

/// From or to which proxy or control plane: its number, and its stream or nonce.
type Address = (usize, usize, u64);

pub(super) struct World {
    fallback: f64,
    pub(super) replicas: Vec<Replica>,
    pub(super) proxies: Vec<Proxy>,
    mail: BTreeMap<u64, VecDeque<(Address, Letter)>>,
    pub(super) book: Vec<u8>,
    pub(super) redis_back: u64,
    /// By how much Redis's clock is ahead.
    ahead: i64,
    /// Whether it loses what it is told, or its answers, now and then.
    pub(super) loses: bool,
    pub(super) now: u64,
    admitted: u64,
    /// The most by which what was admitted passed rate x time + burst, and by which all shares together passed the rate.
    pub(super) overshoot: f64,
    pub(super) excess: f64,
    pub(super) rng: fastrand::Rng,
}

impl World {
    pub(super) fn new(replicas: usize, proxies: usize, fallback: f64, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let replica = |nonce| Replica { nonce, grants: Grants::common((RATE, BURST), fallback, 0), up: true, cut: 0 };
        let proxy = |number: usize| Proxy {
            name: format!("shop/web-{number}").into(),
            lease: None,
            at: None,
            stream: 0,
            serial: 0,
            back: 0,
            demand: 0.0,
            come: 0.0,
            wanted: 0.0,
            refused: 0.0,
            since: 0,
        };
        World {
            fallback,
            replicas: (0..replicas).map(|_| replica(rng.u64(1..))).collect(),
            proxies: (0..proxies).map(proxy).collect(),
            mail: BTreeMap::new(),
            book: Vec::new(),
            redis_back: 0,
            ahead: 1_000_000_000,
            loses: false,
            now: 0,
            admitted: 0,
            overshoot: f64::MIN,
            excess: f64::MIN,
            rng,
        }
    }

    fn send(&mut self, to: Address, letter: Letter) {
        // A stream keeps its order: only answers of Redis take their own time.
        let at = self.now + STEP * if matches!(letter, Letter::Answer(..)) { self.rng.u64(0..5) } else { 1 };
        self.mail.entry(at).or_default().push_back((to, letter));
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.mail.first_entry()
            && *entry.key() <= self.now
        {
            for ((replica, proxy, number), letter) in entry.remove() {
                self.take(replica, proxy, number, letter);
            }
        }
    }

    fn take(&mut self, replica: usize, index: usize, number: u64, letter: Letter) {
        let now = self.now;
        if let Letter::Write(old, new) = letter {
            if self.book == old {
                self.book = new;
            }
            return;
        }
        let there = &mut self.replicas[replica];
        if let Letter::Answer(ask, answer) = letter {
            if there.nonce == number && there.up {
                there.grants.answer(&ask, answer, now);
            }
            return;
        }
        let proxy = &mut self.proxies[index];
        if let Letter::Word(word, grantor) = letter {
            if proxy.at == Some(replica) && proxy.stream == number && word.serial > proxy.serial {
                proxy.serial = word.serial;
                match &mut proxy.lease {
                    Some((lease, from)) => {
                        lease.renew(word.share, now);
                        *from = grantor;
                    }
                    none => *none = Some((Lease::new(word.share, now), grantor)),
                }
                let report = Report { serial: word.serial, ..Report::default() };
                self.send((replica, index, number), Letter::Report(report));
            }
            return;
        }
        // Of a stream before the last one only its end is of interest, and not to whom the last one goes.
        let is_last = proxy.stream == number;
        if !there.up || !is_last && (proxy.at == Some(replica) || !matches!(letter, Letter::Leave)) {
            return;
        }
        let name = Arc::clone(&proxy.name);
        match letter {
            Letter::Join(hold, from) => {
                let from = Some(from).filter(|from| *from != 0 && *from != there.nonce);
                assert!(there.grants.join(&name, hold, from, now));
            }
            Letter::Report(report) => there.grants.report(&name, &report, now),
            _ => there.grants.leave(&name, now),
        }
    }

    /// Its stream ends, and it comes back so much later, to whichever control plane there is.
    fn cut(&mut self, index: usize, away: u64) {
        let (now, late) = (self.now, self.rng.u64(0..SECOND));
        let proxy = &mut self.proxies[index];
        if let Some(replica) = proxy.at.take() {
            // The control plane finds out a little later.
            let end = ((replica, index, proxy.stream), Letter::Leave);
            self.mail.entry(now + late).or_default().push_back(end);
        }
        proxy.back = now + late + away.max(STEP);
    }

    fn report(&mut self, index: usize) {
        let now = self.now;
        let proxy = &mut self.proxies[index];
        let Some(replica) = proxy.at else {
            if now < proxy.back {
                return;
            }
            let to = self.rng.usize(0..self.replicas.len());
            if !self.replicas[to].up {
                return;
            }
            let proxy = &mut self.proxies[index];
            proxy.stream += 1;
            (proxy.at, proxy.serial) = (Some(to), 0);
            let hold = |(lease, from): (Lease, u64)| {
                let rate = lease.rate(now);
                (Hold { rate, fallback: lease.share().fallback }, from)
            };
            let (hold, from) = proxy.lease.map(hold).unwrap_or_default();
            let to = (to, index, proxy.stream);
            self.send(to, Letter::Join(hold, from));
            return;
        };
        let seconds = (now - proxy.since).max(STEP) as f64 / 1e9;
        let report = Report { demand: Some(proxy.wanted / seconds), refused: proxy.refused, serial: proxy.serial };
        (proxy.wanted, proxy.refused, proxy.since) = (0.0, 0.0, now);
        let to = (replica, index, proxy.stream);
        self.send(to, Letter::Report(report));
    }

    fn exchange(&mut self, index: usize) {
        let now = self.now;
        let replica = &mut self.replicas[index];
        let nonce = replica.nonce;
        let Some(ask) = replica.grants.ask(now).filter(|_| replica.up) else { return };
        if now < replica.cut || now < self.redis_back {
            return replica.grants.untold(ask);
        }
        let mut book = Book::read(&self.book);
        let micros = (now / 1000).saturating_add_signed(self.ahead * 1_000_000);
        let asks = BTreeMap::from([(RULE.to_owned(), ask.clone())]);
        let answer = book.exchange(nonce, &asks, micros)[RULE];
        match self.rng.u32(0..100) + if self.loses { 0 } else { 100 } {
            // It is written late, or not where another is written before, and nobody knows.
            0..3 => {
                let (late, old) = (now + self.rng.u64(0..3 * SECOND), self.book.clone());
                self.mail.entry(late).or_default().push_back(((0, 0, 0), Letter::Write(old, book.text())));
            }
            // It is written, and nobody knows.
            3..6 => self.book = book.text(),
            _ => {
                self.book = book.text();
                self.send((index, 0, nonce), Letter::Answer(ask, answer));
            }
        }
    }

    pub(super) fn run(&mut self, seconds: u64) -> f64 {
        let (end, before) = (self.now + seconds * SECOND, self.admitted);
        while self.now < end {
            self.step();
        }
        (self.admitted - before) as f64 / (RATE * seconds as f64)
    }

    fn step(&mut self) {
        self.now += STEP;
        self.arrive();
        for index in 0..self.proxies.len() {
            let proxy = &mut self.proxies[index];
            proxy.come += proxy.demand * STEP as f64 / 1e9;
            while proxy.come >= 1.0 {
                proxy.come -= 1.0;
                proxy.wanted += 1.0;
                let taken = proxy.lease.as_mut().is_some_and(|(lease, _)| lease.take(self.now).is_ok());
                self.admitted += u64::from(taken);
                proxy.refused += f64::from(u8::from(!taken));
            }
            if (self.now / STEP + index as u64).is_multiple_of(12) {
                self.report(index);
            }
        }
        for index in 0..self.replicas.len() {
            if self.replicas[index].up && self.now.is_multiple_of(100 * MS) {
                let replica = &mut self.replicas[index];
                let (words, nonce) = (replica.grants.divide(self.now), replica.nonce);
                for word in words {
                    let of = |proxy: &Proxy| proxy.name == word.member;
                    let to = self.proxies.iter().position(of).expect("one of ours");
                    let address = (index, to, self.proxies[to].stream);
                    self.send(address, Letter::Word(word, nonce));
                }
            }
            if (self.now / STEP + 7 * index as u64).is_multiple_of(25) {
                self.exchange(index);
            }
        }
        let allowed = RATE * self.now as f64 / 1e9 + BURST;
        self.overshoot = self.overshoot.max(self.admitted as f64 - allowed);
        let shares = self.proxies.iter().filter_map(|proxy| Some(proxy.lease?.0.rate(self.now)));
        self.excess = self.excess.max(shares.sum::<f64>() - RATE);
    }

    /// Who comes back has a little more than it said by the time it is told again, where its fallback is more than it had.
    pub(super) fn keeps_to_it(&self) -> bool {
        self.overshoot <= 0.0 && self.excess <= RATE / 100.0
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.replicas[index].up = false;
        for proxy in 0..self.proxies.len() {
            if self.proxies[proxy].at == Some(index) {
                self.proxies[proxy].at = None;
                self.proxies[proxy].back = self.now + self.rng.u64(0..2 * SECOND);
            }
        }
    }

    pub(super) fn start(&mut self, index: usize) {
        let grants = Grants::common((RATE, BURST), self.fallback, self.now);
        self.replicas[index] = Replica { nonce: self.rng.u64(1..), grants, up: true, cut: 0 };
    }

    pub(super) fn demand(&mut self, all: f64) {
        let count = self.proxies.len();
        for index in 0..count {
            self.proxies[index].demand = self.rng.f64() * 2.0 * all / count as f64;
        }
    }

    /// Something happens. Redis forgets only where `forgets`; and control planes end, or cannot reach it while others can, only
    /// where not: what was known of those by nobody else is forgotten with it.
    pub(super) fn happen(&mut self, forgets: bool) {
        let (some, one) = (self.rng.usize(0..self.proxies.len()), self.rng.usize(0..self.replicas.len()));
        let while_ = self.rng.u64(1..20) * SECOND;
        match self.rng.u32(0..10) {
            0 | 1 => self.cut(some, 0),
            2 => self.cut(some, while_),
            3 if !forgets => self.replicas[one].cut = self.now + while_,
            4 => self.redis_back = self.now + 4 * while_,
            5 => self.ahead += self.rng.i64(-2000..2000),
            6 => {
                let all = RATE * 4.0 * self.rng.f64();
                self.demand(all);
            }
            _ if forgets => {
                // Away for as long as it takes to be started again.
                self.book.clear();
                self.redis_back = self.redis_back.max(self.now + STEP);
            }
            7 if self.replicas[one].up => self.crash(one),
            _ => {
                let gone = self.replicas.iter().position(|replica| !replica.up);
                gone.into_iter().for_each(|index| self.start(index));
            }
        }
    }
}
