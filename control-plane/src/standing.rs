//! The documents that stand, and the mesh they make: a value that is never changed, only followed by another.
//!
//! Documents stand in two places, the store behind the API and the watched files, and make one mesh together. No
//! object stands in both. Each function here takes what stands and what shall change, and returns what would stand
//! then, or everything that is wrong with that; keeping and publishing it is the caller's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use outrigger_config::document::{Document, parse};
use outrigger_config::error::{Code, Location, Problem, Problems};
use outrigger_config::mesh::Mesh;

use crate::source::directory::{Content, Files};
use crate::store::Key;

/// What stands at one time.
#[derive(Clone)]
pub struct Standing {
    stored: Arc<BTreeMap<Key, Document>>,
    files: Arc<BTreeMap<String, Vec<Document>>>,
    refused: Arc<Problems>,
    mesh: Arc<Mesh>,
}

/// What would stand, and what is legal in it and probably not meant.
pub type Checked = Result<(Standing, Problems), Problems>;

impl Standing {
    /// Nothing but these documents of the store.
    pub fn of_store(documents: Vec<Document>) -> Result<Self, Problems> {
        let stored = documents.into_iter().map(|document| (key(&document), document)).collect();
        let (mesh, _) = build(&stored, &BTreeMap::new())?;
        let (stored, mesh) = (Arc::new(stored), Arc::new(mesh));
        Ok(Standing { stored, files: Arc::default(), refused: Arc::default(), mesh })
    }

    /// The mesh.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Every document, the store's first, each part in the order of its keys.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.stored.values().chain(self.files.values().flatten())
    }

    /// The document of this name.
    pub fn document(&self, key: &Key) -> Option<&Document> {
        self.stored.get(key).or_else(|| Some(self.of_files(key)?.1))
    }

    /// What is wrong with the files that are refused.
    pub fn refused(&self) -> &Problems {
        &self.refused
    }

    /// With these documents in the store, in place of what they replace.
    pub fn with(&self, documents: &[Document]) -> Checked {
        let mut problems = Vec::new();
        let mut stored = (*self.stored).clone();
        let mut seen = BTreeSet::new();
        for document in documents {
            if !seen.insert(key(document)) {
                problems.push(at_name(document, Code::Duplicate, "is there twice".to_owned()));
            }
            if let Some((file, _)) = self.of_files(&key(document)) {
                let reason = format!("stands in the watched file {file} already; change it there");
                problems.push(at_name(document, Code::Conflict, reason));
            }
            stored.insert(key(document), document.clone());
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        self.with_stored(stored)
    }

    /// Without one document of the store.
    pub fn without(&self, key: &Key) -> Checked {
        if let Some((file, document)) = self.of_files(key) {
            let reason = format!("stands in the watched file {file}; take it away there");
            return Err(at_name(document, Code::Conflict, reason).into());
        }
        let mut stored = (*self.stored).clone();
        stored.remove(key);
        self.with_stored(stored)
    }

    /// With these files in place of all files before. A file that is wrong keeps what it said when it was last right;
    /// where no single file is to blame, all files do.
    pub fn with_files(&self, files: &Files) -> Standing {
        let mut refused = BTreeMap::new();
        let mut fresh = BTreeSet::new();
        let mut next = BTreeMap::new();
        for (name, content) in files {
            match self.read(name, content) {
                Ok(documents) => {
                    fresh.insert(name.clone());
                    next.insert(name.clone(), documents);
                }
                Err(problems) => self.refuse(name, problems, &mut next, &mut refused),
            }
        }
        loop {
            let problems = match build(&self.stored, &next) {
                Ok((mesh, _)) => {
                    let refused = Arc::new(Problems(refused.into_values().flatten().collect()));
                    return Standing { files: Arc::new(next), mesh: Arc::new(mesh), refused, ..self.clone() };
                }
                Err(problems) => problems.0,
            };
            let file_of = |problem: &Problem| problem.location.as_ref().map(|location| location.file.clone());
            let blamed: BTreeSet<String> = problems.iter().filter_map(file_of).filter(|f| fresh.remove(f)).collect();
            if blamed.is_empty() {
                let refused = Arc::new(Problems(refused.into_values().flatten().chain(problems).collect()));
                return Standing { refused, ..self.clone() };
            }
            for name in blamed {
                let of_file = problems.iter().filter(|problem| file_of(problem).as_ref() == Some(&name));
                self.refuse(&name, of_file.cloned().collect(), &mut next, &mut refused);
            }
        }
    }

    /// Whether the other has the same documents.
    pub fn says_the_same(&self, other: &Standing) -> bool {
        fn content(standing: &Standing) -> BTreeMap<Key, &serde_json::Value> {
            standing.documents().map(|document| (key(document), document.json())).collect()
        }
        content(self) == content(other)
    }

    fn with_stored(&self, stored: BTreeMap<Key, Document>) -> Checked {
        let (mesh, warnings) = build(&stored, &self.files)?;
        Ok((Standing { stored: Arc::new(stored), mesh: Arc::new(mesh), ..self.clone() }, warnings))
    }

    fn of_files(&self, wanted: &Key) -> Option<(&str, &Document)> {
        let all = self.files.iter().flat_map(|(file, documents)| documents.iter().map(move |one| (file.as_str(), one)));
        all.into_iter().find(|(_, document)| (document.kind(), document.name()) == (wanted.0, &wanted.1))
    }

    fn read(&self, name: &str, content: &Content) -> Result<Vec<Document>, Vec<Problem>> {
        let text = match content {
            Content::Text(text) => text,
            Content::Unreadable(reason) => {
                let mut problem = Problem::new(Code::Syntax, reason.clone());
                problem.location = Some(Location { file: name.to_owned(), line: 1, column: 1 });
                return Err(vec![problem]);
            }
        };
        let documents = parse(text, name).map_err(|problems| problems.0)?;
        let in_store = documents.iter().filter(|document| self.stored.contains_key(&key(document)));
        let reason = "was applied over the API already; delete it there first";
        let problems: Vec<_> = in_store.map(|document| at_name(document, Code::Conflict, reason.to_owned())).collect();
        if problems.is_empty() { Ok(documents) } else { Err(problems) }
    }

    /// Puts what the file last said into `next`.
    fn refuse(
        &self,
        name: &str,
        problems: Vec<Problem>,
        next: &mut BTreeMap<String, Vec<Document>>,
        refused: &mut BTreeMap<String, Vec<Problem>>,
    ) {
        match self.files.get(name) {
            Some(last) => next.insert(name.to_owned(), last.clone()),
            None => next.remove(name),
        };
        refused.insert(name.to_owned(), problems);
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stored, files) = (self.stored.len(), self.files.len());
        f.debug_struct("Standing").field("stored", &stored).field("files", &files).finish_non_exhaustive()
    }
}

/// What identifies a document.
pub fn key(document: &Document) -> Key {
    (document.kind(), document.name().clone())
}

fn build(
    stored: &BTreeMap<Key, Document>,
    files: &BTreeMap<String, Vec<Document>>,
) -> Result<(Mesh, Problems), Problems> {
    Mesh::try_new(stored.values().chain(files.values().flatten()).cloned().collect())
}

fn at_name(document: &Document, code: Code, reason: String) -> Problem {
    document.place(Problem::new(code, reason).at_field("name").at_field("metadata"))
}
