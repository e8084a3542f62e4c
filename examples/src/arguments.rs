//! The command line of `demo`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;

/// A small shop in a mesh on this machine: started, steered, broken and watched.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "demo",
    version,
    after_help = "Exit codes: 0 all promises kept (or --no-mesh), 1 a promise broken, 2 wrong use or cannot start.\n\
                  With OTEL_EXPORTER_OTLP_ENDPOINT set, every span goes there too."
)]
pub(crate) struct Arguments {
    /// Tell the whole story in this time, then stop: 15s to 10m. Without it the shop runs on until Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) time: Option<Duration>,
    /// Write every number and every promise into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The same story without sidecars, for comparison: promises are shown, not enforced.
    #[arg(long)]
    pub(crate) no_mesh: bool,
    /// Pages asked for in a second, 50 to 2000.
    #[arg(long, value_name = "PAGES", default_value_t = 400, value_parser = clap::value_parser!(u32).range(50..=2000))]
    pub(crate) rate: u32,
}

fn parse_time(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().unwrap_or_default();
    let seconds = match unit {
        "s" | "" => number,
        "m" => number.saturating_mul(60),
        _ => 0,
    };
    if !(15..=600).contains(&seconds) {
        bail!("give a time between 15s and 10m, such as 30s");
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::Arguments;

    fn parse(line: &str) -> Option<Arguments> {
        Arguments::try_parse_from(line.split_whitespace()).ok()
    }

    #[test]
    fn the_line_of_the_readme_is_understood() {
        let arguments = parse("demo --for 30s --json out.json").expect("valid");
        assert_eq!(arguments.time, Some(Duration::from_secs(30)));
        assert!(!arguments.no_mesh && arguments.json.is_some());
        assert_eq!(parse("demo").expect("valid").time, None);
        assert_eq!(parse("demo --for 2m").expect("valid").time, Some(Duration::from_secs(120)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in
            ["demo --for 1s", "demo --for 30h", "demo --for", "demo --rate 5", "demo now", "demo --for 99999999999m"]
        {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
