//! Which traces are kept: by default what the caller decided, and of the traces that begin here the share that the
//! listener has from its MeshPolicy. `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say otherwise for this process,
//! and then count before any policy: whoever sets them stands at this proxy and wants to see something now.
//!
//! The decision is the trace's alone: every proxy with the same share decides the same, so that a trace is whole or
//! not there.

use std::fmt;

use outrigger_config::value::Percent;

/// Where the sampler is named.
const NAME: &str = "OTEL_TRACES_SAMPLER";

/// Where its share is, if it has one.
const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Decides which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    share: Percent,
    follows: bool,
}

impl Sampler {
    /// Follows whoever began a trace, and keeps `share` of the traces that begin here.
    pub const fn following(share: Percent) -> Self {
        Sampler { share, follows: true }
    }

    /// What the standard variables say; none where they say nothing.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let Some(name) = get(NAME) else { return Ok(None) };
        let lower = name.to_ascii_lowercase();
        let (follows, kind) = match lower.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, &*lower),
        };
        let share = match kind {
            "always_on" => Percent::HUNDRED,
            "always_off" => Percent::ZERO,
            "traceidratio" => get(SHARE).map_or(Ok(Percent::HUNDRED), |text| share(&text))?,
            _ => {
                return Err(format!(
                    "{NAME}={name} is no sampler of this proxy; use always_on, always_off or traceidratio, \
                     or one of them behind parentbased_"
                ));
            }
        };
        Ok(Some(Sampler { share, follows }))
    }

    /// Whether what the caller decided stands.
    pub fn follows(self) -> bool {
        self.follows
    }

    /// Whether any trace can begin here.
    pub fn begins(self) -> bool {
        self.share > Percent::ZERO
    }

    /// Whether a trace is in the share that is kept: its last 56 bits are random (W3C level 2).
    pub fn takes(self, trace_id: [u8; 16]) -> bool {
        let low = u128::from_be_bytes(trace_id) & ((1 << 56) - 1);
        low * 1_000_000 < u128::from(self.share.millionths()) << 56
    }
}

impl fmt::Display for Sampler {
    /// `25 %`, or `what callers decided, else 25 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let follows = if self.follows { "what callers decided, else " } else { "" };
        write!(f, "{follows}{} %", self.share)
    }
}

/// A ratio between 0 and 1.
fn share(text: &str) -> Result<Percent, String> {
    let ratio = text.parse::<f64>().ok();
    let share = ratio.and_then(|ratio| Percent::try_new(ratio * 100.0).ok());
    share.ok_or_else(|| format!("{SHARE}={text} is no ratio; use a number between 0 and 1, such as 0.25"))
}

#[cfg(test)]
mod tests {
    use outrigger_config::value::Percent;

    use super::{NAME, SHARE, Sampler};

    fn read(name: &str, share: &str) -> Result<Option<Sampler>, String> {
        Sampler::read(|variable| match variable {
            NAME => Some(name.to_owned()),
            SHARE => Some(share.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn every_standard_sampler_is_read() {
        let quarter = Percent::try_new(25.0).expect("a share");
        for (name, arg, share, follows) in [
            ("always_on", "", Percent::HUNDRED, false),
            ("always_off", "", Percent::ZERO, false),
            ("traceidratio", "0.25", quarter, false),
            ("traceidratio", "", Percent::HUNDRED, false),
            ("parentbased_always_on", "0.25", Percent::HUNDRED, true),
            ("parentbased_always_off", "not read", Percent::ZERO, true),
            ("parentbased_traceidratio", " 0.25 ", quarter, true),
            (" ParentBased_TraceIDRatio ", "0", Percent::ZERO, true),
        ] {
            assert_eq!(read(name, arg), Ok(Some(Sampler { share, follows })), "{name} {arg}");
        }
    }

    #[test]
    fn a_sampler_says_what_it_does() {
        for (name, says) in [("always_on", "100 %"), ("parentbased_traceidratio", "what callers decided, else 12.5 %")]
        {
            assert_eq!(read(name, "0.125").expect(name).expect(name).to_string(), says);
        }
    }

    #[test]
    fn where_nothing_is_said_the_policy_counts() {
        assert_eq!(Sampler::read(|_| None), Ok(None));
        assert_eq!(read("", "0.5"), Ok(None));
    }

    #[test]
    fn what_is_no_sampler_is_said_with_what_is() {
        for (name, arg, says) in [
            ("sometimes", "", "OTEL_TRACES_SAMPLER=sometimes is no sampler of this proxy; use always_on"),
            ("jaeger_remote", "", "OTEL_TRACES_SAMPLER=jaeger_remote"),
            ("parentbased_", "", "OTEL_TRACES_SAMPLER=parentbased_"),
            ("traceidratio", "half", "OTEL_TRACES_SAMPLER_ARG=half is no ratio; use a number between 0 and 1"),
            ("parentbased_traceidratio", "1.5", "OTEL_TRACES_SAMPLER_ARG=1.5"),
            ("traceidratio", "-0.1", "OTEL_TRACES_SAMPLER_ARG=-0.1"),
            ("traceidratio", "NaN", "OTEL_TRACES_SAMPLER_ARG=NaN"),
        ] {
            let error = read(name, arg).expect_err(name);
            assert!(error.starts_with(says) && !error.contains('\n'), "{error}");
        }
    }
}
