//! The files a command names, as one text whose lines know where they came from.
//!
//! The API takes one body, so that documents of several files are applied together or not at all; what it says about a
//! line is translated back to the file the line stands in.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::api::{LocationView, ProblemView};

/// The largest file that is read, in bytes; the API takes no more in one body either.
const MAX_FILE: u64 = 16 << 20;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// As the user named it; `-` for standard input.
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads what the paths name. A directory stands for its *.yaml, *.yml and *.json, sorted, without its directories.
pub(super) fn read(paths: &[PathBuf], input: &mut dyn Read) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            parts.push(Part { name: "-".to_owned(), text: text(input, path)? });
        } else if path.is_dir() {
            let files = documents_in(path).map_err(|error| unreadable(path, &error))?;
            if files.is_empty() {
                return Err(Failure::Usage(format!("{} holds no *.yaml, *.yml or *.json", path.display())));
            }
            for file in files {
                parts.push(part(&file)?);
            }
        } else {
            parts.push(part(path)?);
        }
    }
    Ok(parts)
}

/// All parts as one stream of documents.
pub(super) fn joined(parts: &[Part]) -> String {
    let mut all = String::new();
    for part in parts {
        all.push_str(&part.text);
        if !part.text.ends_with('\n') {
            all.push('\n');
        }
        all.push_str("---\n");
    }
    all
}

/// Translates the places in [`joined`] text back to the parts.
pub(super) fn relocate(problems: &mut [ProblemView], parts: &[Part]) {
    for location in problems.iter_mut().filter_map(|problem| problem.location.as_mut()) {
        let mut line = location.line;
        for part in parts {
            let lines = u32::try_from(part.text.lines().count()).unwrap_or(u32::MAX).saturating_add(1);
            if line <= lines {
                *location = LocationView { file: part.name.clone(), line, column: location.column };
                break;
            }
            line -= lines;
        }
    }
}

fn documents_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let document = matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml" | "json"));
        if document && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn part(path: &Path) -> Result<Part, Failure> {
    let mut file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Part { name: path.display().to_string(), text: text(&mut file, path)? })
}

fn text(from: &mut dyn Read, path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    from.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::Usage(format!("{} has more than {MAX_FILE} bytes", path.display())));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Part, joined, relocate};
    use crate::api::{LocationView, ProblemView};

    #[test]
    fn a_line_of_the_whole_is_a_line_of_its_file() {
        let part = |name: &str, text: &str| Part { name: name.into(), text: text.into() };
        let parts = [part("a.yaml", "one\ntwo\n"), part("b.yaml", "three"), part("c.yaml", "four\n")];
        assert_eq!(joined(&parts), "one\ntwo\n---\nthree\n---\nfour\n---\n");
        let at = |line| ProblemView {
            code: "ORG001".into(),
            object: String::new(),
            path: String::new(),
            value: None,
            reason: String::new(),
            location: Some(LocationView { file: String::new(), line, column: 7 }),
        };
        let mut problems = [at(1), at(2), at(4), at(6), at(99)];
        relocate(&mut problems, &parts);
        let places = problems.map(|problem| problem.location.map(|at| (at.file, at.line)).expect("kept"));
        let expected = [("a.yaml", 1), ("a.yaml", 2), ("b.yaml", 1), ("c.yaml", 1), ("", 99)];
        assert_eq!(places, expected.map(|(file, line)| (file.to_owned(), line)));
    }
}
