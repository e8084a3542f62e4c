//! What the demo measured and promised, for `--json` and for the last lines on the terminal. Pure.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::stats::{Seen, percent};

/// Callers' success over the whole story, in percent.
const SUCCESS_WANTED: f64 = 99.9;
/// How far the split may be from 90/10, in points.
const SPLIT_TOLERANCE: f64 = 2.0;
/// The canary's share, in percent.
const SPLIT_WANTED: f64 = 10.0;

/// Something the demo says will hold.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Promise {
    /// What.
    pub(crate) name: String,
    /// What was to be seen.
    pub(crate) wanted: String,
    /// What was seen.
    pub(crate) seen: String,
    /// Whether the one is the other.
    pub(crate) kept: bool,
}

/// One step of the story.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Its headline.
    pub(crate) title: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What was measured.
    pub(crate) numbers: Map<String, Value>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether there were sidecars.
    pub(crate) mesh: bool,
    /// Pages asked for in a second.
    pub(crate) rate: u32,
    /// How long the story took, from the first call to the last.
    pub(crate) seconds: f64,
    /// The steps in order.
    pub(crate) steps: Vec<Step>,
    /// The promises in the order in which they were judged.
    pub(crate) promises: Vec<Promise>,
    /// Whether all were kept.
    pub(crate) kept: bool,
    /// Calls of `recommend` counted for the split: v1, v2.
    #[serde(skip)]
    split: (u64, u64),
}

impl Report {
    /// An empty one.
    pub(crate) fn new(mesh: bool, rate: u32) -> Self {
        Report { mesh, rate, seconds: 0.0, steps: Vec::new(), promises: Vec::new(), kept: true, split: (0, 0) }
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self, title: &str) {
        self.steps.push(Step { title: title.to_owned(), seconds: 0.0, numbers: Map::new() });
    }

    /// Ends it.
    pub(crate) fn end(&mut self, seconds: f64) {
        if let Some(step) = self.steps.last_mut() {
            step.seconds = round(seconds, 3);
        }
    }

    /// Notes a number of the present step.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        if let Some(step) = self.steps.last_mut() {
            step.numbers.insert(name.to_owned(), value.into());
        }
    }

    /// Notes what one kind of caller saw.
    pub(crate) fn note_seen(&mut self, name: &str, seen: &Seen) {
        self.note(name, summary(seen));
    }

    /// Counts a stretch of time in which `recommend` was well and its route said 90/10.
    pub(crate) fn count_split(&mut self, seen: &Seen) {
        let (v1, v2) = versions(seen);
        self.split = (self.split.0 + v1, self.split.1 + v2);
    }

    /// Judges a promise.
    pub(crate) fn promise(&mut self, name: &str, wanted: &str, seen: &str, kept: bool) -> Promise {
        let promise = Promise { name: name.into(), wanted: wanted.into(), seen: seen.into(), kept };
        self.promises.push(promise.clone());
        self.kept &= kept;
        promise
    }

    /// Judges what holds over the whole story.
    pub(crate) fn conclude(&mut self, seen: &Seen, seconds: f64) {
        self.seconds = round(seconds, 3);
        self.begin("the whole story");
        self.end(seconds);
        self.note_seen("callers", seen);
        let (v1, v2) = self.split;
        let share = percent(v2, v1 + v2, 0.0);
        self.note("split_calls", v1 + v2);
        self.note("split_v2_percent", round(share, 3));
        let success = seen.success();
        let text = format!("{success:.3} % of {}", grouped(seen.calls()));
        self.promise("callers' success", ">= 99.9 %", &text, seen.calls() > 0 && success >= SUCCESS_WANTED);
        let text = format!("{:.2} / {share:.2} of {}", 100.0 - share, grouped(v1 + v2));
        let kept = v1 + v2 > 0 && (share - SPLIT_WANTED).abs() <= SPLIT_TOLERANCE;
        self.promise("split of recommend", "90 / 10 within 2 points", &text, kept);
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The calls of each version of `recommend`.
pub(crate) fn versions(seen: &Seen) -> (u64, u64) {
    (seen.served_by("recommend-v1"), seen.served_by("recommend-v2"))
}

fn summary(seen: &Seen) -> Value {
    let ms = |share| round(seen.durations.percentile(share).as_secs_f64() * 1e3, 3);
    let (v1, v2) = versions(seen);
    json!({
        "calls": seen.calls(),
        "failed": seen.bad,
        "success_percent": round(seen.success(), 4),
        "p50_ms": ms(0.5),
        "p95_ms": ms(0.95),
        "p99_ms": ms(0.99),
        "statuses": seen.statuses,
        "reasons": seen.reasons,
        "recommend_v1": v1,
        "recommend_v2": v2,
        "served": seen.served,
    })
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Report, grouped};
    use crate::stats::Seen;

    fn seen(good: u64, bad: u64, v1: u64, v2: u64) -> Seen {
        let served = [("recommend-v1".to_owned(), v1), ("recommend-v2".to_owned(), v2)].into();
        Seen { good, bad, served, ..Seen::default() }
    }

    fn kept(seen: &Seen) -> bool {
        let mut report = Report::new(true, 1);
        report.count_split(seen);
        report.conclude(seen, 1.0);
        report.kept
    }

    #[test]
    fn promises_are_kept_to_the_letter() {
        assert!(kept(&seen(9_990, 10, 9_000, 1_000)));
        assert!(!kept(&seen(9_989, 11, 9_000, 1_000)), "one more failure");
        assert!(kept(&seen(10_000, 0, 8_800, 1_200)));
        assert!(!kept(&seen(10_000, 0, 8_790, 1_210)), "more than two points");
        assert!(!kept(&seen(0, 0, 0, 0)), "nothing called is nothing shown");
    }

    #[test]
    fn one_broken_promise_is_enough() {
        let mut report = Report::new(true, 1);
        report.promise("a", "1", "1", true);
        report.promise("b", "1", "2", false);
        report.promise("c", "1", "1", true);
        assert!(!report.kept);
        assert_eq!(serde_json::to_value(&report).expect("JSON")["promises"][1]["kept"], false);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 12_345, 1_234_567].map(grouped), ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
