//! `simulate` and `test`: what documents would do to traffic, played by the proxy itself.
//!
//! Whatever decides over a request is the proxy's, and the control plane knows nothing of it. So these commands are the
//! proxy's as well, and this runs `outrigger-proxy` with them: the one that stands beside this program, so that what is
//! rehearsed is what will serve.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::args::{Format, Rehearse};
use super::failure::Failure;
use super::terminal::Terminal;

/// Where the proxy is, if it is not beside this program.
const VARIABLE: &str = "OUTRIGGER_PROXY";

/// Runs a command of the proxy, and prints what it prints.
pub(super) fn rehearse(
    word: &str,
    what: &Rehearse,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let format = match format {
        Format::Table => "table",
        Format::Json => "json",
        Format::Yaml => return Err(Failure::Usage(format!("{word} prints a table or json; leave out -o yaml"))),
    };
    let proxy = proxy();
    let mut command = Command::new(&proxy);
    // What the proxy is told last counts, so that -o may stand on either side of the word.
    command.arg(word).args(["--output", format]).args(&what.arguments).stdin(Stdio::null());
    let ended = command.output().map_err(|error| not_run(&proxy, &error))?;
    terminal.out.write_all(&ended.stdout)?;
    terminal.err.write_all(&ended.stderr)?;
    match ended.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Failure::Said),
        Some(_) => Err(Failure::Misused),
        None => Err(Failure::Usage(format!("{} was ended by a signal", proxy.display()))),
    }
}

/// What the variable says, or the one in the same folder, or the one in the path.
fn proxy() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return named.into();
    }
    let name = OsString::from("outrigger-proxy");
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join(&name))).filter(|beside| beside.is_file());
    beside.unwrap_or_else(|| name.into())
}

fn not_run(proxy: &std::path::Path, error: &io::Error) -> Failure {
    let proxy = proxy.display();
    Failure::Usage(format!("{proxy} cannot be run ({error}): put it beside outrigger, or say where by {VARIABLE}"))
}
