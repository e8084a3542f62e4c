//! Logs: the process's own, for people, on stderr; and one line of JSON for each request on stdout, where a listener
//! asks for it (`accessLog`).
//!
//! The filter is changed at run time through [`Filter`]. Access log lines pass a bounded queue to a thread of their
//! own, because a pipe that nobody reads must not stop a worker: what does not fit is dropped and counted.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::telemetry::cache::CacheResult;
use crate::telemetry::span::SpanRecord;
use crate::telemetry::would::{Would, grpc_name};

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

static LINES: OnceLock<Option<SyncSender<String>>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Which log lines are written; clones change the same filter.
#[derive(Clone, Debug)]
pub struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// Replaces the filter: a level, or `target=level` after commas. The error says what is wrong with it.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let filter = parse(filter)?;
        match self.0.reload(filter) {
            // Somebody else's log is in force; there is nothing here to change.
            Err(error) if error.is_dropped() => Ok(()),
            changed => changed.map_err(|error| error.to_string()),
        }
    }

    /// The filter in force.
    pub fn get(&self) -> String {
        self.0.with_current(EnvFilter::to_string).unwrap_or_default()
    }
}

/// Reads a filter.
pub fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::from_str(filter)
        .map_err(|error| format!("{filter:?} is not a log filter ({error}); try info, or info,outrigger_proxy=debug"))
}

/// Begins to log to stderr. Where the process logs already (tests), the filter changes nothing.
pub fn init(filter: EnvFilter, format: Format) -> Filter {
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let _ = match format {
        Format::Text => registry.with(layer.with_target(false)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    Filter(handle)
}

/// Writes a request's line.
pub fn access(record: &SpanRecord, detail: &str, peer: SocketAddr) {
    let lines = LINES.get_or_init(|| {
        let (sender, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_lines(&receiver)).ok()?;
        Some(sender)
    });
    let sent = lines.as_ref().map(|lines| lines.try_send(line(record, detail, peer)));
    if !matches!(sent, Some(Ok(()))) {
        DROPPED.fetch_add(1, Relaxed);
    }
}

/// Access log lines that were dropped because nobody read fast enough.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Relaxed)
}

fn write_lines(lines: &Receiver<String>) {
    let mut out = io::BufWriter::new(io::stdout());
    while let Ok(line) = lines.recv() {
        let mut written = out.write_all(line.as_bytes());
        for line in lines.try_iter().take(QUEUE) {
            written = written.and_then(|()| out.write_all(line.as_bytes()));
        }
        if written.and_then(|()| out.flush()).is_err() {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

/// The line, with its newline. The target has no query: it is where secrets are.
fn line(record: &SpanRecord, detail: &str, peer: SocketAddr) -> String {
    let time = record.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut fields = json!({
        "time": timestamp(record.start),
        "unix_ms": u64::try_from(time.as_millis()).unwrap_or_default(),
        "direction": super::direction_word(record.direction),
        "method": record.method.as_str(),
        "path": record.path,
        "authority": record.authority,
        "protocol": super::protocol(record.version),
        "status": record.status,
        "duration_ms": (record.duration.as_secs_f64() * 1e6).round() / 1e3,
        "reason": record.reason.map(|reason| reason.word()),
        "flag": record.reason.map(|reason| reason.disposition().flag),
        "detail": Some(detail).filter(|detail| !detail.is_empty()),
        "grpc_status": record.grpc_status.map(grpc_name),
        "route": record.route.as_deref(),
        "destination": record.host.as_deref(),
        "workload": record.identity.as_ref().map(|identity| identity.workload.to_string()),
        "downstream": peer.to_string(),
        "upstream": record.peer.filter(|endpoint| *endpoint != peer).map(|endpoint| endpoint.to_string()),
        "retries": Some(record.attempt).filter(|attempt| *attempt > 0),
        "cache": record.cache.map(CacheResult::word),
        "would": (!record.would.is_empty()).then(|| record.would.iter().map(Would::word).collect::<Vec<_>>()),
        "trace_id": hex(&record.trace_id),
        "span_id": hex(&record.span_id),
        "snapshot": record.snapshot,
    });
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    format!("{fields}\n")
}

/// RFC 3339, UTC, milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to civil date, after Howard Hinnant: years begin in March, so that the leap day is the last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{line, parse, timestamp};
    use crate::telemetry::span::tests::{attempt, refused};

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_line_says_what_happened_and_nothing_of_the_query() {
        let peer = "10.0.0.9:50000".parse().expect("an address");
        insta::assert_snapshot!(line(&refused(), "rule total of RateLimitPolicy shop/cart has no token left", peer));
        let line = line(&attempt(), "", peer);
        assert!(!line.contains("token=secret"), "{line}");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_in_words() {
        assert!(parse("info,outrigger_proxy=debug").is_ok());
        let error = parse("outrigger_proxy=loud").expect_err("not a level");
        assert!(error.contains("try info"), "{error}");
    }
}
