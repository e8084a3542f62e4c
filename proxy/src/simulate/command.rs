//! `outrigger-proxy simulate` and `outrigger-proxy test`, which `outrigger simulate` and `outrigger test` run.
//!
//! Exit codes: 0 done, and every test holds; 1 a test failed, or documents are refused; 2 wrong use, or a file that
//! cannot be read.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use outrigger_config::listener::{Direction, TableSource};
use outrigger_config::name::ObjectName;
use outrigger_config::policy::rate_limit::Scope;

use super::cases::Suite;
use super::files::{Files, Wrong, read};
use super::scenario::Scenario;
use super::summary::Summary;
use super::{Stage, play};
use crate::app::standalone;
use crate::snapshot::ResourceSet;

/// The words that ask for a rehearsal.
const WORDS: [&str; 2] = ["simulate", "test"];

/// What help ends with.
const EXIT_CODES: &str = "Exit codes: 0 done, and every test holds; 1 a test failed, or documents are refused; 2 wrong \
                          use, or a file that cannot be read";

#[derive(Debug, Parser)]
#[command(name = "outrigger", bin_name = "outrigger", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play requests against documents and scripted endpoints, with the proxy's own code and a clock of its own
    #[command(after_help = EXIT_CODES)]
    Simulate(Simulate),
    /// Run the tests of policies in *.test.yaml
    #[command(after_help = EXIT_CODES)]
    Test(Test),
}

#[derive(Debug, Args)]
struct Simulate {
    /// A file or directory of documents; may be repeated
    #[arg(short, long = "filename", value_name = "DOCS", required = true)]
    files: Vec<PathBuf>,
    /// A file of requests and upstreams, YAML, JSON, or a request a line; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    requests: Vec<PathBuf>,
    /// The workload whose proxy is played, if there are several
    #[arg(long, value_name = "NAMESPACE/NAME")]
    node_id: Option<String>,
    /// Play the requests that come in to the workload
    #[arg(long)]
    inbound: bool,
    /// Where all chance comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to print: table in sum, or json with a line for each request and one in sum
    #[arg(short, long, value_name = "FORMAT", default_value = "table", overrides_with = "output")]
    output: Output,
}

#[derive(Debug, Args)]
struct Test {
    /// A file or directory of documents and of tests (*.test.yaml); may be repeated
    #[arg(short, long = "filename", value_name = "DIR", required = true)]
    files: Vec<PathBuf>,
    /// How to print; for the sake of `outrigger`
    #[arg(short, long, hide = true, default_value = "table", overrides_with = "output")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Why it did not end well.
enum Failure {
    /// Something is wrong with documents, or a test failed: exit code 1.
    Failed(String),
    /// Exit code 2.
    Usage(String),
}

/// Whether a command line asks for a rehearsal, and not for a proxy.
pub fn is_meant(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|first| WORDS.iter().any(|word| first == word))
}

/// Runs it on this process's streams.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = if asked { write!(io::stdout(), "{error}") } else { write!(io::stderr(), "{error}") };
            return ExitCode::from(if asked { 0 } else { 2 });
        }
    };
    let mut text = String::new();
    let outcome = match &arguments.command {
        Command::Simulate(what) => simulate(what, &mut text),
        Command::Test(what) => test(what, &mut text),
    };
    // Whoever does not read it has the exit code.
    let _ = io::stdout().write_all(text.as_bytes());
    let (code, why) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (1, why),
        Err(Failure::Usage(why)) => (2, why),
    };
    let _ = writeln!(io::stderr(), "outrigger: {why}");
    ExitCode::from(code)
}

fn simulate(what: &Simulate, text: &mut String) -> Result<(), Failure> {
    let files = Files::find(&what.files).map_err(Failure::Usage)?;
    let resources = resources(&files, what.node_id.as_deref())?;
    let mut scenario = Scenario::default();
    for file in &what.requests {
        let read = read(file).and_then(|text| Scenario::read(&text, &file.display().to_string()));
        scenario.add(read.map_err(Failure::Usage)?);
    }
    if scenario.requests.is_empty() {
        return Err(Failure::Usage("no requests: they stand under requests, or a line each".to_owned()));
    }
    let direction = if what.inbound { Direction::Inbound } else { Direction::Outbound };
    let stage = Stage { resources: &resources, direction, seed: what.seed };
    let played = play(stage, &scenario).map_err(Failure::Usage)?;
    let summary = Summary::new(&played, what.seed);
    match what.output {
        Output::Table => text.push_str(&summary.table()),
        Output::Json => {
            let lines = played.records.iter().map(serde_json::to_string);
            let last = serde_json::to_string(&serde_json::json!({ "summary": summary }));
            for line in lines.chain([last]) {
                text.push_str(&line.map_err(|error| Failure::Usage(error.to_string()))?);
                text.push('\n');
            }
        }
    }
    Ok(())
}

fn test(what: &Test, text: &mut String) -> Result<(), Failure> {
    let files = Files::find(&what.files).map_err(Failure::Usage)?;
    let (mut all, mut failed) = (0, 0);
    for file in &files.tests {
        let name = file.display().to_string();
        let suite = read(file).and_then(|text| Suite::read(&text, &name)).map_err(Failure::Usage)?;
        let resources = resources(&files, suite.node.as_deref())?;
        for case in &suite.cases {
            all += 1;
            let lines = case.run(&resources).unwrap_or_else(|why| vec![why]);
            let word = if lines.is_empty() { "ok" } else { "FAILED" };
            text.push_str(&format!("{word:<6}  {name}: {}\n", case.name));
            lines.iter().for_each(|line| text.push_str(&format!("          {line}\n")));
            failed += usize::from(!lines.is_empty());
        }
    }
    if all == 0 {
        return Err(Failure::Usage("no tests: they stand in *.test.yaml".to_owned()));
    }
    text.push_str(&format!("{} of {all} hold\n", all - failed));
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(format!("{failed} of {all} tests failed"))) }
}

/// What the proxy of a workload would accept of the documents.
fn resources(files: &Files, node: Option<&str>) -> Result<ResourceSet, Failure> {
    let documents = files.documents().map_err(|wrong| match wrong {
        Wrong::Unreadable(why) => Failure::Usage(why),
        Wrong::Refused(problems) => Failure::Failed(problems.to_string()),
    })?;
    let name = |node: &str| {
        let (namespace, name) = node.split_once('/').unwrap_or(("default", node));
        ObjectName::try_new(namespace, name).map_err(|problem| Failure::Usage(format!("{node:?} {}", problem.reason)))
    };
    let node = node.map(name).transpose()?;
    let read = standalone::resources(documents, "the documents", node.as_ref());
    read.map(|(_, resources)| alone(resources)).map_err(|error| match error {
        crate::app::Error::Documents(problems) => Failure::Failed(problems.to_string()),
        other => Failure::Usage(other.to_string()),
    })
}

/// Here one proxy is the whole mesh: it counts itself what the control plane would count for all.
fn alone(mut resources: ResourceSet) -> ResourceSet {
    let inline = resources.listeners.values_mut().filter_map(|listener| match &mut listener.table {
        TableSource::Inline(table) => Some(table),
        TableSource::Rds(_) => None,
    });
    let routes = resources.tables.values_mut().chain(inline).flat_map(|table| &mut table.hosts);
    for route in routes.flat_map(|host| &mut host.routes) {
        for limit in [&mut route.rate_limit, &mut route.rehearsed.rate_limit].into_iter().flatten() {
            limit.rules.iter_mut().for_each(|rule| rule.scope = Scope::Proxy);
        }
    }
    resources
}
