//! `traces`: the list, and one of them as a waterfall.

use super::args::{Format, Traces};
use super::client::{Ask, Client, read};
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::{Paint, Tone, millis};
use super::waterfall;
use crate::traces::{Summary, Trace, TraceList};

/// `outrigger traces`.
pub(super) async fn traces(
    what: &Traces,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    if let Some(id) = &what.id {
        return draw(id, client, format, terminal).await;
    }
    let limit = if what.last { 1 } else { what.limit };
    let ask = Ask::new(&["api", "v1", "traces"])
        .with("service", what.service.as_deref())
        .with("status", what.status.as_deref())
        .with("minDuration", what.min_duration.as_deref())
        .with("retried", what.retried.then_some("true"))
        .with("limit", Some(&limit.to_string()));
    let answer = client.get(ask).await?;
    let list: TraceList = read(&answer)?;
    if what.last {
        return match list.traces.first() {
            Some(newest) => draw(&newest.trace_id.to_string(), client, format, terminal).await,
            None => Err(Failure::Refused("no trace matches".to_owned())),
        };
    }
    if terminal.value(&answer, format)? {
        return Ok(());
    }
    if list.traces.is_empty() {
        terminal.note("no trace matches; a trace appears about a second after its request");
        return Ok(());
    }
    let table = render(&list.traces, terminal.paint);
    terminal.print(&table)
}

async fn draw(id: &str, client: &Client, format: Format, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let answer = client.get(Ask::new(&["api", "v1", "traces", id])).await?;
    if terminal.value(&answer, format)? {
        return Ok(());
    }
    let trace: Trace = read(&answer)?;
    let drawn = waterfall::render(&trace, terminal.width, terminal.paint.0);
    terminal.print(&drawn)
}

fn render(traces: &[Summary], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("TRACE", Align::Left),
        ("SERVICE", Align::Left),
        ("WHAT", Align::Left),
        ("TOOK", Align::Right),
        ("SPANS", Align::Right),
        ("RETRIES", Align::Right),
        ("STATUS", Align::Left),
        ("THROUGH", Align::Left),
    ]);
    for trace in traces {
        let retries = match trace.retries {
            0 => Cell::toned("-", Tone::Dim),
            count => Cell::toned(count.to_string(), Tone::Warning),
        };
        let status = match (trace.failed, trace.error) {
            (true, _) => Cell::toned("failed", Tone::Bad),
            (false, true) => Cell::toned("recovered", Tone::Warning),
            (false, false) => Cell::toned("ok", Tone::Good),
        };
        table.row([
            trace.trace_id.to_string().into(),
            trace.service.as_str().into(),
            trace.name.as_str().into(),
            millis(trace.duration_ms).into(),
            trace.span_count.to_string().into(),
            retries,
            status,
            Cell::toned(trace.services.join(", "), Tone::Dim),
        ]);
    }
    table.render(paint)
}
