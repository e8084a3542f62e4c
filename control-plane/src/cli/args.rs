//! What may stand on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use outrigger_config::value::parse_duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, not found, a problem was found, or not applied in time
  2  wrong use, or the control plane could not be reached";

/// Steers and watches an Outrigger mesh.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Where the control plane's API is
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "OUTRIGGER_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:15080"
    )]
    pub(super) server: String,
    /// How to print
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// As the API answers
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Apply documents: all of them, or none
    Apply(Apply),
    /// Print documents
    Get(Get),
    /// Delete documents
    Delete(Delete),
    /// Check documents without a control plane
    Analyze(Analyze),
    /// Show every proxy: what it was sent, what it has accepted and what it refuses
    Proxies,
    /// Wait until every connected proxy has accepted the newest documents
    Wait(Wait),
    /// Show rate, success and latency of each service
    Stat(Stat),
    /// Show who calls whom, how fast and how well
    Edges(Edges),
    /// List recent traces, or draw one
    Traces(Traces),
    /// Say how a request was decided: why it failed, was tried again or took long, and what to change
    Explain(Explain),
    /// Play requests against documents: -f DOCS --requests FILE; see outrigger simulate --help
    #[command(disable_help_flag = true)]
    Simulate(Rehearse),
    /// Run the tests of policies: -f DIR with *.test.yaml; see outrigger test --help
    #[command(disable_help_flag = true)]
    Test(Rehearse),
}

/// What the proxy reads for itself.
#[derive(Debug, Args)]
pub(super) struct Rehearse {
    /// As outrigger-proxy takes it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(super) arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// A file, a directory of *.yaml, *.yml and *.json, or - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Only check
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// Only of this kind: service, workload, httproute, grpcroute, routepolicy, backendpolicy, ratelimitpolicy,
    /// meshpolicy
    pub(super) kind: Option<String>,
    /// Only of this name: NAME or NAMESPACE/NAME
    pub(super) name: Option<String>,
    /// Only in this namespace
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The kind
    #[arg(required_unless_present = "files", requires = "name")]
    pub(super) kind: Option<String>,
    /// NAME or NAMESPACE/NAME
    pub(super) name: Option<String>,
    /// The namespace
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// Delete what this file, directory or - names; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["kind", "name", "namespace"])]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Analyze {
    /// A file, a directory of *.yaml, *.yml and *.json, or - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required_unless_present = "codes")]
    pub(super) files: Vec<PathBuf>,
    /// List the codes of problems, and what each means
    #[arg(long, conflicts_with = "files")]
    pub(super) codes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// What to wait for
    #[arg(long = "for", value_name = "WHAT", default_value = "applied")]
    pub(super) what: WaitFor,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// Wait for at least so many connected proxies; 0 is content with none
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) proxies: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum WaitFor {
    /// Every connected proxy has accepted the newest documents
    Applied,
}

#[derive(Debug, Args)]
pub(super) struct Stat {
    /// Only this service
    pub(super) service: Option<String>,
    /// Only in this namespace
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// The time the numbers cover
    #[arg(short, long, default_value = "10s")]
    pub(super) window: WindowChoice,
}

#[derive(Debug, Args)]
pub(super) struct Edges {
    /// Only edges from or to this service
    pub(super) service: Option<String>,
    /// Only to services in this namespace
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// The time the numbers cover
    #[arg(short, long, default_value = "10s")]
    pub(super) window: WindowChoice,
}

/// Which of the two windows a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WindowChoice {
    /// The last 10 seconds.
    #[value(name = "10s")]
    TenSeconds,
    /// The last 60 seconds.
    #[value(name = "60s")]
    Minute,
}

#[derive(Debug, Args)]
pub(super) struct Traces {
    /// Draw this trace
    pub(super) id: Option<String>,
    /// Draw the newest trace that matches
    #[arg(long, conflicts_with = "id")]
    pub(super) last: bool,
    /// Only traces this service took part in
    #[arg(long)]
    pub(super) service: Option<String>,
    /// Only traces that ended so: failed (the caller saw it), error (a part failed, though perhaps a retry helped),
    /// ok, or an HTTP status
    #[arg(long)]
    pub(super) status: Option<String>,
    /// Only traces that took at least so long, such as 50ms
    #[arg(long, value_name = "DURATION")]
    pub(super) min_duration: Option<String>,
    /// Only traces in which a request was tried again
    #[arg(long)]
    pub(super) retried: bool,
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Explain the requests of this trace; without it, list what can be explained
    #[arg(value_name = "TRACE_ID")]
    pub(super) id: Option<String>,
    /// Explain the newest request that can be
    #[arg(long, conflicts_with = "id")]
    pub(super) last: bool,
    /// Only requests that this service's proxies saw
    #[arg(long, conflicts_with = "id")]
    pub(super) service: Option<String>,
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) limit: usize,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|problem| problem.reason)
}
