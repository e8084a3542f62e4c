//! The settings of a control plane: its command line, read and checked.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use outrigger_config::value::{format_duration, parse_duration};

/// Steers a mesh: documents in, xDS out; receives OTLP, and answers on its API.
#[derive(Clone, Debug, Parser)]
#[command(name = "outrigger-control-plane", version)]
pub struct Settings {
    /// Directory of documents (*.yaml, *.yml, *.json) to watch
    #[arg(long, value_name = "DIR")]
    pub documents: Option<PathBuf>,
    /// File that keeps what is applied over the API
    #[arg(long, value_name = "FILE", default_value = "outrigger.redb")]
    pub store: PathBuf,
    /// Where to serve xDS, and OTLP over gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15012")]
    pub xds: SocketAddr,
    /// Where to serve the API, and OTLP over HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15080")]
    pub api: SocketAddr,
    /// Host name under which the API may be asked, beside loopback and the address it listens on; may be repeated
    #[arg(long, value_name = "NAME")]
    pub api_host: Vec<String>,
    /// Another address to receive OTLP over gRPC, such as 127.0.0.1:4317
    #[arg(long, value_name = "ADDRESS")]
    pub otlp_grpc: Option<SocketAddr>,
    /// Another address to receive OTLP over HTTP, such as 127.0.0.1:4318
    #[arg(long, value_name = "ADDRESS")]
    pub otlp_http: Option<SocketAddr>,
    /// Collector to send received traces on to; without it they stay here
    #[arg(long, value_name = "URL", env = "OUTRIGGER_OTLP_FORWARD")]
    pub otlp_forward: Option<String>,
    /// Most memory that received traces may take, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 32 * 1024 * 1024)]
    pub trace_memory: usize,
    /// Redis in which several control planes count global rate limits, and divide those that are leased, together;
    /// without it each does so alone
    #[arg(long, value_name = "URL", env = "OUTRIGGER_REDIS", hide_env_values = true)]
    pub redis: Option<String>,
    /// How long Redis may take to count one request, 1ms to 1s
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = redis_timeout)]
    pub redis_timeout: Duration,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// What to log, as in `info` or `info,outrigger_control_plane::ads=debug`
    #[arg(long, value_name = "FILTER", env = "OUTRIGGER_LOG", default_value = "info")]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// The shape of a line of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSettings {
    /// Help or the version was asked for: the text to print.
    Asked(String),
    /// A flag is wrong: one line on which, and why.
    Wrong(String),
}

impl Settings {
    /// Reads a command line, the program's name first.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, NoSettings> {
        Settings::try_parse_from(arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoSettings::Asked(error.to_string()),
            _ => NoSettings::Wrong(one_line(&error.to_string())),
        })
    }
}

fn redis_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text).map_err(|problem| problem.reason)?;
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(1));
    if !(shortest..=longest).contains(&timeout) {
        return Err(format!("must be between {} and {}", format_duration(shortest), format_duration(longest)));
    }
    Ok(timeout)
}

/// The first sentence of clap's page on what is wrong.
fn one_line(page: &str) -> String {
    let first: Vec<_> = page.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let first = first.join(" ");
    format!("{}; see --help", first.strip_prefix("error: ").unwrap_or(&first))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{NoSettings, Settings};

    fn read(line: &str) -> Result<Settings, NoSettings> {
        Settings::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn without_flags_everything_is_on_loopback() {
        let settings = read("outrigger-control-plane").expect("settings");
        assert!(settings.xds.ip().is_loopback() && settings.api.ip().is_loopback());
        assert_eq!((settings.xds.port(), settings.api.port()), (15012, 15080));
    }

    #[test]
    fn a_wrong_flag_takes_one_line() {
        for line in [
            "x --nope",
            "x --xds nowhere",
            "x --workers 0",
            "x --log-format xml",
            "x positional",
            "x --redis-timeout 2s",
        ] {
            let Err(NoSettings::Wrong(text)) = read(line) else { panic!("{line} was taken") };
            assert!(!text.contains('\n') && text.ends_with("see --help"), "{text}");
        }
    }

    #[test]
    fn help_is_no_mistake() {
        assert!(matches!(read("x --help"), Err(NoSettings::Asked(_))));
    }
}
