//! The law of the clock: whoever is on a request's way reads the time from `clock`, so that a rehearsal, which holds it,
//! decides as the proxy does. tokio's `Instant` is the same clock; the standard library's is not.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// What is beside the path of requests: threads and tasks of their own, which a rehearsal leaves out.
const BESIDE: [&str; 8] = ["admin", "app", "discovery", "health", "overload", "quota", "simulate", "telemetry"];

/// Files that may read the system's clock all the same, each with its reason.
const EXCEPTIONS: [(&str, &str); 1] = [("clock.rs", "it is what all others ask")];

#[test]
fn whoever_is_on_a_requests_way_asks_the_clock() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let name = file.strip_prefix(&source).expect("under src").display().to_string();
        let module = name.split(['/', '.']).next().unwrap_or_default();
        if BESIDE.contains(&module) || EXCEPTIONS.iter().any(|(known, _)| *known == name) {
            continue;
        }
        wrong.extend(readings(&production(&file)).into_iter().map(|line| format!("src/{name}:{line}")));
    }
    assert!(wrong.is_empty(), "ask clock::now() or clock::wall():\n{}", wrong.join("\n"));
}

#[test]
fn a_reading_of_the_systems_clock_is_seen() {
    for (text, seen) in [
        ("use std::time::{Duration, Instant};\nlet a = Instant::now();", 1),
        ("use std::time::Instant as Then;\nlet a = Then::now();", 1),
        ("let a = std::time::Instant::now();\nlet b = SystemTime::now();", 2),
        ("use tokio::time::Instant;\nlet a = Instant::now();", 0),
        ("use std::time::Instant;\nlet a = tokio::time::Instant::now();", 0),
        ("use std::time::Instant;\nlet a = start.elapsed();", 1),
        ("use tokio::time::Instant;\nlet a = start.elapsed();", 0),
        ("let a = 1; // Instant::now() of std::time::Instant", 0),
    ] {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(readings(&lines).len(), seen, "{text}");
    }
}

/// The lines that read the system's clock, each with its number.
fn readings(lines: &[String]) -> Vec<String> {
    let code: Vec<&str> = lines.iter().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let standard = |line: &&&str| line.trim_start().starts_with("use std::time::") && line.contains("Instant");
    let imported = code.iter().find(standard);
    // Under another name it would not be seen.
    let renamed = imported.filter(|line| line.contains("Instant as ")).map(|_| "::now()");
    let reads = |line: &str| {
        let plain =
            line.replace("tokio::time::Instant::now()", "").replace("clock::now()", "").replace("trail.elapsed()", "");
        line.contains("SystemTime::now()")
            || line.contains("std::time::Instant::now()")
            || (imported.is_some() && (plain.contains("Instant::now()") || plain.contains(".elapsed()")))
            || renamed.is_some_and(|now| plain.contains(now))
    };
    let numbered = code.iter().enumerate().filter(|(_, line)| reads(line));
    numbered.map(|(index, line)| format!("{}: {}", index + 1, line.trim())).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let of = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => Vec::from_iter(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
    };
    let mut files: Vec<PathBuf> = paths.flat_map(of).collect();
    files.sort();
    files
}

/// The lines of a file before its tests; a file of tests, and one in a folder of them, has none.
fn production(file: &Path) -> Vec<String> {
    let of_tests = file.parent().is_some_and(|folder| folder.ends_with("tests"));
    if of_tests || file.file_name().is_some_and(|name| name == "tests.rs" || name == "storm.rs") {
        return Vec::new();
    }
    let text = fs::read_to_string(file).expect("a readable file");
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").map(str::to_owned).collect()
}
