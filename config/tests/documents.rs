//! What is said about documents: each file of `fixtures` is read, and what comes back is kept beside the tests.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

use outrigger_config::document::parse;
use outrigger_config::error::Problems;
use outrigger_config::mesh::Mesh;

/// Reads every file of a folder and hands on its name and what is wrong with it.
fn each(folder: &str, check: impl Fn(&str, Result<Problems, Problems>)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).expect("the folder is there").map(|file| file.expect("it")).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().into_string().expect("a plain name");
        let text = fs::read_to_string(file.path()).expect("text");
        let found = parse(&text, &name).and_then(Mesh::try_new).map(|(_, warnings)| warnings);
        check(&name, found);
    }
}

#[test]
fn bad_documents_are_refused_with_all_that_is_wrong() {
    each("bad", |name, found| {
        let problems = found.expect_err(name);
        assert!(problems.refuses(), "{name}");
        assert!(problems.0.iter().all(|problem| problem.location.is_some()), "{name}");
        insta::assert_snapshot!(format!("bad_{name}"), problems);
    });
}

#[test]
fn good_documents_are_taken_with_what_is_odd_about_them() {
    each("good", |name, found| {
        let warnings = found.unwrap_or_else(|problems| panic!("{name}: {problems}"));
        insta::assert_snapshot!(format!("good_{name}"), warnings);
    });
}
