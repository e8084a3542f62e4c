//! A trace drawn in the terminal: a line each span, its bar where it ran, and below it in words what went wrong.
//!
//! Attempts of one request stand one under the other, counted, so that a retry is seen at a glance. Everything fits the
//! given width; without colour a failed span's bar has another texture. Spans whose parents are not known are drawn as
//! beginnings, and no trace, however malformed, is drawn forever.

use std::collections::{HashMap, HashSet};

use super::text::{Paint, Tone, counted, fit, millis, printable};
use super::words::{explain, explain_retry};
use crate::traces::{Attribute, Call, Kind, Span, SpanId, Status, Trace};

/// The least width that is drawn in.
const MIN_WIDTH: usize = 60;

/// The least width of the bars.
const MIN_BARS: usize = 16;

/// How deep the tree is indented; what is deeper stands as deep.
const MAX_INDENT: usize = 12;

/// Draws a trace in lines of at most `width` characters (60 at least), every line ended.
pub fn render(trace: &Trace, width: usize, colour: bool) -> String {
    let (width, paint) = (width.max(MIN_WIDTH), Paint(colour));
    let rows = rows(trace);
    let mut text = heading(trace, &rows, width, paint);
    let scale = Scale::new(trace, &rows, width);
    for row in &rows {
        text.push_str(&scale.line(row, paint));
        for note in notes(row.span) {
            let room = width.saturating_sub(row.prefix_below.chars().count() + 2);
            text.push_str(&paint.tone(Tone::Dim, &row.prefix_below));
            text.push_str(&paint.tone(note.tone, &format!("  {}", fit(&printable(&note.text), room))));
            text.push('\n');
        }
    }
    if trace.dropped_spans > 0 {
        let more = format!("and {} more, which were not kept", counted_spans(trace.dropped_spans));
        text.push_str(&paint.tone(Tone::Dim, &more));
        text.push('\n');
    }
    text
}

/// A span and its place in the tree.
#[derive(Debug)]
struct Row<'a> {
    span: &'a Span,
    /// The lines of the tree before the label: `│ ├ `.
    prefix: String,
    /// The same for a line below the label, before the span's own children.
    prefix_below: String,
    /// Which attempt of one request it is, and of how many; none for a request that was made once.
    attempt: Option<(usize, usize)>,
}

/// The spans in the order they are drawn.
fn rows<'a>(trace: &'a Trace) -> Vec<Row<'a>> {
    let known: HashSet<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
    let mut children: HashMap<Option<SpanId>, Vec<&Span>> = HashMap::new();
    for span in &trace.spans {
        let parent = span.parent_span_id.filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(span);
    }
    let mut rows = Vec::with_capacity(trace.spans.len());
    let mut drawn = HashSet::new();
    let mut draw = |beginnings: &[&'a Span], rows: &mut Vec<Row<'a>>| {
        let mut stack = siblings(beginnings, "", 0);
        while let Some((depth, row)) = stack.pop() {
            if !drawn.insert(row.span.span_id) {
                continue;
            }
            let below = children.get(&Some(row.span.span_id)).map_or(&[][..], Vec::as_slice);
            stack.extend(siblings(below, &row.prefix_below, depth + 1));
            rows.push(row);
        }
    };
    draw(children.get(&None).map_or(&[][..], Vec::as_slice), &mut rows);
    // Spans that are each other's parents hang from no beginning.
    for span in &trace.spans {
        draw(&[span], &mut rows);
    }
    rows
}

/// Rows of spans with one parent, in reverse, as a stack takes them.
fn siblings<'a>(spans: &[&'a Span], prefix: &str, depth: usize) -> Vec<(usize, Row<'a>)> {
    let attempts = attempts(spans);
    let rows = spans.iter().enumerate().map(|(index, span)| {
        let last = index + 1 == spans.len();
        let (own, below) = match (depth, last) {
            (0, _) => ("", ""),
            (MAX_INDENT.., _) => ("", ""),
            (_, true) => ("└ ", "  "),
            (_, false) => ("├ ", "│ "),
        };
        let row = Row {
            span,
            prefix: format!("{prefix}{own}"),
            prefix_below: format!("{prefix}{below}"),
            attempt: attempts.get(&span.span_id).copied(),
        };
        (depth, row)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.reverse();
    rows
}

/// Which spans are attempts of one request: calls to one service side by side, of which some say they are repetitions.
fn attempts(spans: &[&Span]) -> HashMap<SpanId, (usize, usize)> {
    let mut groups: HashMap<Call<'_>, Vec<&Span>> = HashMap::new();
    for span in spans.iter().filter(|span| span.kind == Kind::Client) {
        groups.entry(span.call()).or_default().push(span);
    }
    let mut attempts = HashMap::new();
    for mut group in groups.into_values() {
        // A new request to the same service begins where a span says it is no repetition.
        group.sort_by_key(|span| (span.start_unix_ns, span.resend_count()));
        let mut request: Vec<&Span> = Vec::new();
        let mut close = |request: &mut Vec<&Span>| {
            let all = request.len();
            let numbered = request.drain(..).enumerate().filter(|_| all > 1);
            attempts.extend(numbered.map(|(index, span)| (span.span_id, (index + 1, all))));
        };
        for span in group {
            if span.resend_count().is_none() {
                close(&mut request);
            }
            request.push(span);
        }
        close(&mut request);
    }
    attempts
}

fn heading(trace: &Trace, rows: &[Row<'_>], width: usize, paint: Paint) -> String {
    let first = rows.first().map(|row| row.span);
    let name = first.map(|span| format!("{} {}", span.service, span.title())).unwrap_or_default();
    let retries = trace.spans.iter().filter(|span| span.resend_count().is_some()).count();
    let (tone, outcome) = match first {
        _ if trace.failed => (Tone::Bad, "failed".to_owned()),
        _ if retries == 1 => (Tone::Good, "succeeded after 1 retry".to_owned()),
        _ if retries > 1 => (Tone::Good, format!("succeeded after {retries} retries")),
        _ if trace.error => (Tone::Warning, "succeeded, though a part of it failed".to_owned()),
        _ => (Tone::Good, "succeeded".to_owned()),
    };
    let facts = format!(
        "{} in {}, {}; trace {}",
        millis(trace.duration_ms),
        counted(trace.services.len(), "service"),
        counted_spans(trace.spans.len() as u64),
        trace.trace_id
    );
    let name = fit(&printable(&name), width.saturating_sub(outcome.chars().count() + 2));
    let (name, outcome) = (paint.tone(Tone::Bold, &name), paint.tone(tone, &outcome));
    format!("{name}  {outcome}\n{}\n\n", paint.tone(Tone::Dim, &fit(&facts, width)))
}

/// Where the columns are, and how time becomes width.
#[derive(Debug)]
struct Scale {
    labels: usize,
    bars: usize,
    took: usize,
    origin_unix_ns: u64,
    total_ms: f64,
}

impl Scale {
    fn new(trace: &Trace, rows: &[Row<'_>], width: usize) -> Self {
        let took = rows.iter().map(|row| millis(row.span.duration_ms).len()).max().unwrap_or(0);
        let longest = rows.iter().map(|row| row.prefix.chars().count() + label(row).chars().count()).max().unwrap_or(0);
        // Between the columns: two spaces, the status in three and two more, two before the time.
        let fixed = 2 + 3 + 2 + 2 + took;
        let labels = longest.min(width.saturating_sub(fixed + MIN_BARS)).min(width / 2 + 4);
        let bars = width.saturating_sub(fixed + labels);
        Scale { labels, bars, took, origin_unix_ns: trace.start_unix_ns, total_ms: trace.duration_ms.max(1e-6) }
    }

    fn line(&self, row: &Row<'_>, paint: Paint) -> String {
        let span = row.span;
        let room = self.labels.saturating_sub(row.prefix.chars().count());
        let label = fit(&label(row), room);
        let pad = " ".repeat(room - label.chars().count());
        let tone = match (failed(span), row.attempt) {
            (true, _) => Tone::Bad,
            (false, Some((number, _))) if number > 1 => Tone::Good,
            (false, _) => Tone::Plain,
        };
        let code = fit(&code(span), 3);
        let status = paint.tone(tone, &format!("{code:>3}"));
        let (before, bar, after) = self.bar(span);
        let bar = paint.tone(if tone == Tone::Plain { Tone::Good } else { tone }, &bar);
        let took = millis(span.duration_ms);
        let prefix = paint.tone(Tone::Dim, &row.prefix);
        let label = paint.tone(tone, &label);
        format!("{prefix}{label}{pad}  {status}  {before}{bar}{after}  {took:>width$}\n", width = self.took)
    }

    /// The space before the bar, the bar, and the space after it. A bar has at least one character.
    fn bar(&self, span: &Span) -> (String, String, String) {
        let cells = |ms: f64| ((ms / self.total_ms) * self.bars as f64).clamp(0.0, self.bars as f64);
        let start = span.start_unix_ns.saturating_sub(self.origin_unix_ns) as f64 / 1e6;
        // Rounded to whole characters, inside the bars whatever the span says of itself.
        let before = (cells(start).round() as usize).min(self.bars - 1);
        let end = (cells(span.end_ms(self.origin_unix_ns)).round() as usize).clamp(before + 1, self.bars);
        let texture = if failed(span) { "▒" } else { "█" };
        (" ".repeat(before), texture.repeat(end - before), " ".repeat(self.bars - end))
    }
}

/// `storefront → catalog  attempt 2/2  GET /products` for a call, `catalog  GET /products` for its answer.
fn label(row: &Row<'_>) -> String {
    let span = row.span;
    let to = match (span.kind, span.attributes.get("server.address")) {
        (Kind::Client, Some(to)) => format!(" → {to}"),
        _ => String::new(),
    };
    let attempt = row.attempt.map(|(number, all)| format!("  attempt {number}/{all}")).unwrap_or_default();
    printable(&format!("{}{to}{attempt}  {}", span.service, span.title())).into_owned()
}

fn code(span: &Span) -> String {
    let attribute = |key| span.attributes.get(key).map(ToString::to_string);
    match (attribute("http.response.status_code"), span.status) {
        (Some(code), _) => printable(&code).into_owned(),
        (None, Status::Error) => "err".to_owned(),
        (None, Status::Unset | Status::Ok) => "ok".to_owned(),
    }
}

fn failed(span: &Span) -> bool {
    span.status == Status::Error
}

/// A line below a span.
struct Note {
    tone: Tone,
    text: String,
}

/// What there is to say of a span in words.
fn notes(span: &Span) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(reason) = span.attributes.text("outrigger.retry.reason") {
        notes.push(Note { tone: Tone::Warning, text: explain_retry(reason) });
    }
    let grpc = span.attributes.text("rpc.response.status_code").filter(|status| *status != "OK");
    // Where there is no better word the convention puts the answer's status here, which is said elsewhere.
    let reason = span.attributes.text("error.type").filter(|word| word.parse::<u16>().is_err() && Some(*word) != grpc);
    if let Some(reason) = reason {
        let sentence = explain(reason).map(|sentence| format!(": {sentence}")).unwrap_or_default();
        let peer = span.attributes.text("network.peer.address").map(|address| {
            let port = match span.attributes.get("network.peer.port") {
                Some(Attribute::Int(port)) => format!(":{port}"),
                _ => String::new(),
            };
            format!(" ({address}{port})")
        });
        let tone = if failed(span) { Tone::Bad } else { Tone::Warning };
        notes.push(Note { tone, text: format!("{reason}{sentence}{}", peer.unwrap_or_default()) });
    }
    if let Some(status) = grpc {
        notes.push(Note { tone: Tone::Bad, text: format!("gRPC status {status}") });
    }
    // Policies in Observe decide and do not act.
    if let Some(would) = span.attributes.text("outrigger.would") {
        notes.push(Note { tone: Tone::Warning, text: format!("only observed, would have acted: {would}") });
    }
    if let Some(said) = span.attributes.text("otel.status_description") {
        notes.push(Note { tone: Tone::Dim, text: said.to_owned() });
    }
    notes
}

fn counted_spans(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "span")
}

#[cfg(test)]
mod tests;
