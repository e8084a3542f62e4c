//! `REFERENCE.md` names every field of every document, and no other. The fields are asked of the reader itself: a
//! mapping with a field that nobody knows is refused with the names of those that are known.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outrigger_config::document::{Kind, parse};

/// So unlike every word that the reader lists what it knows instead of guessing.
const NOBODY: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

/// How deep a document goes; a reader that goes deeper is one of a tree of its own shape.
const DEEPEST: usize = 12;

/// A way into a document: field names, and `[]` for the item of a list.
type Way = Vec<String>;

fn shown(way: &[String]) -> String {
    way.join(".").replace(".[]", "[]")
}

/// The document of `kind` that has nothing but `inside` at the end of `way`.
fn document(kind: Kind, way: &[String], inside: serde_json::Value) -> String {
    let wrap = |inside, step: &String| match step.as_str() {
        "[]" => serde_json::json!([inside]),
        name => serde_json::json!({ name: inside }),
    };
    let mut document = serde_json::json!({ "metadata": { "name": "a" }, "spec": {} });
    let top = way.iter().rev().fold(inside, wrap);
    for (name, value) in top.as_object().expect("a way begins with a field") {
        document[name] = value.clone();
    }
    document["apiVersion"] = kind.api_version().into();
    document["kind"] = kind.as_str().into();
    document.to_string()
}

/// What is said of the field at the end of `way` with `inside` in it.
fn said(kind: Kind, way: &[String], inside: serde_json::Value, of: &str) -> Option<String> {
    let place = format!("{}{of}", shown(way).replace("[]", "[0]"));
    let problems = parse(&document(kind, way, inside), "probe.json").err()?;
    problems.0.into_iter().find(|problem| problem.path == place).map(|problem| problem.reason)
}

/// The fields that the reader knows below `way`, with the way to each.
fn fields(kind: Kind, way: &Way, found: &mut BTreeSet<String>) {
    assert!(way.len() <= DEEPEST, "{kind} {way:?}");
    let probe = serde_json::json!({ NOBODY: 1 });
    if said(kind, way, probe.clone(), "").is_some_and(|reason| reason.starts_with("must be a list")) {
        let item = [&way[..], &["[]".to_owned()]].concat();
        return fields(kind, &item, found);
    }
    let Some(reason) = said(kind, way, probe, &format!(".{NOBODY}")) else { return };
    let Some((_, known)) = reason.split_once("known here: ") else { return };
    for name in known.split(", ") {
        let field = [&way[..], &[name.to_owned()]].concat();
        found.insert(shown(&field));
        fields(kind, &field, found);
    }
}

/// The first column of the tables below a heading.
fn page(heading: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("REFERENCE.md");
    let text = fs::read_to_string(file).expect("REFERENCE.md is there");
    let section = text.split("\n## ").find_map(|section| section.strip_prefix(&format!("{heading}\n")));
    let section = section.unwrap_or_else(|| panic!("REFERENCE.md has no section {heading:?}"));
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    section.lines().filter_map(row).collect()
}

/// What the page says of a kind beside what there is.
fn differences(heading: &str, found: &BTreeSet<String>) -> Vec<String> {
    let page = page(heading);
    let missing = found.difference(&page).map(|field| format!("{heading}: leaves out {field}"));
    let invented = page.difference(found).map(|field| format!("{heading}: there is no {field}"));
    missing.chain(invented).collect()
}

#[test]
fn every_field_of_every_kind_is_on_the_page() {
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let mut found = BTreeSet::new();
        fields(kind, &vec!["spec".to_owned()], &mut found);
        let found: BTreeSet<_> = found.iter().map(|path| path["spec.".len()..].to_owned()).collect();
        assert!(found.len() > 3, "{kind}: the probe finds {found:?}");
        wrong.extend(differences(kind.as_str(), &found));
    }
    assert!(wrong.is_empty(), "REFERENCE.md: {wrong:#?}");
}

#[test]
fn what_every_document_has_is_on_the_page() {
    let mut found = BTreeSet::from(["apiVersion", "kind", "metadata", "spec"].map(str::to_owned));
    fields(Kind::Workload, &vec!["metadata".to_owned()], &mut found);
    found.remove("metadata");
    assert_eq!(differences("Every document", &found), [""; 0]);
}
