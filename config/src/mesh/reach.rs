//! Rules that no request ever reaches, because an earlier one asks for the very same (a warning).

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Findings;
use super::index::Index;
use super::table::{Candidate, candidates};
use crate::error::{Code, Problem};
use crate::matching::RouteMatch;

/// Notes every match that an equal one before it hides, as any namespace with routes for the service sees it.
pub(super) fn check(index: &Index, findings: &mut Findings<'_>) {
    for (name, attachments) in &index.attachments {
        let Some(known) = index.services.get(name) else { continue };
        let views: BTreeSet<&str> = attachments.iter().map(|one| one.route.1.namespace()).collect();
        for (view, port) in views.iter().flat_map(|view| known.spec.ports.iter().map(move |port| (*view, port))) {
            let mut first = BTreeMap::new();
            for candidate in candidates(index, view, name, port).unwrap_or_default() {
                if let Some(earlier) = first.get(&fingerprint(candidate.matches)) {
                    let problem = Problem::new(Code::Unreachable, format!("{earlier} matches the same before it"));
                    findings.note(candidate.rule.document, at(problem, &candidate));
                    continue;
                }
                first.insert(fingerprint(candidate.matches), candidate.rule);
            }
        }
    }
}

fn at(problem: Problem, candidate: &Candidate<'_>) -> Problem {
    // A rule without `matches` has one all the same, which the document does not show.
    let problem = match candidate.rule.rule.matches.len() {
        0 | 1 => problem,
        _ => problem.at_index(candidate.entry).at_field("matches"),
    };
    problem.at_index(candidate.rule.number).at_field("rules")
}

/// Equal for matches that take the same requests; the order of header fields and parameters does not count.
fn fingerprint(matches: &RouteMatch) -> String {
    let mut sorted = matches.clone();
    sorted.headers.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.query.sort_by(|a, b| a.name.cmp(&b.name));
    format!("{sorted:?}")
}
