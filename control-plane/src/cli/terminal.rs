//! Where a command reads and prints.

use std::fmt;
use std::io::{Read, Write};

use serde_json::Value;

use super::args::Format;
use super::failure::Failure;
use super::problems;
use super::text::{Paint, Tone, printable};
use super::yaml;
use crate::api::ProblemView;

/// The streams of a command, and what may be printed on them.
pub struct Terminal<'a> {
    /// What `-f -` reads.
    pub input: &'a mut dyn Read,
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What went wrong.
    pub err: &'a mut dyn Write,
    /// Whether `out` takes colour.
    pub paint: Paint,
    /// How many characters a line of `out` may have.
    pub width: usize,
}

impl Terminal<'_> {
    /// Prints text that ends its own lines.
    pub(super) fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Prints an answer as it came. False for a table, which the command makes itself.
    pub(super) fn value(&mut self, value: &Value, format: Format) -> Result<bool, Failure> {
        match format {
            Format::Table => return Ok(false),
            // Indented JSON of a JSON value cannot fail.
            Format::Json => self.line(&format!("{value:#}"))?,
            Format::Yaml => self.print(&yaml::render(value))?,
        }
        Ok(true)
    }

    /// Prints what is worth knowing and was not asked for.
    pub(super) fn note(&mut self, text: &str) {
        // The exit code says what matters to whoever does not read this.
        let _ = writeln!(self.err, "{}", printable(text));
    }

    /// Prints problems, a line each.
    pub(super) fn problems(&mut self, found: &[ProblemView]) {
        for problem in found {
            let _ = writeln!(self.err, "{}", problems::line(problem, Paint(false)));
        }
    }

    /// Prints why a command failed.
    pub(super) fn fail(&mut self, failure: &Failure) {
        let text = match failure {
            Failure::Problems(text, found) => {
                self.problems(found);
                format!("{text} ({})", problems::summary(found))
            }
            Failure::Said | Failure::Misused | Failure::Unheard => return,
            other => other.to_string(),
        };
        let _ = writeln!(self.err, "outrigger: {}", printable(&text));
    }

    /// `text` in a tone, where colour is taken.
    pub(super) fn tone(&self, tone: Tone, text: &str) -> String {
        self.paint.tone(tone, &printable(text))
    }
}

impl fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("paint", &self.paint).field("width", &self.width).finish_non_exhaustive()
    }
}
