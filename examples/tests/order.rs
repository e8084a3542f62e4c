//! The one-list rule: `lib.rs` declares modules in dependency order, a module uses only modules declared above it, and
//! no file is longer than 400 lines before its tests.

use std::fs;
use std::path::{Path, PathBuf};

const LONGEST: usize = 400;

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of a file before its tests.
fn product(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file");
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]" || line.starts_with(' ')).map(str::to_owned).collect()
}

/// The modules of `lib.rs`, in order.
fn modules(source: &Path) -> Vec<String> {
    let lines = product(&source.join("lib.rs"));
    let name = |line: &String| {
        let rest = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        Some(rest.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    lines.iter().filter_map(name).collect()
}

#[test]
fn modules_use_only_what_is_declared_above_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = modules(&source);
    let mut wrong = Vec::new();
    for path in sources(&source) {
        let inside = path.strip_prefix(&source).expect("inside");
        let own = inside.iter().next().and_then(|first| first.to_str()).unwrap_or_default().trim_end_matches(".rs");
        let Some(place) = modules.iter().position(|module| module == own) else { continue };
        for line in product(&path) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if modules.iter().position(|module| *module == used).is_some_and(|other| other > place) {
                    wrong.push(format!("{}: {}", inside.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "used before they are declared:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let long: Vec<String> = sources(&source)
        .into_iter()
        .map(|path| (product(&path).len(), path))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:?}");
}
