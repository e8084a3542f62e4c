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
    /// Where in `files` each of their documents is.
    places: Arc<BTreeMap<Key, (String, usize)>>,
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
        Ok(Standing { stored, files: Arc::default(), places: Arc::default(), refused: Arc::default(), mesh })
    }

    /// These documents of the store together with these files: either may name what only the other has.
    pub fn of_both(documents: Vec<Document>, files: &Files) -> Self {
        let stored = documents.into_iter().map(|document| (key(&document), document)).collect();
        let (stored, mesh) = (Arc::new(stored), Arc::default());
        Standing { stored, files: Arc::default(), places: Arc::default(), refused: Arc::default(), mesh }
            .with_files(files)
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
                    if !self.files.get(name).is_some_and(|last| say_the_same(last, &documents)) {
                        fresh.insert(name.clone());
                    }
                    next.insert(name.clone(), documents);
                }
                Err(problems) => self.refuse(name, problems, &mut next, &mut refused),
            }
        }
        // Of two files that have the same object, the one that has changed is wrong.
        let mut places = places(next.iter().filter(|(name, _)| !fresh.contains(*name)));
        for name in fresh.clone() {
            let clash = |document: &Document| {
                let (other, _) = places.get(&key(document))?;
                Some(at_name(document, Code::Duplicate, format!("stands in {other} already")))
            };
            let problems: Vec<Problem> = next.get(&name).into_iter().flatten().filter_map(clash).collect();
            if !problems.is_empty() {
                fresh.remove(&name);
                self.refuse(&name, problems, &mut next, &mut refused);
            }
            places.extend(self::places(next.get_key_value(&name)));
        }
        loop {
            let problems = match build(&self.stored, &next) {
                Ok((mesh, _)) => {
                    let refused = Arc::new(Problems(refused.into_values().flatten().collect()));
                    let (places, mesh) = (Arc::new(self::places(&next)), Arc::new(mesh));
                    return Standing { files: Arc::new(next), places, mesh, refused, ..self.clone() };
                }
                Err(problems) => problems.0.into_iter().filter(|one| one.code.is_error()).collect::<Vec<_>>(),
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
        say_the_same(self.documents(), other.documents())
    }

    fn with_stored(&self, stored: BTreeMap<Key, Document>) -> Checked {
        let (mesh, warnings) = build(&stored, &self.files)?;
        Ok((Standing { stored: Arc::new(stored), mesh: Arc::new(mesh), ..self.clone() }, warnings))
    }

    fn of_files(&self, wanted: &Key) -> Option<(&str, &Document)> {
        let (file, position) = self.places.get(wanted)?;
        Some((file, self.files.get(file)?.get(*position)?))
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

/// In which file each document is, and at which place.
fn places<'a>(files: impl IntoIterator<Item = (&'a String, &'a Vec<Document>)>) -> BTreeMap<Key, (String, usize)> {
    let of_file = |(name, documents): (&'a String, &'a Vec<Document>)| {
        documents.iter().enumerate().map(move |(position, document)| (key(document), (name.clone(), position)))
    };
    files.into_iter().flat_map(of_file).collect()
}

/// Whether these are the same documents, in whatever order.
fn say_the_same<'a>(
    ours: impl IntoIterator<Item = &'a Document>,
    theirs: impl IntoIterator<Item = &'a Document>,
) -> bool {
    fn content<'a>(documents: impl IntoIterator<Item = &'a Document>) -> BTreeMap<Key, &'a serde_json::Value> {
        documents.into_iter().map(|document| (key(document), document.json())).collect()
    }
    content(ours) == content(theirs)
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

#[cfg(test)]
mod tests {
    use outrigger_config::document::parse;
    use outrigger_config::error::Code;

    use super::Standing;
    use crate::source::directory::{Content, Files};

    fn service(name: &str, port: u32) -> String {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{ports: [{{name: http, port: {port}}}]}}\n---\n"
        )
    }

    fn route(name: &str, to: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{parentRefs: [{{kind: Service, name: {to}, port: 80}}], \
             rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]}}\n---\n"
        )
    }

    fn files(files: &[(&str, String)]) -> Files {
        files.iter().map(|(name, text)| ((*name).to_owned(), Content::Text(text.as_str().into()))).collect()
    }

    fn nothing() -> Standing {
        Standing::of_store(Vec::new()).expect("an empty mesh")
    }

    /// The objects that stand, and the files and codes that are refused.
    fn check(standing: &Standing, objects: &[&str], refused: &[(&str, Code)]) {
        let mut names: Vec<String> = standing.documents().map(|document| document.name().name().to_owned()).collect();
        names.sort();
        assert_eq!(names, objects);
        let of = |problem: &outrigger_config::error::Problem| {
            (problem.location.as_ref().map(|at| at.file.clone()).unwrap_or_default(), problem.code)
        };
        let mut found: Vec<_> = standing.refused().0.iter().map(of).collect();
        found.dedup();
        assert_eq!(found.iter().map(|(file, code)| (file.as_str(), *code)).collect::<Vec<_>>(), refused);
    }

    #[test]
    fn a_file_that_is_wrong_alone_leaves_the_others() {
        let one = nothing().with_files(&files(&[("a", service("a", 80)), ("b", service("b", 0))]));
        check(&one, &["a"], &[("b", Code::InvalidValue)]);
        let two = one.with_files(&files(&[("a", service("a", 0)), ("b", service("b", 80))]));
        check(&two, &["a", "b"], &[("a", Code::InvalidValue)]);
        let three = two.with_files(&files(&[("b", service("b", 80))]));
        check(&three, &["b"], &[]);
    }

    #[test]
    fn what_is_stored_may_name_what_is_in_a_file() {
        let stored = parse(&route("r", "a"), "").expect("documents");
        assert!(Standing::of_store(stored.clone()).is_err(), "it needs the file");
        let both = Standing::of_both(stored, &files(&[("a", service("a", 80))]));
        check(&both, &["a", "r"], &[]);
    }

    #[test]
    fn a_file_that_is_wrong_with_the_others_leaves_them() {
        let one = nothing().with_files(&files(&[("a", service("a", 80)), ("r", route("r", "nobody"))]));
        check(&one, &["a"], &[("r", Code::DanglingReference)]);
        let two = one.with_files(&files(&[("a", service("a", 80)), ("r", route("r", "a"))]));
        check(&two, &["a", "r"], &[]);
        // To take away what another file needs is nobody's fault but the whole's.
        let three = two.with_files(&files(&[("r", route("r", "a"))]));
        check(&three, &["a", "r"], &[("r", Code::DanglingReference)]);
    }

    #[test]
    fn of_two_files_with_one_object_the_new_one_is_wrong() {
        let one = nothing().with_files(&files(&[("b", service("x", 80))]));
        let two = one.with_files(&files(&[("a", service("x", 81)), ("b", service("x", 80)), ("c", service("y", 80))]));
        check(&two, &["x", "y"], &[("a", Code::Duplicate)]);
        let both = nothing().with_files(&files(&[("a", service("x", 81)), ("b", service("x", 80))]));
        check(&both, &["x"], &[("b", Code::Duplicate)]);
        // An object may move from one file to another in one step.
        let moved = one.with_files(&files(&[("a", service("x", 80)), ("b", service("z", 80))]));
        check(&moved, &["x", "z"], &[]);
    }

    #[test]
    fn no_object_stands_in_a_file_and_in_the_store() {
        let documents = |text: &str| parse(text, "").expect("documents");
        let (stored, _) = nothing().with(&documents(&service("x", 80))).expect("it stands");
        let clash = stored.with_files(&files(&[("a", service("x", 80)), ("b", service("y", 80))]));
        check(&clash, &["x", "y"], &[("a", Code::Conflict)]);
        let refused = clash.with(&documents(&service("y", 80))).map(drop).expect_err("it is in a file");
        assert_eq!(refused.0[0].code, Code::Conflict);
        let refused = clash.without(&super::key(&documents(&service("y", 80))[0])).map(drop).expect_err("the same");
        assert_eq!(refused.0[0].code, Code::Conflict);
        let twice = documents(&(service("z", 80) + &service("z", 81)));
        assert_eq!(clash.with(&twice).map(drop).expect_err("twice").0[0].code, Code::Duplicate);
    }

    #[test]
    fn what_cannot_be_read_keeps_what_it_said() {
        let one = nothing().with_files(&files(&[("a", service("a", 80))]));
        let broken = Files::from([("a".to_owned(), Content::Unreadable("must be UTF-8".to_owned()))]);
        check(&one.with_files(&broken), &["a"], &[("a", Code::Syntax)]);
    }
}
