//! The shapes of answers about documents, for the handlers to write and the command line to read.

use outrigger_config::error::{Location, Problem, Problems};
use serde::{Deserialize, Serialize};

use crate::state::{Applied, Change, Outcome};

/// `POST /api/v1/apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedView {
    /// The generation that has the change; after a dry run the one that stands.
    pub generation: u64,
    /// Each document of the body, in its order.
    pub applied: Vec<ChangeView>,
    /// What is legal and probably not meant.
    pub warnings: Vec<ProblemView>,
}

/// What happened to one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// Which.
    #[serde(flatten)]
    pub object: ObjectView,
    /// `created`, `configured` or `unchanged`.
    pub result: String,
}

/// The name of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectView {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name in the namespace.
    pub name: String,
}

/// `DELETE /api/v1/documents/{kind}/{namespace}/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedView {
    /// The generation without the document.
    pub generation: u64,
    /// The document.
    pub deleted: ObjectView,
}

/// `GET /api/v1/documents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentList {
    /// The documents as they were applied, by kind and name.
    pub documents: Vec<serde_json::Value>,
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The control plane's version.
    pub version: String,
    /// Whether proxies can be served.
    pub ready: bool,
    /// The newest generation.
    pub generation: u64,
    /// What is wrong with files of the watched directory; their last good content stands.
    pub refused_files: Vec<ProblemView>,
}

/// Every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, and what to do.
    pub error: String,
    /// Where documents were refused: what is wrong with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemView>,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// The stable code, `ORG001` onwards; `outrigger analyze --codes` explains each.
    pub code: String,
    /// The document, as `Kind namespace/name`.
    pub object: String,
    /// The field, as `spec.rules[2].timeouts.request`.
    pub path: String,
    /// What stands there.
    pub value: Option<String>,
    /// Why it cannot be, and what would be valid.
    pub reason: String,
    /// Where in which file, or in the body of the request when the file is empty.
    pub location: Option<LocationView>,
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationView {
    /// The file; empty for the body of a request.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl From<&Applied> for AppliedView {
    fn from(applied: &Applied) -> Self {
        AppliedView {
            generation: applied.generation,
            applied: applied.changes.iter().map(ChangeView::from).collect(),
            warnings: problems(&applied.warnings),
        }
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        let object = ObjectView {
            kind: change.kind.as_str().to_owned(),
            namespace: change.name.namespace().to_owned(),
            name: change.name.name().to_owned(),
        };
        let result = match change.result {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
        };
        ChangeView { object, result: result.to_owned() }
    }
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        ProblemView {
            code: problem.code.as_str().to_owned(),
            object: problem.object.clone(),
            path: problem.path.clone(),
            value: problem.value.clone(),
            reason: problem.reason.clone(),
            location: problem.location.as_ref().map(LocationView::from),
        }
    }
}

impl From<&Location> for LocationView {
    fn from(location: &Location) -> Self {
        LocationView { file: location.file.clone(), line: location.line, column: location.column }
    }
}

pub(super) fn problems(problems: &Problems) -> Vec<ProblemView> {
    problems.0.iter().map(ProblemView::from).collect()
}
