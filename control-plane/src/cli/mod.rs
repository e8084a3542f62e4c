//! `outrigger`: the command line of the control plane.
//!
//! Each command asks the API once or a few times and prints; `analyze` asks nobody, and
//! neither do `simulate` and `test`, which the proxy does. [`run`] is the process; [`execute`]
//! is the same on given streams, for tests. Output goes to stdout and nothing else does; what went wrong goes to stderr
//! in one line, after the problems if documents were refused.
//!
//! Exit codes: 0 done; 1 refused, not found, a problem was found, or not applied in time; 2 wrong use, or the control
//! plane could not be reached.
//!
//! [`waterfall`] and [`edges`] draw a trace and a table of edges for whoever has one.

mod args;
mod failure;
mod client;
mod bundle;
pub mod text;
pub mod table;
mod words;
mod yaml;
mod problems;
mod terminal;
mod documents;
mod analyze;
mod proxies;
pub mod edges;
pub mod waterfall;
mod traces;
mod rehearse;
mod remedy;
mod explain;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

pub use args::WindowChoice;
use args::{Arguments, Command};
use client::Client;
use failure::Failure;
pub use terminal::Terminal;
use text::Paint;

/// Runs the command line of this process: the program's name first, then its arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let stdout = std::io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut terminal = Terminal {
        input: &mut std::io::stdin(),
        out: &mut stdout.lock(),
        err: &mut std::io::stderr(),
        paint: Paint(colour),
        width: width(),
    };
    ExitCode::from(execute(arguments, &mut terminal))
}

/// Runs a command line on these streams and returns its exit code.
pub fn execute(arguments: impl IntoIterator<Item = OsString>, terminal: &mut Terminal<'_>) -> u8 {
    let arguments = match read(arguments, terminal.width) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, terminal),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command(arguments, terminal)),
        Err(error) => Err(Failure::Usage(format!("cannot start: {error}"))),
    };
    let flushed = terminal.out.flush().map_err(Failure::from);
    let Err(failure) = result.and(flushed) else { return 0 };
    terminal.fail(&failure);
    failure.code()
}

async fn command(arguments: Arguments, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let format = arguments.output;
    if let Command::Analyze(what) = &arguments.command {
        return analyze::analyze(what, format, terminal);
    }
    if let Command::Simulate(what) = &arguments.command {
        return rehearse::rehearse("simulate", what, format, terminal);
    }
    if let Command::Test(what) = &arguments.command {
        return rehearse::rehearse("test", what, format, terminal);
    }
    let client = Client::try_new(&arguments.server)?;
    match &arguments.command {
        Command::Apply(what) => documents::apply(what, &client, format, terminal).await,
        Command::Get(what) => documents::get(what, &client, format, terminal).await,
        Command::Delete(what) => documents::delete(what, &client, format, terminal).await,
        Command::Analyze(_) | Command::Simulate(_) | Command::Test(_) => Ok(()),
        Command::Proxies => proxies::proxies(&client, format, terminal).await,
        Command::Wait(what) => proxies::wait(what, &client, format, terminal).await,
        Command::Stat(what) => edges::stat(what, &client, format, terminal).await,
        Command::Edges(what) => edges::edges(what, &client, format, terminal).await,
        Command::Traces(what) => traces::traces(what, &client, format, terminal).await,
        Command::Explain(what) => explain::explain(what, &client, format, terminal).await,
    }
}

/// Prints the help that was asked for, or in one line what is wrong with the command line.
fn refuse(error: &clap::Error, terminal: &mut Terminal<'_>) -> u8 {
    let page = error.render().to_string();
    // Nobody may be there to read it; the exit code says it as well.
    let _ = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(terminal.out, "{page}");
            return 0;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => write!(terminal.err, "{page}"),
        _ => {
            let paragraphs = page.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            let told = paragraphs.filter(|text| !text.starts_with("Usage:") && !text.starts_with("For more"));
            let text = told.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
            let text = text.strip_prefix("error: ").unwrap_or(&text).replace("; tip: ", "; ");
            writeln!(terminal.err, "outrigger: {text}; see outrigger --help")
        }
    };
    2
}

/// The command line in its shape; help is wrapped to `width`.
fn read(arguments: impl IntoIterator<Item = OsString>, width: usize) -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command().term_width(width.min(100));
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The width of the terminal, and a usual one where there is none.
fn width() -> usize {
    terminal_size::terminal_size().map_or(120, |(width, _)| usize::from(width.0).clamp(40, 400))
}
