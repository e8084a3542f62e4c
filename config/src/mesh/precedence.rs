//! Which match is tried first, across all routes of a service (Gateway API, `HTTPRouteRule.matches`): an exact path, then
//! the longest prefix, then a regular expression, then no path at all; of equals the one with a method, then with more
//! header fields, then with more query parameters; then the first route by namespace and name, and in it the first rule.
//!
//! A regular expression stands before the prefix `/`, which is what a match without a path has, because behind it no
//! regular expression would ever be reached.

use std::cmp::Reverse;

use crate::matching::{PathMatch, RouteMatch};
use crate::name::ObjectName;

/// How specific a path is, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Prefix,
    Regex,
    Everything,
}

/// Where a match stands among all of a table; the least is tried first. The last three make it unlike any other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    path: PathRank,
    path_length: Reverse<usize>,
    has_method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    route: ObjectName,
    rule: usize,
    entry: usize,
}

impl Precedence {
    /// Of the match at `entry` in the rule at `rule` of a route.
    pub(super) fn new(matches: &RouteMatch, route: &ObjectName, rule: usize, entry: usize) -> Self {
        let (path, length) = match &matches.path {
            PathMatch::Exact(path) => (PathRank::Exact, path.len()),
            PathMatch::Prefix(path) | PathMatch::RawPrefix(path) if &**path == "/" => (PathRank::Everything, 0),
            PathMatch::Prefix(path) | PathMatch::RawPrefix(path) => (PathRank::Prefix, path.len()),
            PathMatch::Regex(pattern) => (PathRank::Regex, pattern.as_str().len()),
        };
        Precedence {
            path,
            path_length: Reverse(length),
            has_method: Reverse(matches.method.is_some()),
            headers: Reverse(matches.headers.len()),
            query: Reverse(matches.query.len()),
            route: route.clone(),
            rule,
            entry,
        }
    }
}
