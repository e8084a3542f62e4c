//! Rules that no request ever reaches, because an earlier one takes all that they ask for (a warning): one that asks for
//! the very same, a prefix that holds all paths of a regular expression behind it, or a regular expression that takes
//! every path. Whether one regular expression holds another is not asked.

use std::collections::{BTreeMap, BTreeSet};

use super::effective::RuleRef;
use super::finding::Findings;
use super::index::Index;
use super::table::{Candidate, candidates};
use crate::error::{Code, Problem};
use crate::matching::{PathMatch, RouteMatch};

/// Notes every match that an equal one before it hides, as any namespace with routes for the service sees it.
pub(super) fn check(index: &Index, findings: &mut Findings<'_>) {
    for (name, attachments) in &index.attachments {
        let Some(known) = index.services.get(name) else { continue };
        let views: BTreeSet<&str> = attachments.iter().map(|one| one.route.1.namespace()).collect();
        for (view, port) in views.iter().flat_map(|view| known.spec.ports.iter().map(move |port| (*view, port))) {
            let mut first = BTreeMap::new();
            let mut earlier: Vec<Candidate<'_>> = Vec::new();
            for candidate in candidates(index, view, name, port).unwrap_or_default() {
                let same = first.get(&fingerprint(candidate.matches)).copied();
                let reason = match (same, wider(&earlier, candidate.matches)) {
                    (Some(same), _) => format!("{same} matches the same before it"),
                    (None, Some(wider)) => format!("{wider} matches all of it, and is tried before it"),
                    (None, None) => {
                        first.insert(fingerprint(candidate.matches), candidate.rule);
                        earlier.push(candidate);
                        continue;
                    }
                };
                findings.note(candidate.rule.document, at(Problem::new(Code::Unreachable, reason), &candidate));
            }
        }
    }
}

/// The first of those tried before that takes whatever `matches` would. Among exact paths and prefixes the more specific
/// stands first, so that there only equals hide one another.
fn wider<'a>(earlier: &[Candidate<'a>], matches: &RouteMatch) -> Option<RuleRef<'a>> {
    let late = matches!(&matches.path, PathMatch::Regex(_)) || is_everything(&matches.path);
    let hides = |one: &&Candidate<'_>| covers(one.matches, matches);
    earlier.iter().filter(|_| late).find(hides).map(|one| one.rule)
}

fn covers(wide: &RouteMatch, narrow: &RouteMatch) -> bool {
    let path = match (&wide.path, &narrow.path) {
        (wide, narrow) if wide == narrow => true,
        (wide, _) if is_everything(wide) => true,
        (PathMatch::Regex(pattern), _) => [".*", ".+", "/.*", "^/.*$"].contains(&pattern.as_str()),
        (PathMatch::Exact(path), PathMatch::Regex(pattern)) => {
            pattern.begins(|text, whole| whole && text == path.as_bytes())
        }
        (PathMatch::Prefix(path), PathMatch::Regex(pattern)) => pattern.begins(|text, whole| {
            text.strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/") || (whole && rest.is_empty()))
        }),
        (PathMatch::RawPrefix(path), PathMatch::Regex(pattern)) => {
            pattern.begins(|text, _| text.starts_with(path.as_bytes()))
        }
        _ => false,
    };
    path && (wide.method.is_none() || wide.method == narrow.method)
        && wide.headers.iter().all(|one| narrow.headers.contains(one))
        && wide.query.iter().all(|one| narrow.query.contains(one))
        && (!wide.grpc || narrow.grpc)
}

fn is_everything(path: &PathMatch) -> bool {
    matches!(path, PathMatch::Prefix(path) | PathMatch::RawPrefix(path) if &**path == "/")
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
