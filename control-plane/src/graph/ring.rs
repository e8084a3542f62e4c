//! One edge's last minute, in slots of a second.
//!
//! A slot exists only for a second that had traffic, so a quiet edge costs a few hundred bytes. Numbers are filed under
//! the second in which they arrive, not the one they carry: clocks of machines differ, and what is pushed every second
//! is at most a second old.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::OTHER;
use super::histogram::Histogram;

/// The most distinct reasons that are kept apart in the whole graph; further ones are `other`.
pub const MAX_WORDS: usize = 64;

/// How long traffic is remembered, in seconds: the longest window, and the second that is not over yet.
const REMEMBERED: u64 = 60;

/// The most status codes that are kept apart in one second of one edge; further ones are counted as 0.
const MAX_CODES: usize = 16;

/// The longest reason that is kept, in bytes.
const MAX_WORD: usize = 64;

/// The gRPC statuses that are failures of the server, as OpenTelemetry has it; the others are the caller's affair.
const GRPC_FAILURES: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// Requests that had the same outcome, by latency.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// The upper bounds of the latency buckets, in seconds.
    pub bounds: &'a [f64],
    /// Requests in each bucket: one element more than there are bounds.
    pub counts: &'a [u64],
    /// The HTTP status they were answered with, if they were answered.
    pub code: Option<u16>,
    /// The gRPC status they were answered with, as `UNAVAILABLE`, if they were gRPC.
    pub grpc: Option<&'a str>,
    /// Why a proxy answered in the destination's place, or why the answer broke off.
    pub reason: Option<&'a str>,
}

impl Answers<'_> {
    /// Whether they count as success; the module's documentation says why so.
    fn succeeded(&self) -> bool {
        match (self.grpc, self.code) {
            (Some(status), _) if status != "OK" => !GRPC_FAILURES.contains(&status),
            (_, Some(400..500)) => true,
            (_, Some(code)) => code < 500 && self.reason.is_none(),
            (_, None) => self.reason.is_none(),
        }
    }
}

/// Reasons by number, bounded, so that a slot keeps a byte where it would keep a string.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<Box<str>>);

impl Words {
    /// The number of a word; 0 is `other`.
    fn number(&mut self, word: &str) -> u8 {
        if self.0.is_empty() {
            self.0.push(OTHER.into());
        }
        let word = &word[..word.floor_char_boundary(MAX_WORD)];
        if let Some(known) = self.0.iter().position(|known| **known == *word) {
            return known as u8;
        }
        if self.0.len() >= MAX_WORDS {
            return 0;
        }
        self.0.push(word.into());
        (self.0.len() - 1) as u8
    }

    fn word(&self, number: u8) -> &str {
        self.0.get(usize::from(number)).map_or(OTHER, |word| word)
    }
}

/// One second of traffic.
#[derive(Debug, Default)]
struct Slot {
    second: u64,
    latency: Histogram,
    failures: u64,
    retries: u64,
    codes: Vec<(u16, u64)>,
    reasons: Vec<(u8, u64)>,
    retry_reasons: Vec<(u8, u64)>,
}

/// The slots of one edge, oldest first.
#[derive(Debug)]
pub(super) struct Ring {
    first: Duration,
    slots: VecDeque<Slot>,
}

/// What slots add up to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) latency: Histogram,
    pub(super) failures: u64,
    pub(super) retries: u64,
    pub(super) codes: BTreeMap<String, u64>,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) retry_reasons: BTreeMap<String, u64>,
    /// The seconds the sum covers, at least one.
    pub(super) seconds: f64,
}

impl Ring {
    pub(super) fn new(at: Duration) -> Self {
        Ring { first: at, slots: VecDeque::new() }
    }

    pub(super) fn record(&mut self, answers: &Answers<'_>, words: &mut Words, at: Duration) {
        let requests = answers.counts.iter().fold(0_u64, |sum, &count| sum.saturating_add(count));
        if requests == 0 {
            return;
        }
        let slot = self.slot(at);
        slot.latency.add(answers.bounds, answers.counts);
        if !answers.succeeded() {
            slot.failures = slot.failures.saturating_add(requests);
        }
        if let Some(code) = answers.code {
            let room = slot.codes.len() < MAX_CODES || slot.codes.iter().any(|(known, _)| *known == code);
            count(&mut slot.codes, if room { code } else { 0 }, requests);
        }
        match (answers.reason, answers.grpc) {
            (Some(reason), _) => count(&mut slot.reasons, words.number(reason), requests),
            (None, Some(status)) if status != "OK" => {
                count(&mut slot.reasons, words.number(&format!("grpc_{status}")), requests);
            }
            _ => {}
        }
    }

    pub(super) fn record_retries(&mut self, reason: &str, retries: u64, words: &mut Words, at: Duration) {
        if retries == 0 {
            return;
        }
        let slot = self.slot(at);
        slot.retries = slot.retries.saturating_add(retries);
        if !reason.is_empty() {
            count(&mut slot.retry_reasons, words.number(reason), retries);
        }
    }

    /// Drops slots that no window reaches; false when none is left.
    pub(super) fn expire(&mut self, at: Duration) -> bool {
        while self.slots.front().is_some_and(|slot| slot.second + REMEMBERED < at.as_secs()) {
            self.slots.pop_front();
        }
        !self.slots.is_empty()
    }

    /// Adds the last `window` seconds, and the part of a second that runs, to `sum`.
    pub(super) fn add_to(&self, sum: &mut Sum, window: u64, words: &Words, at: Duration) {
        let from = at.as_secs().saturating_sub(window);
        let since = Duration::from_secs(from).max(self.first);
        sum.seconds = sum.seconds.max(at.saturating_sub(since).as_secs_f64()).max(1.0);
        for slot in self.slots.iter().filter(|slot| slot.second >= from) {
            sum.latency.merge(&slot.latency);
            sum.failures = sum.failures.saturating_add(slot.failures);
            sum.retries = sum.retries.saturating_add(slot.retries);
            for &(code, more) in &slot.codes {
                let code = if code == 0 { OTHER.to_owned() } else { code.to_string() };
                add(&mut sum.codes, code, more);
            }
            for &(reason, more) in &slot.reasons {
                add(&mut sum.reasons, words.word(reason).to_owned(), more);
            }
            for &(reason, more) in &slot.retry_reasons {
                add(&mut sum.retry_reasons, words.word(reason).to_owned(), more);
            }
        }
    }

    /// The slot of the second that runs. Time never runs backwards here, so it is the last one or a new one.
    fn slot(&mut self, at: Duration) -> &mut Slot {
        self.expire(at);
        let second = at.as_secs();
        match self.slots.back().map(|slot| slot.second) {
            Some(last) if last >= second => {}
            _ => self.slots.push_back(Slot { second, ..Slot::default() }),
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }
}

fn count<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K, more: u64) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count = count.saturating_add(more),
        None => counts.push((key, more)),
    }
}

fn add(counts: &mut BTreeMap<String, u64>, key: String, more: u64) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more);
}
