//! Text for a terminal: what may be printed, in which colour, and how numbers read.

use std::borrow::Cow;

/// The colours the tool has, each with one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// Well.
    Good,
    /// Worth a look.
    Warning,
    /// Not well.
    Bad,
    /// Less important than the rest.
    Dim,
    /// A heading.
    Bold,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// `text` in a tone; without colour, `text`.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.0 || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Text that came from elsewhere, made safe to print: a name must not move the cursor or turn its direction.
pub fn printable(text: &str) -> Cow<'_, str> {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.chars().any(hostile) {
        Cow::Owned(text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// At most `width` characters, the last an ellipsis where something was cut.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// A duration as people say it: `0.42 ms`, `8.1 ms`, `340 ms`, `2.50 s`.
pub fn millis(millis: f64) -> String {
    match millis {
        _ if millis < 1.0 => format!("{millis:.2} ms"),
        _ if millis < 100.0 => format!("{millis:.1} ms"),
        _ if millis < 1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1000.0),
    }
}

/// A time that has passed: `3s`, `12m`, `5h`, `2d`.
pub fn age(seconds: f64) -> String {
    match seconds {
        _ if seconds < 120.0 => format!("{:.0}s", seconds.max(0.0)),
        _ if seconds < 7200.0 => format!("{:.0}m", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.0}h", seconds / 3600.0),
        _ => format!("{:.0}d", seconds / 86_400.0),
    }
}

/// A share as a percentage that never rounds a failure away: 99.999 % is not 100 %.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 100.0 { "100 %".to_owned() } else { format!("{:.2} %", (percent * 100.0).floor() / 100.0) }
}

/// `1 error`, `2 errors`.
pub fn counted(count: usize, singular: &str) -> String {
    if count == 1 { format!("1 {singular}") } else { format!("{count} {singular}s") }
}

#[cfg(test)]
mod tests {
    use super::{Paint, Tone, age, fit, millis, percent, printable};

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(printable("GET /products/ä"), "GET /products/ä");
        assert_eq!(printable("a\x1b[31mb\r\n\u{9b}c\u{202e}d"), "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0.042, 8.13, 340.4, 2500.0].map(millis), ["0.04 ms", "8.1 ms", "340 ms", "2.50 s"]);
        assert_eq!([3.2, 119.0, 720.0, 86_400.0, 864_000.0].map(age), ["3s", "119s", "12m", "24h", "10d"]);
        assert_eq!([1.0, 0.999_999, 0.5, 0.0].map(percent), ["100 %", "99.99 %", "50.00 %", "0.00 %"]);
    }

    #[test]
    fn what_is_too_long_ends_in_an_ellipsis() {
        assert_eq!([fit("abcd", 4), fit("abcde", 4), fit("ab", 1), fit("ab", 0)], ["abcd", "abc…", "…", ""]);
    }

    #[test]
    fn without_colour_nothing_is_added() {
        assert_eq!(Paint(false).tone(Tone::Bad, "x"), "x");
        assert_eq!(Paint(true).tone(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
