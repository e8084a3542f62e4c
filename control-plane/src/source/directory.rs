//! The directory of documents, looked at again and again.
//!
//! Looking is cheap: names, times and sizes; a file is read again only when one of those changed, or when it was
//! written so lately that its time proves nothing. A change counts once two looks in a row agree on it, so that a
//! file that is just being written is not taken half. What a file says is not understood here.
//!
//! Polling rather than inotify: it works on every file system, follows the symbolic links that Kubernetes swaps under
//! a mounted ConfigMap, and cannot miss an event.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_config::document::MAX_BYTES;

/// How many files are read; a directory with more is refused.
pub const MAX_FILES: usize = 10_000;
/// How old a file's time must be for an unchanged time and size to mean unchanged content.
const SETTLED: Duration = Duration::from_secs(2);

/// What stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its text.
    Text(Arc<str>),
    /// Why it has none.
    Unreadable(String),
}

/// The files by name, as the problems of their documents shall call them.
pub type Files = BTreeMap<String, Content>;

/// A directory and what was seen in it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
    /// What the last look found, and whether it has been handed out.
    files: Files,
    is_new: bool,
}

#[derive(Debug)]
struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    read_at: SystemTime,
}

impl Directory {
    /// A directory that has not been looked at.
    pub fn new(path: &Path) -> Self {
        Directory { path: path.to_path_buf(), seen: BTreeMap::new(), files: Files::new(), is_new: true }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks, and returns the files when they have changed since they were last returned and not since the last look.
    pub fn poll(&mut self, now: SystemTime) -> io::Result<Option<Files>> {
        let has_changed = self.look(now)?;
        if has_changed {
            self.is_new = true;
            return Ok(None);
        }
        Ok(std::mem::take(&mut self.is_new).then(|| self.files.clone()))
    }

    /// Looks once and returns the files, for the start.
    pub fn read(&mut self, now: SystemTime) -> io::Result<Files> {
        self.look(now)?;
        self.is_new = false;
        Ok(self.files.clone())
    }

    /// Reads what may have changed; whether it has.
    fn look(&mut self, now: SystemTime) -> io::Result<bool> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_document(name)) else {
                continue;
            };
            // Gone since the directory was read, or no file.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_file() {
                found.insert(name.to_owned(), (path, metadata));
            }
            if found.len() > MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} files")));
            }
        }
        let before = self.files.len();
        self.files.retain(|name, _| found.contains_key(name));
        self.seen.retain(|name, _| found.contains_key(name));
        let mut has_changed = self.files.len() != before;
        for (name, (path, metadata)) in found {
            if self.seen.get(&name).is_some_and(|seen| seen.proves_unchanged(&metadata)) {
                continue;
            }
            let seen = Seen { modified: metadata.modified().ok(), length: metadata.len(), read_at: now };
            self.seen.insert(name.clone(), seen);
            let content = read(&path);
            if self.files.get(&name) != Some(&content) {
                self.files.insert(name, content);
                has_changed = true;
            }
        }
        Ok(has_changed)
    }
}

impl Seen {
    fn proves_unchanged(&self, metadata: &Metadata) -> bool {
        let Some(modified) = self.modified.filter(|modified| metadata.modified().is_ok_and(|now| now == *modified))
        else {
            return false;
        };
        let age = self.read_at.duration_since(modified).unwrap_or_default();
        self.length == metadata.len() && age > SETTLED
    }
}

/// YAML and JSON; names that begin with a dot are editors' and Kubernetes' own.
fn is_document(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn read(path: &Path) -> Content {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    let outcome = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = outcome {
        return Content::Unreadable(format!("cannot be read: {error}"));
    }
    if bytes.len() > MAX_BYTES {
        return Content::Unreadable(format!("must be at most {MAX_BYTES} bytes long"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Content::Text(text.into()),
        Err(_) => Content::Unreadable("must be UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{Content, Directory};

    fn write(directory: &Path, name: &str, text: &str) {
        std::fs::write(directory.join(name), text).expect("the directory can be written");
    }

    #[test]
    fn a_change_counts_when_two_looks_agree() {
        let temporary = tempfile::tempdir().expect("a directory");
        let path = temporary.path();
        write(path, "a.yaml", "1");
        write(path, ".hidden.yaml", "1");
        write(path, "README.md", "1");
        let mut directory = Directory::new(path);
        let now = SystemTime::now();
        let files = directory.read(now).expect("readable");
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.yaml"]);
        assert_eq!(directory.poll(now).expect("readable"), None);

        // The same length, and so soon that the time may be the same too.
        write(path, "a.yaml", "2");
        assert_eq!(directory.poll(now).expect("readable"), None);
        write(path, "a.yaml", "3");
        assert_eq!(directory.poll(now).expect("readable"), None);
        let files = directory.poll(now).expect("readable").expect("a change");
        assert_eq!(files.get("a.yaml"), Some(&Content::Text("3".into())));
        assert_eq!(directory.poll(now).expect("readable"), None);

        std::fs::remove_file(path.join("a.yaml")).expect("removable");
        assert_eq!(directory.poll(now).expect("readable"), None);
        assert_eq!(directory.poll(now).expect("readable").map(|files| files.len()), Some(0));
    }

    #[test]
    fn an_old_file_is_not_read_again() {
        let temporary = tempfile::tempdir().expect("a directory");
        write(temporary.path(), "a.yaml", "1");
        let mut directory = Directory::new(temporary.path());
        let later = SystemTime::now() + Duration::from_secs(60);
        directory.read(later).expect("readable");
        let seen = directory.seen.get("a.yaml").expect("seen");
        let metadata = std::fs::metadata(temporary.path().join("a.yaml")).expect("there");
        assert!(seen.proves_unchanged(&metadata));
    }

    #[test]
    fn what_cannot_be_a_document_says_why() {
        let temporary = tempfile::tempdir().expect("a directory");
        std::fs::write(temporary.path().join("a.json"), [0xff, 0xfe]).expect("writable");
        let files = Directory::new(temporary.path()).read(SystemTime::now()).expect("readable");
        assert_eq!(files.get("a.json"), Some(&Content::Unreadable("must be UTF-8".to_owned())));
    }
}
