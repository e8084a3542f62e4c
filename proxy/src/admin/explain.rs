//! `/explain`: the records of decisions that this proxy keeps; a line for each, or all of one trace.

use http::StatusCode;
use outrigger_config::record::Record;

use super::{Answer, json, text};
use crate::telemetry::Records;

/// How many records a list has.
const MOST: usize = 200;

/// The page: the records of `trace`, or a list of all.
pub(super) fn page(records: &Records, trace: Option<&str>) -> Answer {
    let Some(trace) = trace else {
        let lines: String = records.list(None).iter().take(MOST).filter_map(|kept| line(&kept.json)).collect();
        return text(StatusCode::OK, &lines);
    };
    let id = u128::from_str_radix(trace, 16).ok().filter(|_| trace.len() == 32);
    let Some(id) = id else {
        return text(StatusCode::BAD_REQUEST, "trace must be a trace id of 32 hexadecimal digits\n");
    };
    let found = records.list(Some(id.to_be_bytes()));
    if found.is_empty() {
        let why = "no record of that trace: it went well, or newer records have taken its place\n";
        return text(StatusCode::NOT_FOUND, why);
    }
    let found = found.iter().filter_map(|kept| serde_json::from_str(&kept.json).ok()).collect();
    json(&serde_json::Value::Array(found))
}

/// One fact after the other, the trace first, so that it can be copied from there.
fn line(json: &str) -> Option<String> {
    let record = Record::read(json.as_bytes())?;
    let Record { trace, hop, method, host, path, answer, took_ms, kept, .. } = &record;
    let reason = answer.reason.as_deref().unwrap_or("-");
    let kept = kept.join(",");
    Some(format!("{trace} {hop} {method} {host} {path} {} {reason} {took_ms} ms {kept}\n", answer.status))
}
