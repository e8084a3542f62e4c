//! The files that a rehearsal is made of: documents, and what stands beside them.

use std::path::{Path, PathBuf};

use outrigger_config::document::{self, Document};
use outrigger_config::error::Problems;

/// The end of a file of tests.
const TESTS: &str = ".test.yaml";

/// The largest file that is read, bytes.
const MAX_FILE: u64 = 64 << 20;

/// What files there are.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Of documents.
    pub(super) documents: Vec<PathBuf>,
    /// Of tests.
    pub(super) tests: Vec<PathBuf>,
}

/// Why there are no documents.
#[derive(Debug)]
pub(super) enum Wrong {
    /// A file cannot be read.
    Unreadable(String),
    /// What they say is wrong.
    Refused(Problems),
}

impl Files {
    /// Those that `paths` name. A directory stands for its *.yaml, *.yml and *.json, sorted, without its directories.
    pub(super) fn find(paths: &[PathBuf]) -> Result<Self, String> {
        let mut files = Files::default();
        for path in paths {
            if !path.is_dir() {
                files.add(path.clone());
                continue;
            }
            let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
            let entries = entries.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            let mut inside: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
            inside.retain(|file| {
                file.is_file() && file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
            });
            inside.sort();
            inside.into_iter().for_each(|file| files.add(file));
        }
        if files.documents.is_empty() {
            return Err("no documents: name a file or a directory with *.yaml, *.yml or *.json by -f".to_owned());
        }
        Ok(files)
    }

    fn add(&mut self, file: PathBuf) {
        let is_tests = file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(TESTS));
        if is_tests { self.tests.push(file) } else { self.documents.push(file) }
    }

    /// All documents, or everything that is wrong with them.
    pub(super) fn documents(&self) -> Result<Vec<Document>, Wrong> {
        let (mut documents, mut problems) = (Vec::new(), Problems::default());
        for file in &self.documents {
            let text = read(file).map_err(Wrong::Unreadable)?;
            match document::parse(&text, &file.display().to_string()) {
                Ok(found) => documents.extend(found),
                Err(found) => problems.0.extend(found.0),
            }
        }
        if problems.is_empty() { Ok(documents) } else { Err(Wrong::Refused(problems)) }
    }
}

/// The text of a file.
pub(super) fn read(file: &Path) -> Result<String, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", file.display());
    let size = std::fs::metadata(file).map_err(|error| unreadable(&error))?.len();
    if size > MAX_FILE {
        return Err(unreadable(&format_args!("it has {size} bytes, and at most {MAX_FILE} are read")));
    }
    std::fs::read_to_string(file).map_err(|error| unreadable(&error))
}
