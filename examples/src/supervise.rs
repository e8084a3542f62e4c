//! The processes of the demo, and that none outlives it.
//!
//! Every process is this very binary, started again with another first argument. Three things end it: SIGTERM, then
//! SIGKILL, when the demo stops in order; dropping the [`Fleet`]; and its *lifeline*, a pipe on its standard input whose
//! other end only the demo holds, so that it ends even when the demo was killed and could tell nobody. Processes stand
//! in groups of their own: a Ctrl-C in the terminal reaches the demo alone, which then stops them in order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// Tells a process that its standard input is a lifeline.
const LIFELINE: &str = "OUTRIGGER_DEMO_LIFELINE";

/// How to start a process.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Its name among the others, and of its log.
    pub(crate) name: String,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// What is added to its environment; `None` takes a variable away.
    pub(crate) environment: Vec<(String, Option<String>)>,
}

struct Running {
    recipe: Recipe,
    child: Child,
}

/// All processes the demo started.
pub(crate) struct Fleet {
    program: PathBuf,
    directory: PathBuf,
    running: BTreeMap<String, Running>,
}

impl Fleet {
    /// A fleet of `program`, whose members write their logs into `directory`.
    pub(crate) fn new(program: PathBuf, directory: PathBuf) -> Self {
        Fleet { program, directory, running: BTreeMap::new() }
    }

    /// Where logs and stores are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.running.len()
    }

    /// Starts one more.
    pub(crate) fn start(&mut self, recipe: Recipe) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log(&recipe.name))?;
        let mut command = Command::new(&self.program);
        command
            .args(&recipe.arguments)
            .env(LIFELINE, "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        for (key, value) in &recipe.environment {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", recipe.name))?;
        self.running.insert(recipe.name.clone(), Running { recipe, child });
        Ok(())
    }

    /// SIGKILL: ends one as a crash would, and waits until it is gone. Returns how to start it again.
    pub(crate) async fn kill(&mut self, name: &str) -> Result<Recipe> {
        let Some(mut running) = self.running.remove(name) else { bail!("no process is called {name}") };
        running.child.kill().await.with_context(|| format!("cannot kill {name}"))?;
        Ok(running.recipe)
    }

    /// Those that ended although nobody asked them to, with the end of their logs.
    pub(crate) fn casualties(&mut self) -> Vec<String> {
        let mut casualties = Vec::new();
        for (name, running) in &mut self.running {
            if let Ok(Some(status)) = running.child.try_wait() {
                let log = std::fs::read_to_string(self.directory.join(format!("{name}.log"))).unwrap_or_default();
                casualties.push(describe(name, status, &log));
            }
        }
        casualties
    }

    /// Stops all: SIGTERM, a moment to finish, SIGKILL. Nothing is left when it returns.
    pub(crate) async fn stop(&mut self, patience: Duration) {
        for running in self.running.values() {
            let pid = running.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // An error means that it has ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + patience;
        for running in self.running.values_mut() {
            if timeout_at(deadline, running.child.wait()).await.is_err() {
                let _ = running.child.start_kill();
            }
        }
        for running in self.running.values_mut() {
            let _ = running.child.wait().await;
        }
        self.running.clear();
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }
}

fn describe(name: &str, status: ExitStatus, log: &str) -> String {
    let last: Vec<&str> = log.lines().rev().take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("{name} ended by itself ({status}): {}", if last.is_empty() { "no word".into() } else { last.join(" / ") })
}

/// In a process of the fleet: ends it when the demo is gone. Elsewhere it does nothing.
pub(crate) fn hold_lifeline() {
    if std::env::var_os(LIFELINE).is_none() {
        return;
    }
    let watch = || {
        let mut byte = [0; 1];
        // Nobody ever writes: the first thing that happens on the pipe is its end.
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        // Nobody is left to be told anything, and nothing may keep this process from ending.
        let _ = kill_process(getpid(), Signal::KILL);
    };
    let started = std::thread::Builder::new().name("lifeline".into()).spawn(watch);
    drop(started);
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::{Fleet, Recipe};

    fn recipe(name: &str, script: &str) -> Recipe {
        let arguments = ["-c", script].map(OsString::from).to_vec();
        Recipe { name: name.into(), arguments, environment: Vec::new() }
    }

    fn fleet(directory: &tempfile::TempDir) -> Fleet {
        Fleet::new(PathBuf::from("/bin/sh"), directory.path().to_owned())
    }

    #[tokio::test]
    async fn closing_the_lifeline_ends_a_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut fleet = fleet(&directory);
        fleet.start(recipe("reader", "cat >/dev/null")).expect("a shell");
        let mut running = fleet.running.remove("reader").expect("it runs");
        drop(running.child.stdin.take());
        let status = running.child.wait().await.expect("it ends");
        assert!(status.success(), "{status}");
    }

    #[tokio::test]
    async fn stopping_kills_those_that_do_not_listen() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut fleet = fleet(&directory);
        fleet.start(recipe("deaf", "trap '' TERM; while :; do sleep 0.05; done")).expect("a shell");
        fleet.start(recipe("polite", "exec sleep 60")).expect("a shell");
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        fleet.stop(Duration::from_millis(200)).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(fleet.len(), 0);
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_is_named_with_its_last_words() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut fleet = fleet(&directory);
        fleet.start(recipe("brief", "echo port taken >&2; exit 2")).expect("a shell");
        let mut casualties = Vec::new();
        for _ in 0..200 {
            casualties = fleet.casualties();
            if !casualties.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(casualties[0].contains("brief") && casualties[0].contains("port taken"), "{casualties:?}");
    }

    #[tokio::test]
    async fn a_killed_process_can_be_started_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut fleet = fleet(&directory);
        fleet.start(recipe("sleeper", "exec sleep 60")).expect("a shell");
        let recipe = fleet.kill("sleeper").await.expect("it was running");
        assert_eq!(fleet.len(), 0);
        fleet.start(recipe).expect("it starts again");
        fleet.stop(Duration::from_secs(1)).await;
    }
}
