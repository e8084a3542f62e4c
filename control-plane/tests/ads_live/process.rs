//! The binary: how it refuses to start, and how it stops.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger-control-plane"));
    command.current_dir(directory).args(["--xds=127.0.0.1:0", "--api=127.0.0.1:0"]).args(arguments);
    command.env_remove("OUTRIGGER_LOG").env_remove("OUTRIGGER_OTLP_FORWARD");
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().expect("a process")
}

#[test]
fn what_cannot_start_says_why_in_one_line_and_exits_with_2() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("foreign"), "hello").expect("writable");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("--otlp-grpc={}", taken.local_addr().expect("its address"));
    for (arguments, words) in [
        (["--nope"], "--nope"),
        (["--documents=nowhere"], "--documents"),
        (["--store=foreign"], "--store"),
        (["--log=a=b=c"], "--log"),
        (["--otlp-forward=ftp://x"], "--otlp-forward"),
        ([port.as_str()], "--otlp-grpc"),
    ] {
        let output = run(directory.path(), &arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn bad_documents_at_the_start_are_refused_with_their_place() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("bad.yaml"), "apiVersion: v1\nkind: Nothing\n").expect("writable");
    let output = run(directory.path(), &["--documents=."]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("bad.yaml:"), "{text}");
}

#[test]
fn a_sigterm_stops_it_in_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = command(directory.path(), &[]).stderr(Stdio::piped()).spawn().expect("a process");
    let mut log = BufReader::new(child.stderr.take().expect("its log"));
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert_ne!(log.read_line(&mut line).expect("readable"), 0, "it ended early");
    }
    let started = Instant::now();
    let id = child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &id]).status().expect("kill is there");
    assert!(killed.success());
    let status = child.wait().expect("it ends");
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("readable");
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
