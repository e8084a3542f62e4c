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

/// What one push of a proxy covers.
const PUSHED_EVERY: Duration = Duration::from_secs(1);

/// The most codes, and the most reasons, that are kept apart in one second of one edge; further ones are `other`.
const MAX_KINDS: usize = 8;

/// The number that stands for all other codes, or reasons.
const OTHERS: u8 = 0;

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

/// The reasons that proxies give. They are known from the start, so that made-up ones cannot take their places.
pub const REASONS: [&str; 22] = [
    "destination_unavailable",
    "destination_not_found",
    "connection_refused",
    "connection_timeout",
    "connection_terminated",
    "connection_limit_reached",
    "http_request_denied",
    "http_response_timeout",
    "http_response_incomplete",
    "http_protocol_error",
    "proxy_configuration_error",
    "proxy_internal_error",
    "rate_limited",
    "not_cached",
    "rate_limit_unavailable",
    "retries_exhausted",
    "retry_budget_exhausted",
    "breaker_requests",
    "breaker_pending",
    "breaker_connections",
    "no_healthy_endpoint",
    "downstream_reset",
];

/// Reasons by number, bounded, so that a slot keeps a byte where it would keep a string.
#[derive(Debug)]
pub(super) struct Words(Vec<Box<str>>);

impl Default for Words {
    fn default() -> Self {
        Words(std::iter::once(OTHER).chain(REASONS).map(Box::from).collect())
    }
}

impl Words {
    /// The number of a word; [`OTHERS`] is `other`.
    fn number(&mut self, word: &str) -> u8 {
        let word = &word[..word.floor_char_boundary(MAX_WORD)];
        if let Some(known) = self.0.iter().position(|known| **known == *word) {
            return known as u8;
        }
        if self.0.len() >= MAX_WORDS {
            return OTHERS;
        }
        self.0.push(word.into());
        (self.0.len() - 1) as u8
    }

    fn word(&self, number: u8) -> &str {
        self.0.get(usize::from(number)).map_or(OTHER, |word| word)
    }
}

/// One second of traffic. Counts stop at `u32::MAX` rather than wrap: what an attacker can fill, an edge's whole ring,
/// stays below 24 KiB.
#[derive(Debug, Default)]
struct Slot {
    second: u64,
    latency: Histogram,
    failures: u32,
    retries: u32,
    codes: Vec<(u16, u32)>,
    reasons: Vec<(u8, u32)>,
    retry_reasons: Vec<(u8, u32)>,
    observed: Vec<(u8, u32)>,
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
    pub(super) observed: BTreeMap<String, u64>,
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
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        let slot = self.slot(at);
        slot.latency.add(answers.bounds, answers.counts);
        if !answers.succeeded() {
            slot.failures = slot.failures.saturating_add(requests);
        }
        if let Some(code) = answers.code {
            count(&mut slot.codes, code, requests);
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
        let retries = u32::try_from(retries).unwrap_or(u32::MAX);
        let slot = self.slot(at);
        slot.retries = slot.retries.saturating_add(retries);
        if !reason.is_empty() {
            count(&mut slot.retry_reasons, words.number(reason), retries);
        }
    }

    pub(super) fn record_observed(&mut self, what: &str, requests: u64, words: &mut Words, at: Duration) {
        if requests == 0 {
            return;
        }
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        count(&mut self.slot(at).observed, words.number(what), requests);
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
        // The first push told of the second before it.
        let covered = at.saturating_sub(self.first) + PUSHED_EVERY;
        let seconds = at.saturating_sub(Duration::from_secs(from)).min(covered);
        sum.seconds = sum.seconds.max(seconds.as_secs_f64()).max(1.0);
        for slot in self.slots.iter().filter(|slot| slot.second >= from) {
            sum.latency.merge(&slot.latency);
            sum.failures = sum.failures.saturating_add(slot.failures.into());
            sum.retries = sum.retries.saturating_add(slot.retries.into());
            for &(code, more) in &slot.codes {
                let code = if code == u16::from(OTHERS) { OTHER.to_owned() } else { code.to_string() };
                add(&mut sum.codes, code, more);
            }
            for &(reason, more) in &slot.reasons {
                add(&mut sum.reasons, words.word(reason).to_owned(), more);
            }
            for &(reason, more) in &slot.retry_reasons {
                add(&mut sum.retry_reasons, words.word(reason).to_owned(), more);
            }
            for &(what, more) in &slot.observed {
                add(&mut sum.observed, words.word(what).to_owned(), more);
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

fn count<K: PartialEq + From<u8>>(counts: &mut Vec<(K, u32)>, mut key: K, more: u32) {
    // One place is kept for all the others.
    if counts.len() + 1 >= MAX_KINDS && !counts.iter().any(|(known, _)| *known == key) {
        key = OTHERS.into();
    }
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count = count.saturating_add(more),
        None => counts.push((key, more)),
    }
}

fn add(counts: &mut BTreeMap<String, u64>, key: String, more: u32) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more.into());
}
