//! The two laws of the house that nothing else enforces: a module uses only modules declared above it in `lib.rs`, and
//! no file is longer than 400 lines before its tests, and no file of tests either. Reading `lib.rs` from the top is then
//! the tour of the crate.
//!
//! The same file stands in every crate; it looks only at the crate that it stands in.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 400;

#[test]
fn modules_use_only_modules_declared_above_them() {
    let order = declared();
    assert!(!order.is_empty(), "src/lib.rs declares no module");
    let mut wrong = Vec::new();
    for (position, module) in order.iter().enumerate() {
        for file in files_of(module) {
            for (number, line) in production(&file) {
                for used in uses(&line) {
                    if order.iter().position(|known| *known == used).is_none_or(|at| at > position) {
                        wrong.push(format!("{}:{number}: {module} must not use {used}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short() {
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [source(), root.join("tests")].iter().flat_map(|folder| rust_files(folder)) {
        let name = file.strip_prefix(root).expect("under the crate").display().to_string();
        let lines = if is_tests(&file) { text_of(&file).lines().count() } else { production(&file).len() };
        if lines > MAX_LINES {
            wrong.push(format!("{name} has {lines} lines; split it by concept"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of `lib.rs`, in order.
fn declared() -> Vec<String> {
    let text = fs::read_to_string(source().join("lib.rs")).expect("src/lib.rs is there");
    let module = |line: &str| {
        let rest = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
        Some(rest.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    text.lines().filter_map(|line| module(line.trim())).collect()
}

/// The files of a module: `NAME.rs`, and everything in the folder `NAME`.
fn files_of(module: &str) -> Vec<PathBuf> {
    let single = source().join(format!("{module}.rs"));
    let mut files: Vec<PathBuf> = single.exists().then_some(single).into_iter().collect();
    files.extend(rust_files(&source().join(module)));
    assert!(!files.is_empty(), "no file for module {module}");
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let of = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => Vec::from_iter(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
    };
    let mut files: Vec<PathBuf> = paths.flat_map(of).collect();
    files.sort();
    files
}

fn is_tests(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "tests.rs")
}

fn text_of(file: &Path) -> String {
    fs::read_to_string(file).expect("a readable file")
}

/// The lines of a file before its tests, numbered from 1. A file `tests.rs` has none.
fn production(file: &Path) -> Vec<(usize, String)> {
    if is_tests(file) {
        return Vec::new();
    }
    let text = text_of(file);
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}

/// The modules after each `crate::` of a line of code; `use crate::{a, b}` is not the house's way and found as `{`.
fn uses(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let after = code.split("crate::").skip(1);
    let name =
        |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
    after.map(name).collect()
}
