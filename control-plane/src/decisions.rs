//! How proxies decided the requests that failed, were tried again or were slow: their records, kept in memory.
//!
//! Bounded in bytes; the oldest goes of the [`Cause`] that has most beyond its share. A record is kept as it came, and is
//! known to be one. Whoever repeats a record for want of an answer is shown once.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};

use outrigger_config::record::{Cause, Record};
use serde::Serialize;

use crate::traces::TraceId;

/// The memory that records may take, bytes.
pub const CAPACITY: usize = 16 << 20;

/// The most records of one trace that are answered with.
pub const MAX_OF_TRACE: usize = 500;

/// The records.
#[derive(Debug, Default)]
pub struct Decisions {
    /// By their cause; of each the oldest first.
    kept: [Queue; Cause::ALL.len()],
    received: u64,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    /// How many came before it.
    number: u64,
    trace: TraceId,
    service: Box<str>,
    json: Box<str>,
}

/// `GET /api/v1/explain` and `GET /api/v1/explain/{trace_id}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionList {
    /// The records: of a list the newest first, of a trace the first request first.
    pub records: Vec<Record>,
}

impl Decisions {
    /// Takes in a record; false for what is none.
    pub fn record(&mut self, json: &str) -> bool {
        let Some(record) = Record::read(json.as_bytes()) else { return false };
        let Some(trace) = TraceId::parse(&record.trace) else { return false };
        let queue = &mut self.kept[Cause::of(&record) as usize];
        let kept = Kept { number: self.received, trace, service: record.service.into(), json: json.into() };
        queue.bytes += kept.weight();
        queue.records.push_back(kept);
        self.received += 1;
        while self.bytes() > CAPACITY {
            let queue = &mut self.kept[Cause::most_beyond(self.kept.each_ref().map(|queue| queue.bytes)) as usize];
            let Some(oldest) = queue.records.pop_front() else { break };
            queue.bytes -= oldest.weight();
        }
        true
    }

    fn bytes(&self) -> usize {
        self.kept.iter().map(|queue| queue.bytes).sum()
    }

    /// Those that are wanted, the newest first.
    fn found(&self, wanted: impl Fn(&Kept) -> bool) -> Vec<&Kept> {
        let all = self.kept.iter().flat_map(|queue| &queue.records);
        let mut found: Vec<_> = all.filter(|kept| wanted(kept)).collect();
        found.sort_unstable_by_key(|kept| Reverse(kept.number));
        found
    }

    /// The records of a trace, in the order in which the requests began; of very many the newest.
    pub fn of(&self, trace: TraceId) -> DecisionList {
        let mut seen: HashSet<&str> = HashSet::new();
        let newest = self.found(|kept| kept.trace == trace).into_iter().filter(|kept| seen.insert(&kept.json));
        let newest = newest.take(MAX_OF_TRACE);
        let mut records: Vec<Record> = newest.filter_map(|kept| Record::read(kept.json.as_bytes())).collect();
        records.sort_by_key(|record| record.at_unix_ms);
        DecisionList { records }
    }

    /// The newest records, of one service's proxies if it is named.
    pub fn newest(&self, service: Option<&str>, limit: usize) -> DecisionList {
        let mut seen: HashSet<&str> = HashSet::new();
        let of = self.found(|kept| service.is_none_or(|service| *kept.service == *service));
        let newest = of.into_iter().filter(|kept| seen.insert(&kept.json)).take(limit);
        DecisionList { records: newest.filter_map(|kept| Record::read(kept.json.as_bytes())).collect() }
    }

    /// How many are kept, the memory they take in bytes, and how many came since the start.
    pub fn counts(&self) -> (usize, usize, u64) {
        (self.kept.iter().map(|queue| queue.records.len()).sum(), self.bytes(), self.received)
    }
}

impl Kept {
    fn weight(&self) -> usize {
        // An allocation costs about as much as two pointers beside what it holds.
        size_of::<Kept>() + 32 + self.json.len() + self.service.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, Decisions, MAX_OF_TRACE};
    use crate::traces::TraceId;

    fn json(trace: u8, at: u64, service: &str, filler: usize) -> String {
        let path = "x".repeat(filler);
        format!("{{\"trace\":\"{trace:032x}\",\"at_unix_ms\":{at},\"service\":\"{service}\",\"path\":\"/{path}\"}}")
    }

    #[test]
    fn records_are_found_by_trace_and_by_service() {
        let mut decisions = Decisions::default();
        for (trace, at, service) in [(1, 20, "cart"), (2, 10, "web"), (1, 5, "web"), (1, 5, "web")] {
            assert!(decisions.record(&json(trace, at, service, 0)));
        }
        assert!(!decisions.record("{}") && !decisions.record(&json(0, 1, "web", 0)), "no trace");
        let of = |trace: u8| decisions.of(TraceId::parse(&format!("{trace:032x}")).expect("an id")).records;
        let times = |records: Vec<outrigger_config::record::Record>| {
            records.iter().map(|record| record.at_unix_ms).collect::<Vec<_>>()
        };
        assert_eq!(times(of(1)), [5, 20], "the repeated one once");
        assert!(of(3).is_empty());
        assert_eq!(times(decisions.newest(None, 2).records), [5, 10]);
        assert_eq!(times(decisions.newest(Some("cart"), 9).records), [20]);
        assert_eq!(decisions.counts().2, 4);
    }

    #[test]
    fn a_trace_of_very_many_records_is_answered_in_part_and_soon() {
        let mut decisions = Decisions::default();
        for at in 0..50_000 {
            assert!(decisions.record(&json(1, at, "web", 0)));
        }
        let start = std::time::Instant::now();
        let found = decisions.of(TraceId::parse(&format!("{:032x}", 1)).expect("an id")).records;
        assert_eq!(found.len(), MAX_OF_TRACE);
        assert_eq!(found.last().map(|record| record.at_unix_ms), Some(49_999), "the newest of them");
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn a_flood_of_slow_ones_leaves_those_that_failed() {
        let mut decisions = Decisions::default();
        let json = |cause: &str, at| json(1, at, cause, 10_000).replacen('{', &format!("{{\"kept\":[\"{cause}\"],"), 1);
        (0..100).for_each(|at| assert!(decisions.record(&json("failed", at))));
        (0..4000).for_each(|at| assert!(decisions.record(&json("slow", at))));
        let count = |cause| decisions.newest(Some(cause), 9999).records.len();
        assert_eq!(count("failed"), 100);
        assert!(count("slow") > 1000, "{}", count("slow"));
        assert_eq!(decisions.newest(None, 1).records[0].at_unix_ms, 3999);
        assert!(decisions.counts().1 <= CAPACITY);
    }

    #[test]
    fn memory_is_bounded() {
        let mut decisions = Decisions::default();
        for at in 0..4000 {
            assert!(decisions.record(&json(1, at, "web", 10_000)));
        }
        let (kept, bytes, received) = decisions.counts();
        assert!(bytes <= CAPACITY && kept > 1000 && received == 4000, "{kept} {bytes}");
    }
}
