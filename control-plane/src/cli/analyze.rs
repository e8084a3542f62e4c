//! `analyze`: what the control plane would say of documents, without one.

use outrigger_config::document;
use outrigger_config::error::{Code, Problems};
use outrigger_config::mesh::Mesh;
use serde_json::json;

use super::args::{Analyze, Format};
use super::bundle;
use super::failure::Failure;
use super::problems;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::{Tone, counted};
use crate::api::ProblemView;

/// Checks each file by itself and then, if every one can be read, all of them together.
pub(super) fn analyze(what: &Analyze, format: Format, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if what.codes {
        return codes(format, terminal);
    }
    let parts = bundle::read(&what.files, terminal.input)?;
    let mut documents = Vec::new();
    let mut found = Problems::default();
    for part in &parts {
        match document::parse(&part.text, &part.name) {
            Ok(read) => documents.extend(read),
            Err(problems) => found.0.extend(problems.0),
        }
    }
    let count = documents.len();
    // A document that could not be read would leave references dangling that do not.
    if found.is_empty() {
        found = match Mesh::try_new(documents) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
    }
    let found: Vec<ProblemView> = found.0.iter().map(ProblemView::from).collect();
    let errors = found.iter().filter(|problem| problems::is_error(problem)).count();
    let answer = json!({ "problems": found, "errors": errors, "warnings": found.len() - errors });
    if !terminal.value(&answer, format)? {
        for problem in &found {
            terminal.line(&problems::line(problem, terminal.paint))?;
        }
        let tone = if errors > 0 { Tone::Bad } else { Tone::Good };
        let summary = terminal.tone(tone, &problems::summary(&found));
        let read = if errors > 0 { String::new() } else { format!("{} in ", counted(count, "document")) };
        terminal.line(&format!("{summary} ({read}{})", counted(parts.len(), "file")))?;
    }
    if errors > 0 { Err(Failure::Said) } else { Ok(()) }
}

fn codes(format: Format, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let severity = |code: Code| if code.is_error() { "error" } else { "warning" };
    let all =
        Code::ALL.map(|code| json!({ "code": code.as_str(), "severity": severity(code), "summary": code.summary() }));
    if terminal.value(&json!({ "codes": all }), format)? {
        return Ok(());
    }
    let mut table = Table::new(&[("CODE", Align::Left), ("SEVERITY", Align::Left), ("MEANING", Align::Left)]);
    for code in Code::ALL {
        let tone = if code.is_error() { Tone::Bad } else { Tone::Warning };
        table.row([code.as_str().into(), Cell::toned(severity(code), tone), code.summary().into()]);
    }
    terminal.print(&table.render(terminal.paint))
}
