//! However the demo ends, none of its processes is left.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A demo that has said that its shop is open.
fn open_shop(directory: &Path, more: &[&str], processes: usize) -> (Child, Vec<u32>) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--for", "15s", "--rate", "50"])
        .args(more)
        .env("TMPDIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("its output")).lines();
    let open = lines.any(|line| line.is_ok_and(|line| line.contains("customers")));
    assert!(open, "the shop never opened");
    let children = children_of(demo.id());
    assert!(children.len() >= processes, "{children:?}");
    (demo, children)
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The fourth field of `stat`, after the name in brackets, which may hold anything. Zombies count as gone.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if fields.next() == Some("Z") {
        return None;
    }
    fields.next()?.parse().ok()
}

fn check_end(signal: Signal, more: &[&str], processes: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut demo, children) = open_shop(directory.path(), more, processes);
    let pid = Pid::from_raw(i32::try_from(demo.id()).expect("a pid")).expect("not zero");
    kill_process(pid, signal).expect("it runs");
    demo.wait().expect("it ends");
    let deadline = Instant::now() + Duration::from_secs(10);
    while children.iter().any(|child| parent_of(*child).is_some()) {
        assert!(Instant::now() < deadline, "still there after {signal:?}: {children:?}");
        sleep(Duration::from_millis(20));
    }
}

/// 11 of the shop, 13 sidecars, the control plane.
const MESH: (&[&str], usize) = (&[], 25);
const SHOP: (&[&str], usize) = (&["--no-mesh"], 11);

#[test]
fn ctrl_c_leaves_no_process_behind() {
    check_end(Signal::INT, MESH.0, MESH.1);
}

#[test]
fn being_told_to_stop_leaves_no_process_behind() {
    check_end(Signal::TERM, SHOP.0, SHOP.1);
}

#[test]
fn a_killed_demo_leaves_no_process_behind() {
    check_end(Signal::KILL, MESH.0, MESH.1);
}
