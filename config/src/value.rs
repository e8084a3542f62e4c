//! Bounded values that appear in many places: durations, percentages, patterns.

use std::fmt;
use std::time::Duration;

use regex::Regex;
use regex_syntax::hir::literal::Extractor;

use crate::error::Problem;

/// The longest duration any field takes: a year of 365 days.
pub const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a duration of Gateway API GEP-2257: up to four groups of digits and unit (`h`, `m`, `s`, `ms`), as `1m30s`.
pub fn parse_duration(text: &str) -> Result<Duration, Problem> {
    let refuse = || Problem::invalid(text, "must be a duration such as 250ms, 1.5s written as 1s500ms, 2m or 1h30m");
    let (mut rest, mut total, mut groups) = (text, Duration::ZERO, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        groups += 1;
        if digits == 0 || digits > 5 || groups > 4 {
            return Err(refuse());
        }
        let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let (unit, length) = match rest.as_bytes() {
            [b'm', b's', ..] => (Duration::from_millis(number), 2),
            [b'h', ..] => (Duration::from_secs(number * 3600), 1),
            [b'm', ..] => (Duration::from_secs(number * 60), 1),
            [b's', ..] => (Duration::from_secs(number), 1),
            _ => return Err(refuse()),
        };
        total += unit;
        rest = &rest[length..];
    }
    if groups == 0 {
        return Err(refuse());
    }
    if total > MAX_DURATION {
        return Err(Problem::invalid(text, "must be at most 8760h"));
    }
    Ok(total)
}

/// Prints a duration so that [`parse_duration`] reads it back; finer than a millisecond is cut.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        let above: u128 = match unit {
            "h" => u128::MAX,
            "m" => 3_600_000,
            "s" => 60_000,
            _ => 1000,
        };
        let count = (millis % above) / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

/// A share of requests, kept in millionths: 0 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// Nothing.
    pub const ZERO: Percent = Percent(0);
    /// Half of them.
    pub const HALF: Percent = Percent(500_000);
    /// Everything.
    pub const HUNDRED: Percent = Percent(1_000_000);

    /// From a percentage between 0 and 100; finer than a ten-thousandth of a percent is rounded.
    pub fn try_new(percent: f64) -> Result<Self, Problem> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(Problem::invalid(percent, "must be between 0 and 100"));
        }
        // In range by the check above, so the cast cannot cut.
        Ok(Percent((percent * 10_000.0).round() as u32))
    }

    /// From hundredths of a percent, at most 10,000, of which more are all: for numbers that are written down.
    pub const fn from_hundredths(hundredths: u32) -> Self {
        if hundredths > 10_000 { Percent::HUNDRED } else { Percent(hundredths * 100) }
    }

    /// From millionths, at most 1,000,000.
    pub fn from_millionths(millionths: u32) -> Result<Self, Problem> {
        if millionths > 1_000_000 {
            return Err(Problem::invalid(millionths, "must be at most 1000000"));
        }
        Ok(Percent(millionths))
    }

    /// Millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// As a ratio between 0 and 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 1_000_000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 10_000.0)
    }
}

/// A regular expression of at most 1,024 characters that compiles within 1 MiB, matched against the whole value
/// (as xDS `RegexMatcher` is).
#[derive(Clone)]
pub struct Pattern(Regex, String);

impl Pattern {
    /// Compiles the pattern.
    pub fn try_new(text: &str) -> Result<Self, Problem> {
        if text.len() > 1024 {
            return Err(Problem::invalid(text, "a regular expression must be at most 1024 characters long"));
        }
        let refused = |why: &dyn fmt::Display| {
            Problem::invalid(text, format!("is no regular expression of RE2 syntax within 1 MiB: {}", last_line(why)))
        };
        // By itself first: what is put around it makes a whole of `a)|(b`, which would match parts of values.
        regex_syntax::parse(text).map_err(|error| refused(&error))?;
        let regex = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build();
        Ok(Pattern(regex.map_err(|error| refused(&error))?, text.to_owned()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.1
    }

    /// Whether every text that matches begins in a way that `accept` takes: it is given the beginning, and whether that
    /// is the whole text. False where this cannot be told.
    pub fn begins(&self, accept: impl Fn(&[u8], bool) -> bool) -> bool {
        let Ok(tree) = regex_syntax::parse(&self.1) else { return false };
        let beginnings = Extractor::new().extract(&tree);
        beginnings.literals().is_some_and(|all| all.iter().all(|one| accept(one.as_bytes(), one.is_exact())))
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}

fn last_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pattern, Percent, format_duration, parse_duration};

    #[test]
    fn durations_are_those_of_gep_2257() {
        for (text, millis) in [("250ms", 250), ("1s500ms", 1500), ("1h30m", 5_400_000), ("0s", 0), ("2m", 120_000)] {
            assert_eq!(parse_duration(text).expect(text), Duration::from_millis(millis), "{text}");
        }
        for bad in ["", "5", "1.5s", "-1s", "100000s", "1h1m1s1ms1s", "1d", "s", "1 s", "99999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_printed_duration_reads_back() {
        for millis in [0, 1, 999, 1000, 61_001, 3_600_000, 5_430_250] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)).expect("own output"), duration);
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_value_and_has_limits() {
        let pattern = Pattern::try_new("a|ab").expect("valid");
        assert!(pattern.is_match("ab") && !pattern.is_match("abc"));
        assert!(Pattern::try_new("(").is_err());
        // Not whole by itself, though what is put around it makes it so: it would match parts of values.
        for halves in ["a)|(b", "a)|(?:b", ")(", "a)"] {
            assert!(Pattern::try_new(halves).is_err(), "{halves}");
        }
        assert!(Pattern::try_new("(a{1000}){1000}").is_err());
        assert!(Pattern::try_new(&"a".repeat(1025)).is_err());
    }

    #[test]
    fn percentages_stay_between_0_and_100() {
        assert_eq!(Percent::try_new(12.5).expect("valid").millionths(), 125_000);
        for bad in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert!(Percent::try_new(bad).is_err(), "{bad}");
        }
    }
}
