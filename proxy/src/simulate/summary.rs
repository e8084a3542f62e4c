//! What a rehearsal says in sum: answers by reason, attempts by endpoint, and what policies in Observe would have done.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use outrigger_config::record::Record;
use serde::Serialize;

use super::Played;

/// A rehearsal in sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Requests.
    pub requests: usize,
    /// Attempts at endpoints.
    pub attempts: usize,
    /// How long it took in its own time, milliseconds.
    pub lasted_ms: f64,
    /// Where chance came from.
    pub seed: u64,
    /// Answers by status and reason.
    pub answers: Vec<Answers>,
    /// Attempts by endpoint.
    pub endpoints: Vec<Endpoints>,
    /// Requests by route.
    pub routes: BTreeMap<String, usize>,
    /// What policies in Observe would have done to how many requests.
    pub would: BTreeMap<String, usize>,
}

/// Answers that are alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answers {
    /// The status; the gRPC status where there is one.
    pub status: String,
    /// Why it was not served.
    pub reason: String,
    /// How many.
    pub requests: usize,
    /// Half of them took no longer, milliseconds.
    pub p50_ms: f64,
    /// Nearly all took no longer.
    pub p99_ms: f64,
}

/// Attempts at one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Endpoints {
    /// Its destination.
    pub destination: String,
    /// Its address.
    pub endpoint: String,
    /// How many.
    pub attempts: usize,
    /// How many failed: no answer, or 5xx.
    pub failed: usize,
}

impl Summary {
    /// The sum of what was played.
    pub fn new(played: &Played, seed: u64) -> Self {
        let mut answers: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
        let mut endpoints: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
        let mut sum = Summary { requests: played.records.len(), seed, ..Summary::default() };
        sum.lasted_ms = played.lasted.as_secs_f64() * 1e3;
        for record in &played.records {
            let reason = record.answer.reason.clone().unwrap_or_default();
            answers.entry((status(record), reason)).or_default().push(record.took_ms);
            let destination = record.destination.as_ref().map(|one| one.name.clone()).unwrap_or_default();
            for attempt in &record.attempts {
                let seen = endpoints.entry((destination.clone(), attempt.endpoint.clone())).or_default();
                seen.0 += 1;
                seen.1 += usize::from(attempt.status == 0 || attempt.status >= 500);
            }
            sum.attempts += record.attempts.len();
            let route = record.route.as_ref().map_or_else(|| "(none)".to_owned(), |route| route.name.clone());
            *sum.routes.entry(route).or_default() += 1;
            for would in &record.would {
                *sum.would.entry(would.clone()).or_default() += 1;
            }
        }
        sum.answers = answers
            .into_iter()
            .map(|((status, reason), mut took)| {
                took.sort_by(f64::total_cmp);
                let at = |part: f64| took[((took.len() as f64 * part).ceil() as usize).clamp(1, took.len()) - 1];
                Answers { status, reason, requests: took.len(), p50_ms: at(0.5), p99_ms: at(0.99) }
            })
            .collect();
        sum.endpoints = endpoints
            .into_iter()
            .map(|((destination, endpoint), (attempts, failed))| Endpoints { destination, endpoint, attempts, failed })
            .collect();
        sum
    }

    /// As tables for people.
    pub fn table(&self) -> String {
        let share = |part: usize, of: usize| format!("{:.1} %", part as f64 * 100.0 / of.max(1) as f64);
        let each = self.attempts as f64 / self.requests.max(1) as f64;
        let mut text = format!(
            "{} requests in {:.1} s, {} attempts ({each:.2} a request), seed {}\n",
            self.requests,
            self.lasted_ms / 1e3,
            self.attempts,
            self.seed
        );
        let answers = self.answers.iter().map(|one| {
            let reason = if one.reason.is_empty() { "-" } else { &one.reason };
            let (p50, p99) = (format!("{:.1} ms", one.p50_ms), format!("{:.1} ms", one.p99_ms));
            let share = share(one.requests, self.requests);
            vec![one.status.clone(), reason.to_owned(), one.requests.to_string(), share, p50, p99]
        });
        table(&mut text, &["ANSWER", "REASON", "REQUESTS", "SHARE", "P50", "P99"], answers);
        let endpoints = self.endpoints.iter().map(|one| {
            let share = share(one.attempts, self.attempts);
            let (attempts, failed) = (one.attempts.to_string(), one.failed.to_string());
            vec![one.destination.clone(), one.endpoint.clone(), attempts, share, failed]
        });
        table(&mut text, &["DESTINATION", "ENDPOINT", "ATTEMPTS", "SHARE", "FAILED"], endpoints);
        let routes = self.routes.iter().map(|(route, count)| vec![route.clone(), count.to_string()]);
        table(&mut text, &["ROUTE", "REQUESTS"], routes);
        let would = self.would.iter().map(|(what, count)| vec![format!("would {what}"), count.to_string()]);
        table(&mut text, &["OBSERVED", "REQUESTS"], would);
        text
    }
}

/// The status that a caller sees.
pub(super) fn status(record: &Record) -> String {
    match (&record.answer.grpc, record.answer.status) {
        (Some(grpc), _) => grpc.clone(),
        (None, 0) => "none".to_owned(),
        (None, status) => status.to_string(),
    }
}

/// Adds a table of aligned columns, unless it has no rows.
fn table(text: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    if all.len() == 1 {
        return;
    }
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    text.push('\n');
    for row in &all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
