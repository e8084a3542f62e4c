//! The terminal: headlines, labelled lines, verdicts, and one live line that is drawn over while time passes.
//! Colours and the live line only where standard output is a terminal and `NO_COLOR` is not set; plain text elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::report::{Promise, grouped};
use crate::stats::Seen;

/// How a piece of text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Less important than the rest.
    Dim,
    /// More important.
    Bold,
    /// As wanted.
    Good,
    /// Not as wanted.
    Bad,
    /// A name to find again.
    Accent,
}

/// Where the story is told.
#[derive(Debug)]
pub(crate) struct Paint {
    colour: bool,
    live: bool,
}

const LABEL: usize = 11;

impl Paint {
    /// For standard output as it is.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint { colour: terminal && !dumb && !quiet, live: terminal && !dumb }
    }

    /// Whether there is a live line.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// `text` in its tone.
    pub(crate) fn tint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Dim => "2",
            Tone::Bold => "1",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Accent => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let over = if self.live { "\r\x1b[2K" } else { "" };
        // Nobody reads any more: the story goes on for its numbers.
        let _ = write!(out, "{over}{text}");
        let _ = out.flush();
    }

    /// A line of its own.
    pub(crate) fn plain(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// The headline of a step, and what is done in it.
    pub(crate) fn headline(&self, number: usize, title: &str, what: &str) {
        let number = self.tint(Tone::Accent, &format!("{number:>2}"));
        let title = self.tint(Tone::Bold, title);
        self.write(&format!("\n{number}  {title}\n"));
        for line in what.lines() {
            self.write(&format!("    {}\n", self.tint(Tone::Dim, line)));
        }
    }

    /// A number with its label.
    pub(crate) fn line(&self, label: &str, text: &str) {
        let label = self.tint(Tone::Dim, &format!("{label:<LABEL$}"));
        self.write(&format!("    {label}{text}\n"));
    }

    /// What callers saw.
    pub(crate) fn seen(&self, label: &str, seen: &Seen) {
        self.line(label, &self.sentence(seen));
    }

    /// Calls, success and durations in one line.
    pub(crate) fn sentence(&self, seen: &Seen) -> String {
        let tone = if seen.bad == 0 { Tone::Good } else { Tone::Bad };
        let success = self.tint(tone, &format!("{} answered", share(seen.success())));
        let lost = match seen.bad {
            0 => String::new(),
            bad => self.tint(Tone::Bad, &format!(" · {} failed", grouped(bad))),
        };
        let time = |share| duration(seen.durations.percentile(share));
        format!("{} pages · {success}{lost} · p50 {} · p99 {}", grouped(seen.calls()), time(0.5), time(0.99))
    }

    /// A promise and whether it was kept. Where nothing is enforced, a broken one is only remarked upon.
    pub(crate) fn verdict(&self, promise: &Promise, enforced: bool) {
        let mark = match (promise.kept, enforced) {
            (true, _) => self.tint(Tone::Good, "✓"),
            (false, true) => self.tint(Tone::Bad, "✗"),
            (false, false) => self.tint(Tone::Bad, "·"),
        };
        let seen = match promise.kept {
            true => promise.seen.clone(),
            false => format!("{}; wanted: {}", promise.seen, promise.wanted),
        };
        self.write(&format!("  {mark} {}: {}\n", promise.name, self.tint(Tone::Dim, &seen)));
    }

    /// Draws the live line; nothing where there is none.
    pub(crate) fn live(&self, text: &str) {
        if self.live {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "\r\x1b[2K    {text}");
            let _ = out.flush();
        }
    }

    /// Takes the live line away.
    pub(crate) fn unlive(&self) {
        if self.live {
            self.write("");
        }
    }

    /// A bar of `width` cells, `percent` of them full.
    pub(crate) fn bar(&self, percent: f64, width: usize) -> String {
        let full = ((percent / 100.0 * width as f64).round() as usize).min(width);
        let (full, rest) = ("━".repeat(full), "━".repeat(width - full));
        if self.colour {
            format!("{}{}", self.tint(Tone::Accent, &full), self.tint(Tone::Dim, &rest))
        } else {
            format!("{full}{}", "─".repeat(width - full.chars().count()))
        }
    }
}

/// A share with as many digits as it takes not to round a failure away.
pub(crate) fn share(percent: f64) -> String {
    if percent >= 100.0 {
        "100 %".into()
    } else if percent >= 99.0 {
        format!("{:.2} %", (percent * 100.0).floor() / 100.0)
    } else {
        format!("{percent:.1} %")
    }
}

/// A duration to read at a glance.
pub(crate) fn duration(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Paint, Tone, duration, share};

    #[test]
    fn a_failure_is_never_rounded_away() {
        assert_eq!(share(100.0), "100 %");
        assert_eq!(share(99.999), "99.99 %");
        assert_eq!(share(70.04), "70.0 %");
    }

    #[test]
    fn durations_have_two_digits_that_matter() {
        assert_eq!(
            [3_140, 31_400, 3_140_000].map(|us| duration(Duration::from_micros(us))),
            ["3.1 ms", "31 ms", "3.1 s"]
        );
    }

    #[test]
    fn plain_text_has_no_escapes() {
        let plain = Paint { colour: false, live: false };
        assert_eq!(plain.tint(Tone::Bad, "no"), "no");
        assert_eq!(plain.bar(50.0, 4), "━━──");
        let colour = Paint { colour: true, live: false };
        assert_eq!(colour.tint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
    }
}
