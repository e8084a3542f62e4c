//! `METRICS.md` names every metric and every attribute, and no other. The names are read from the sources, where each
//! stands once as a string.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Where attributes and the metrics that are pushed are named.
const ATTRIBUTES: [&str; 2] = ["telemetry/convert.rs", "telemetry/reporter.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file before its tests.
fn production(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a readable file");
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path());
    let of = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => Vec::from_iter(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
    };
    entries.flat_map(of).collect()
}

/// What `pattern` captures in `text`.
fn found(text: &str, pattern: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The names in the first column of the page's tables, from one heading to another.
fn page(from: &str, to: Option<&str>) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("METRICS.md")).expect("METRICS.md is there");
    let (_, rest) = text.split_once(&format!("\n## {from}\n")).expect("the heading is there");
    let part = to.map_or(rest, |to| rest.split(&format!("\n## {to}\n")).next().unwrap_or_default());
    let columns =
        part.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).map(|cell| format!("`{cell}"));
    columns.flat_map(|cell| found(&cell, "`([^`]+)`")).collect()
}

#[track_caller]
fn same(page: &BTreeSet<String>, code: &BTreeSet<String>) {
    assert!(code.len() > 10, "the sources are read wrongly: {code:?}");
    let missing: Vec<_> = code.difference(page).collect();
    let invented: Vec<_> = page.difference(code).collect();
    assert!(missing.is_empty(), "METRICS.md leaves out {missing:#?}");
    assert!(invented.is_empty(), "METRICS.md has what is not there: {invented:#?}");
}

#[test]
fn every_metric_is_on_the_page() {
    let files = sources(&root().join("src"));
    let families = |file: &PathBuf| found(&production(file), r#"Family::(?:counter|gauge|histogram)\(\s*"([^"]+)""#);
    same(&page("Metrics", Some("Spans")), &files.iter().flat_map(families).collect());
}

#[test]
fn every_attribute_is_on_the_page() {
    let names = |file: &&str| found(&production(&root().join("src").join(file)), r#""([a-z]+(?:\.[a-z_]+)+)""#);
    same(&page("Spans", None), &ATTRIBUTES.iter().flat_map(names).collect());
}
