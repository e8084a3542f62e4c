//! The store against what ends processes and breaks files: SIGKILL in the middle of applies, a file cut short, a file
//! with foreign bytes.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_config::document::Kind;
use outrigger_config::name::ObjectName;
use outrigger_control_plane::error::Error;
use outrigger_control_plane::state::{ChangeError, Filter, Outcome, Steering};
use outrigger_control_plane::store::Store;

/// Names the store to the process that [`applies_until_it_is_killed`] becomes when this is set.
const CHILD: &str = "OUTRIGGER_TEST_STORE";

fn open(path: &Path) -> Steering {
    Steering::start(Store::open(path).expect("a store"), None).expect("a mesh")
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{name: http, port: {port}}}]}}\n"
    )
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("a name")
}

/// Not a test of its own: the process that [`what_was_acknowledged_survives_a_kill`] starts and kills.
#[test]
fn applies_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let steering = open(Path::new(&path));
    let mut out = std::io::stdout();
    for number in steering.generation().. {
        let documents =
            format!("{}---\n{}", service(&format!("a{number}"), 80), service("latest", (number % 60_000 + 1) as u16));
        let applied = steering.apply(&documents, false).expect("applied");
        writeln!(out, "acknowledged {number} {}", applied.generation).expect("the parent reads");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "applies_until_it_is_killed", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        // Beside "test NAME ... ", which the harness begins the line with.
        let mut numbers = lines.filter_map(|line| {
            let (_, rest) = line.split_once("acknowledged ")?;
            let (number, generation) = rest.split_once(' ')?;
            Some((number.parse::<u64>().ok()?, generation.parse::<u64>().ok()?))
        });
        acknowledged.extend(numbers.by_ref().take(3));
        // Somewhere in the middle of whatever comes then.
        std::thread::sleep(Duration::from_micros(1700 * round * round + 300 * round));
        child.kill().expect("it runs");
        acknowledged.extend(numbers);
        child.wait().expect("it has ended");

        let steering = open(&path);
        let &(last, generation) = acknowledged.last().expect("something was acknowledged");
        assert!(steering.generation() >= generation, "{} < {generation}", steering.generation());
        for (number, _) in &acknowledged {
            let document = name(&format!("shop/a{number}"));
            assert!(steering.document(Kind::Service, &document).is_some(), "{document} was acknowledged");
        }
        // A change is there whole or not at all: there is never more than one that was not acknowledged.
        let latest = steering.document(Kind::Service, &name("shop/latest")).expect("the other half");
        let port = latest.json()["spec"]["ports"][0]["port"].as_u64().expect("a port");
        let count = steering.documents(&Filter { kind: Some(Kind::Service), namespace: None }).len() as u64 - 1;
        assert!(port == last + 1 || port == last + 2, "round {round}: {port} after {last}");
        assert!(count == acknowledged.len() as u64 || steering.generation() > generation, "round {round}");
        if steering.generation() > generation {
            // Done and not acknowledged; the next process begins behind it.
            acknowledged.push((last + 1, steering.generation()));
        }
    }
}

#[test]
fn a_restart_brings_documents_and_generation_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let steering = open(&path);
    let before = steering.generation();
    let applied = steering.apply(&service("catalog", 80), false).expect("applied");
    assert_eq!((applied.generation, applied.changes[0].result), (before + 1, Outcome::Created));
    drop(steering);

    let steering = open(&path);
    assert_eq!(steering.generation(), before + 1);
    let again = steering.apply(&service("catalog", 80), false).expect("applied");
    assert_eq!((again.generation, again.changes[0].result), (before + 1, Outcome::Unchanged));
    let changed = steering.apply(&service("catalog", 81), false).expect("applied");
    assert_eq!((changed.generation, changed.changes[0].result), (before + 2, Outcome::Configured));
    assert_eq!(steering.delete(Kind::Service, &name("shop/catalog")).expect("deleted"), before + 3);
    let unknown = steering.delete(Kind::Service, &name("shop/catalog"));
    assert!(matches!(unknown, Err(ChangeError::Unknown { .. })), "{unknown:?}");
    drop(steering);
    assert!(open(&path).documents(&Filter::default()).is_empty());
}

#[test]
fn what_is_refused_or_only_tried_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let steering = open(&path);
    let before = steering.generation();
    let tried = steering.apply(&service("catalog", 80), true).expect("it would be applied");
    assert_eq!((tried.generation, tried.changes[0].result), (before, Outcome::Created));
    let twice = format!("{}---\n{}", service("catalog", 80), service("catalog", 81));
    for text in [twice.as_str(), &service("catalog", 0), "kind: [", "{}"] {
        assert!(matches!(steering.apply(text, false), Err(ChangeError::Refused(_))), "{text}");
    }
    assert_eq!(steering.generation(), before);
    drop(steering);
    assert!(open(&path).documents(&Filter::default()).is_empty());
}

#[test]
fn a_store_has_one_owner() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let _first = Store::open(&path).expect("a store");
    assert!(matches!(Store::open(&path), Err(Error::StoreLocked { .. })));
}

#[test]
fn a_broken_file_is_refused_in_one_line_and_never_a_panic() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let steering = open(&path);
    (0..50).for_each(|i| drop(steering.apply(&service(&format!("s{i}"), 80), false).expect("applied")));
    drop(steering);
    let whole = std::fs::read(&path).expect("the file");

    let check = |what: &str, bytes: &[u8]| {
        let broken = directory.path().join("broken.redb");
        std::fs::write(&broken, bytes).expect("writable");
        let opened = Store::open(&broken).and_then(|store| Steering::start(store, None).map(drop));
        if let Err(error) = opened {
            assert!(matches!(error, Error::StoreUnusable { .. } | Error::StoreIo { .. }), "{what}: {error:?}");
            let line = error.to_string();
            assert!(!line.contains('\n') && line.contains("broken.redb"), "{what}: {line}");
        }
    };
    check("foreign", b"#!/bin/sh\necho hello\n");
    let mut rng = fastrand::Rng::with_seed(7);
    let deadline = Instant::now() + Duration::from_secs(10);
    for round in 0..60 {
        if Instant::now() > deadline {
            break;
        }
        let length = rng.usize(1..whole.len());
        check(&format!("cut to {length}"), &whole[..length]);
        let mut flipped = whole.clone();
        for _ in 0..1 + round % 8 {
            let at = rng.usize(..flipped.len().min(64 * 1024));
            flipped[at] ^= 1 << rng.u32(..8);
        }
        check(&format!("flipped in round {round}"), &flipped);
    }
}
