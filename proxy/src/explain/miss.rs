//! Why a route did not take a request. Nothing is decided here a second time: each part of the route's match is made a
//! [`Matcher`] of its own and asked, so that the answer is the one that routing gave.

use outrigger_config::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
use outrigger_config::record::Missed;

use crate::route::{Facts, Matcher, Route};

/// How many routes are named.
const MOST: usize = 8;

/// How many routes are asked: a host may have thousands.
const ASKED: usize = 256;

/// Names routes that did not take a request, nearest first: those that only missed a field or a parameter before those
/// of other paths. `fields` says whether the header fields are still known; where they are not, a route whose other
/// parts hold can only have missed by them.
pub(super) fn missed<'a>(routes: impl Iterator<Item = &'a Route>, facts: &Facts<'_>, fields: bool) -> Vec<Missed> {
    let mut all: Vec<(usize, Missed)> = routes
        .take(ASKED)
        .map(|route| {
            let (distance, because) = why(&route.config.matches, facts, fields);
            (distance, Missed { route: route.config.name.to_string(), because })
        })
        .collect();
    all.sort_by_key(|(distance, _)| *distance);
    // The matches of one rule have one name, and the nearest speaks for them.
    let mut named: Vec<Missed> = Vec::new();
    for (_, one) in all {
        if named.len() < MOST && named.iter().all(|other| other.route != one.route) {
            named.push(one);
        }
    }
    named
}

/// What a match asks for, in words.
pub(super) fn takes(matches: &RouteMatch) -> String {
    let mut text = path(&matches.path);
    if let Some(method) = &matches.method {
        text = format!("{method} {text}");
    }
    for header in &matches.headers {
        text.push_str(&format!(", {}", field(header)));
    }
    for query in &matches.query {
        text.push_str(&format!(", {}", parameter(query)));
    }
    if matches.grpc { format!("{text}, gRPC") } else { text }
}

/// The first part that does not hold, and how far from a match it is.
fn why(matches: &RouteMatch, facts: &Facts<'_>, fields: bool) -> (usize, String) {
    let holds = |part: RouteMatch| Matcher::new(&part).matches(facts);
    if !holds(RouteMatch { path: matches.path.clone(), ..RouteMatch::any() }) {
        return (2, format!("wants {}", path(&matches.path)));
    }
    if let Some(method) = &matches.method
        && !holds(RouteMatch { method: Some(method.clone()), ..RouteMatch::any() })
    {
        return (1, format!("wants {method}, not {}", facts.method));
    }
    if matches.grpc && !facts.grpc {
        return (1, "wants gRPC".to_owned());
    }
    for query in &matches.query {
        if !holds(RouteMatch { query: vec![query.clone()], ..RouteMatch::any() }) {
            return (0, format!("wants {}", parameter(query)));
        }
    }
    for header in matches.headers.iter().filter(|_| fields) {
        if !holds(RouteMatch { headers: vec![header.clone()], ..RouteMatch::any() }) {
            return (0, format!("wants {}", field(header)));
        }
    }
    if !fields && !matches.headers.is_empty() {
        let wanted: Vec<String> = matches.headers.iter().map(field).collect();
        return (0, format!("wants {}", wanted.join(" and ")));
    }
    (0, "wants something else of the request".to_owned())
}

fn path(wanted: &PathMatch) -> String {
    match wanted {
        PathMatch::Exact(path) => format!("path {path}"),
        PathMatch::Prefix(path) if &**path == "/" => "any path".to_owned(),
        PathMatch::Prefix(path) => format!("path {path} or below"),
        PathMatch::RawPrefix(path) => format!("a path that begins with {path}"),
        PathMatch::Regex(pattern) => format!("a path like {}", pattern.as_str()),
        PathMatch::Template(template) => format!("a path like {template}"),
    }
}

fn field(wanted: &HeaderMatch) -> String {
    format!("field {}{}", wanted.name, value(&wanted.value))
}

fn parameter(wanted: &QueryMatch) -> String {
    format!("parameter {}{}", wanted.name, value(&wanted.value))
}

fn value(wanted: &ValueMatch) -> String {
    match wanted {
        ValueMatch::Exact(exact) => format!("={exact}"),
        ValueMatch::Regex(pattern) => format!(" like {}", pattern.as_str()),
        ValueMatch::Present => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use outrigger_config::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};

    use super::{takes, why};
    use crate::route::Facts;

    fn wants_a_beta_header() -> RouteMatch {
        RouteMatch {
            path: PathMatch::Prefix("/items".into()),
            method: Some("GET".into()),
            headers: vec![HeaderMatch { name: "x-beta".into(), value: ValueMatch::Exact("yes".into()) }],
            query: vec![QueryMatch { name: "page".into(), value: ValueMatch::Present }],
            grpc: false,
        }
    }

    #[test]
    fn the_first_part_that_does_not_hold_is_named() {
        let mut headers = HeaderMap::new();
        for (path, query, method, beta, because) in [
            ("/other", None, Method::GET, None, "wants path /items or below"),
            ("/items", None, Method::PUT, None, "wants GET, not PUT"),
            ("/items/7", None, Method::GET, None, "wants parameter page"),
            ("/items", Some("page=1"), Method::GET, Some("no"), "wants field x-beta=yes"),
        ] {
            headers.extend(beta.map(|beta| (http::HeaderName::from_static("x-beta"), HeaderValue::from_static(beta))));
            let facts = Facts { authority: "a", path, query, method: &method, headers: &headers, grpc: false };
            assert_eq!(why(&wants_a_beta_header(), &facts, true).1, because);
        }
    }

    #[test]
    fn where_the_fields_are_gone_what_is_left_must_have_been_them() {
        let (headers, method) = (HeaderMap::new(), Method::GET);
        let facts = Facts {
            authority: "a",
            path: "/items",
            query: Some("page"),
            method: &method,
            headers: &headers,
            grpc: false,
        };
        assert_eq!(why(&wants_a_beta_header(), &facts, false).1, "wants field x-beta=yes");
    }

    #[test]
    fn a_match_in_words() {
        assert_eq!(takes(&RouteMatch::any()), "any path");
        assert_eq!(takes(&wants_a_beta_header()), "GET path /items or below, field x-beta=yes, parameter page");
    }
}
