//! One binary, several programs: the first argument says which. `proxy`, `control-plane`, `outrigger` (the command line)
//! and `shop` are what the demo starts itself as; anything else is the demo.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;

use crate::arguments::Arguments;
use crate::demo;
use crate::shop::app;
use crate::supervise;

/// Runs whichever program the arguments, of which the first is this program's name, ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    supervise::hold_lifeline();
    let called = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default().to_owned();
    let program = match called.as_str() {
        "proxy" => "outrigger-proxy",
        "control-plane" => "outrigger-control-plane",
        "outrigger" => "outrigger",
        "shop" => "demo shop",
        _ => return finish(read(arguments).and_then(|arguments| block_on(demo::run(arguments)))),
    };
    arguments.remove(0);
    arguments[0] = program.into();
    match called.as_str() {
        "shop" => finish(block_on(app::run(app::Arguments::parse_from(arguments))).map(|()| ExitCode::SUCCESS)),
        "control-plane" => outrigger_control_plane::app::run(arguments),
        "outrigger" => outrigger_control_plane::cli::run(arguments),
        _ => outrigger_proxy::app::run(arguments),
    }
}

/// The demo's own command line. What is wrong with it is said in one line; help is a page, and ends well.
fn read(arguments: Vec<OsString>) -> Result<Arguments> {
    Arguments::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        _ => {
            let page = error.to_string();
            let first: Vec<&str> = page.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let first = first.join(" ");
            anyhow::anyhow!("{}; see --help", first.strip_prefix("error: ").unwrap_or(&first))
        }
    })
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(work)
}

fn finish(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "demo: {error:#}");
        ExitCode::from(2)
    })
}
