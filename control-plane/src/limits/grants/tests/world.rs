//! One limit, its control plane, and proxies on a network that takes its time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outrigger_config::policy::lease::Lease;

use super::super::{Grants, Hold, Report, Word};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MS;
/// How often a proxy reports, and how often the limit is divided.
pub(super) const REPORTS: u64 = 250 * MS;
pub(super) const DIVIDES: u64 = 100 * MS;
pub(super) const STEP: u64 = 10 * MS;

/// A proxy, and what it knows.
pub(super) struct Proxy {
    pub(super) name: Arc<str>,
    pub(super) lease: Option<Lease>,
    pub(super) serial: u64,
    /// Requests a second that come to it, and the part of one that has come.
    pub(super) demand: f64,
    pub(super) come: f64,
    pub(super) wanted: f64,
    pub(super) refused: f64,
    pub(super) since: u64,
    /// Whether it runs, and whether the control plane can be reached.
    pub(super) up: bool,
    pub(super) linked: bool,
    pub(super) joined: bool,
}

/// What is under way, by when it arrives.
pub(super) enum Letter {
    Join(Arc<str>, Hold),
    Report(Arc<str>, Report),
    Leave(Arc<str>),
    Word(Word),
}

pub(super) struct World {
    pub(super) rate: f64,
    pub(super) burst: f64,
    pub(super) grants: Grants,
    pub(super) proxies: Vec<Proxy>,
    pub(super) mail: BTreeMap<u64, VecDeque<Letter>>,
    pub(super) now: u64,
    pub(super) admitted: u64,
    /// Whether the control plane is there.
    pub(super) up: bool,
    /// The most by which what was admitted passed rate x time + burst.
    pub(super) overshoot: f64,
    pub(super) rng: u64,
}

impl World {
    pub(super) fn new(count: usize, rate: f64, burst: f64, fallback: f64) -> Self {
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

    pub(super) fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.rng >> 33
    }

    /// 1 to 50 ms later, in order: a stream.
    pub(super) fn send(&mut self, letter: Letter) {
        let at = self.now + MS + self.random() % 49 * MS;
        self.mail.entry(at).or_default().push_back(letter);
    }

    pub(super) fn arrive(&mut self) {
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

    pub(super) fn report(&mut self, index: usize) {
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
    pub(super) fn grants_now(&mut self, letter: Letter) {
        self.mail.entry(self.now).or_default().push_back(letter);
    }

    pub(super) fn run(&mut self, seconds: u64) -> f64 {
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

    pub(super) fn demand(&mut self, of: impl Fn(usize) -> f64) {
        self.proxies.iter_mut().enumerate().for_each(|(index, proxy)| proxy.demand = of(index));
    }

    /// The control plane is no longer there; it knows nothing when it comes back.
    pub(super) fn goes(&mut self) {
        self.up = false;
        self.mail.clear();
        self.proxies.iter_mut().for_each(|proxy| proxy.joined = false);
    }

    pub(super) fn comes_back(&mut self, fallback: f64) {
        self.up = true;
        self.proxies.iter_mut().for_each(|proxy| proxy.serial = 0);
        self.grants = Grants::new((self.rate, self.burst), fallback, self.now, self.now + 2 * SECOND);
    }

    pub(super) fn cut(&mut self, index: usize) {
        let proxy = &mut self.proxies[index];
        (proxy.linked, proxy.joined) = (false, false);
        let letter = Letter::Leave(Arc::clone(&proxy.name));
        self.send(letter);
    }
}
