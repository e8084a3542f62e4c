//! Which match is tried first, across all routes of a service (Gateway API, `HTTPRouteRule.matches`): an exact path, then
//! a template (of several the one with more characters that stand for themselves), then the longest prefix, then a regular expression, then no path at all; of equals the one with a method, then with more
//! header fields, then with more query parameters; then the older route, then the first by
//! namespace and name, and in it the first rule. A route that does not say how old it is comes after those that do.
//!
//! A regular expression stands before the prefix `/`, which is what a match without a path has, because behind it no
//! regular expression would ever be reached.

use std::cmp::Reverse;

use crate::document::Created;
use crate::matching::{PathMatch, RouteMatch};
use crate::name::ObjectName;

/// How specific a path is, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Template,
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
    undated: bool,
    created: Option<Created>,
    route: ObjectName,
    rule: usize,
    entry: usize,
}

impl Precedence {
    /// Of the match at `entry` in the rule at `rule` of a route.
    pub(super) fn new(
        matches: &RouteMatch,
        (created, route): (Option<&Created>, &ObjectName),
        rule: usize,
        entry: usize,
    ) -> Self {
        let (path, length) = match &matches.path {
            PathMatch::Exact(path) => (PathRank::Exact, path.len()),
            PathMatch::Prefix(path) | PathMatch::RawPrefix(path) if &**path == "/" => (PathRank::Everything, 0),
            PathMatch::Prefix(path) | PathMatch::RawPrefix(path) => (PathRank::Prefix, path.len()),
            PathMatch::Template(template) => (PathRank::Template, template.literal_length()),
            PathMatch::Regex(pattern) => (PathRank::Regex, pattern.as_str().len()),
        };
        Precedence {
            path,
            path_length: Reverse(length),
            has_method: Reverse(matches.method.is_some()),
            headers: Reverse(matches.headers.len()),
            query: Reverse(matches.query.len()),
            undated: created.is_none(),
            created: created.cloned(),
            route: route.clone(),
            rule,
            entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::Precedence;
    use crate::matching::{HeaderMatch, PathMatch, RouteMatch, ValueMatch};
    use crate::name::ObjectName;
    use crate::value::Pattern;

    fn path() -> impl Strategy<Value = PathMatch> {
        prop_oneof![
            "/[ab]{0,2}".prop_map(|path| PathMatch::Exact(path.into())),
            "/[ab]{0,2}".prop_map(|path| PathMatch::Prefix(path.into())),
            "/[ab]{0,2}".prop_map(|path| PathMatch::RawPrefix(path.into())),
            "/[ab]{0,2}".prop_map(|path| PathMatch::Regex(Pattern::try_new(&path).expect("valid"))),
        ]
    }

    fn matches() -> impl Strategy<Value = RouteMatch> {
        let header = Just(HeaderMatch { name: "a".into(), value: ValueMatch::Present });
        (path(), option::of(Just("GET".into())), vec(header, 0..3)).prop_map(|(path, method, headers)| RouteMatch {
            path,
            method,
            headers,
            ..RouteMatch::any()
        })
    }

    /// The matches of three routes, and a random number for each to shuffle them by.
    fn table() -> impl Strategy<Value = Vec<(Precedence, u64)>> {
        vec((matches(), 0_usize..3, any::<u64>()), 0..40).prop_map(|table| {
            let placed = table.iter().enumerate().map(|(index, (matches, route, shuffle))| {
                let name = ObjectName::parse(&format!("shop/route-{route}")).expect("valid");
                (Precedence::new(matches, (None, &name), index / 2, index % 2), *shuffle)
            });
            placed.collect()
        })
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_where_matches_began(table in table()) {
            let mut sorted: Vec<_> = table.iter().map(|(precedence, _)| precedence.clone()).collect();
            sorted.sort();
            prop_assert!(sorted.is_sorted_by(|a, b| a < b), "two stand in one place");
            let mut shuffled = table;
            shuffled.sort_by_key(|(_, shuffle)| *shuffle);
            let mut again: Vec<_> = shuffled.into_iter().map(|(precedence, _)| precedence).collect();
            again.sort();
            prop_assert_eq!(again, sorted);
        }
    }
}
