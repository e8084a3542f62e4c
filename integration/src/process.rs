//! A child process: its output is kept line by line, it can be signalled, measured and waited for, and it dies with its
//! owner. When a test fails, the last lines of every process it had are printed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::wait;

/// How many lines of a process are printed when its test fails.
const LAST_LINES: usize = 40;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

/// How a process ended, and all it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Every line of its standard output and standard error, as they came.
    pub lines: Vec<String>,
}

impl Process {
    /// Starts `command` under `name`; the name is for people.
    pub fn start(name: &str, command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({:?}): {error}", command.get_program()));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(read(name, pipe, lines.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(read(name, pipe, lines.clone()));
        }
        Process { name: name.to_owned(), child, lines, readers }
    }

    /// Runs `program` with `args` to its end, at most [`wait::PATIENCE`].
    pub async fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Ended {
        let name = program.as_ref().to_string_lossy().into_owned();
        Process::start(&name, Command::new(program).args(args)).ended().await
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// Whether a line with `needle` in it has been said.
    pub fn said(&self, needle: &str) -> bool {
        self.lines.lock().iter().any(|line| line.contains(needle))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal by name: `TERM`, `INT`, `STOP`.
    pub fn signal(&self, signal: &str) {
        // Through kill(1): the call itself would need unsafe code, which the workspace forbids.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", self.id())).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send {signal} to {}", self.name);
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself, at most [`wait::PATIENCE`].
    pub async fn ended(mut self) -> Ended {
        let end = Instant::now() + wait::PATIENCE;
        let status: ExitStatus = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                _ if Instant::now() > end => panic!("{} did not end within {:?}", self.name, wait::PATIENCE),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ended { code: status.code(), lines: std::mem::take(&mut *self.lines.lock()) }
    }

    /// Its resident memory, MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0.0);
        kib / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.lines.lock();
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "--- the last lines of {} ---", self.name);
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
                let _ = writeln!(out, "{line}");
            }
        }
    }
}

/// Reads a pipe to its end on a thread of its own, so that a chatty process never blocks on a full pipe.
fn read(name: &str, pipe: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .name(format!("log-{name}"))
        .spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines.lock().push(line);
            }
        })
        .expect("a thread can be started")
}
