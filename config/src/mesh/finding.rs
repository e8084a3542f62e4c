//! What a check found, beside the document it was found in.

use std::collections::BTreeSet;

use crate::document::Document;
use crate::error::{Location, Problem, Problems};

/// Collects problems of documents, each once.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    documents: &'a [Document],
    problems: Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(documents: &'a [Document]) -> Self {
        Findings { documents, problems: Vec::new() }
    }

    /// Notes a problem of the document at `index`; the problem's path begins at `spec`.
    pub(super) fn note(&mut self, index: usize, problem: Problem) {
        let path = problem.at_field("spec");
        self.note_at_root(index, path);
    }

    /// Notes a problem whose path begins at the document's root.
    pub(super) fn note_at_root(&mut self, index: usize, problem: Problem) {
        self.problems.push(match self.documents.get(index) {
            Some(document) => document.place(problem),
            None => problem,
        });
    }

    /// Whether an error was found already.
    pub(super) fn refuse(&self) -> bool {
        self.problems.iter().any(|problem| problem.code.is_error())
    }

    /// The problems by place, none twice: one fault may be met on several ways.
    pub(super) fn into_problems(self) -> Problems {
        let mut problems = self.problems;
        problems.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut seen = BTreeSet::new();
        problems.retain(|problem| seen.insert(problem.to_string()));
        Problems(problems)
    }
}

fn order(problem: &Problem) -> (Option<&Location>, &str, &str) {
    (problem.location.as_ref(), &problem.object, &problem.path)
}
