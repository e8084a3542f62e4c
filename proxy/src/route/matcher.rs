//! Whether a request is one that a match means (xDS `RouteMatch`).
//!
//! A [`Matcher`] is a match with its names parsed. Matching reads the request's [`Facts`] and allocates nothing, with
//! one exception: a regular expression over a header field that came in several lines.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, header};
use outrigger_config::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};

/// What routing may know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The host and port it is for, lower case, as admission left it.
    pub authority: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// Whether it is a gRPC request.
    pub grpc: bool,
}

impl<'a> Facts<'a> {
    /// Those of a request that was admitted for `authority`.
    pub fn of<B>(http: &'a http::Request<B>, authority: &'a HeaderValue, grpc: bool) -> Self {
        Facts {
            // Admission let only ASCII through, and this is the quicker look.
            authority: std::str::from_utf8(authority.as_bytes()).unwrap_or_default(),
            path: http.uri().path(),
            query: http.uri().query(),
            method: http.method(),
            headers: http.headers(),
            grpc,
        }
    }
}

/// A match, ready for requests.
#[derive(Clone, Debug)]
pub struct Matcher {
    path: PathMatch,
    /// Whether the path alone decides; most routes ask for no more.
    plain: bool,
    method: Option<Wanted>,
    headers: Box<[Field]>,
    query: Box<[QueryMatch]>,
    grpc: bool,
}

/// A method that may be unknown to HTTP, or no method at all.
#[derive(Clone, Debug)]
enum Wanted {
    Method(Method),
    Nothing,
}

#[derive(Clone, Debug)]
struct Field {
    subject: Subject,
    value: ValueMatch,
}

/// What a header match reads: the pseudo-fields that other control planes name are read from the request itself.
#[derive(Clone, Debug)]
enum Subject {
    Header(HeaderName),
    Authority,
    Method,
    Nothing,
}

impl Matcher {
    /// Parses the names. What no request can have, such as a header name with a space, matches no request.
    pub fn new(model: &RouteMatch) -> Self {
        let wanted = |text: &Arc<str>| Method::from_bytes(text.as_bytes()).map_or(Wanted::Nothing, Wanted::Method);
        Matcher {
            path: model.path.clone(),
            plain: model.method.is_none() && model.headers.is_empty() && model.query.is_empty() && !model.grpc,
            method: model.method.as_ref().map(wanted),
            headers: model.headers.iter().map(Field::new).collect(),
            query: model.query.clone().into(),
            grpc: model.grpc,
        }
    }

    /// Whether every part of the match holds.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        path_matches(&self.path, facts.path) && (self.plain || self.rest_matches(facts))
    }

    fn rest_matches(&self, facts: &Facts<'_>) -> bool {
        let method = match &self.method {
            None => true,
            Some(Wanted::Method(method)) => method == facts.method,
            Some(Wanted::Nothing) => false,
        };
        method
            && (facts.grpc || !self.grpc)
            && self.headers.iter().all(|field| field.matches(facts))
            && self.query.iter().all(|parameter| query_matches(parameter, facts.query))
    }
}

fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Prefix(prefix) if &**prefix == "/" => true,
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathMatch::Exact(exact) => &**exact == path,
        PathMatch::RawPrefix(prefix) => path.starts_with(&**prefix),
        PathMatch::Regex(pattern) => pattern.is_match(path),
        PathMatch::Template(template) => template.is_match(path),
    }
}

impl Field {
    fn new(model: &HeaderMatch) -> Self {
        let subject = match &*model.name {
            ":authority" => Subject::Authority,
            ":method" => Subject::Method,
            name => HeaderName::from_bytes(name.as_bytes()).map_or(Subject::Nothing, Subject::Header),
        };
        Field { subject, value: model.value.clone() }
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        match &self.subject {
            // HTTP/2 has no Host line, and admission made one form of both.
            Subject::Header(name) if *name == header::HOST => value_matches(&self.value, facts.authority),
            Subject::Header(name) => lines_match(&self.value, facts.headers, name),
            Subject::Authority => value_matches(&self.value, facts.authority),
            Subject::Method => value_matches(&self.value, facts.method.as_str()),
            Subject::Nothing => false,
        }
    }
}

fn value_matches(wanted: &ValueMatch, value: &str) -> bool {
    match wanted {
        ValueMatch::Exact(exact) => &**exact == value,
        ValueMatch::Regex(pattern) => pattern.is_match(value),
        ValueMatch::Present => true,
    }
}

/// All lines of a field joined by `,` (RFC 9110, 5.3), those of `cookie` by `; ` (RFC 9113, 8.2.3).
fn lines_match(wanted: &ValueMatch, headers: &HeaderMap, name: &HeaderName) -> bool {
    let Some(first) = headers.get(name) else { return false };
    match wanted {
        ValueMatch::Present => true,
        ValueMatch::Exact(exact) => joined_equals(headers, name, exact.as_bytes()),
        ValueMatch::Regex(pattern) => {
            let mut lines = headers.get_all(name).iter().skip(1).peekable();
            let joined: Cow<'_, [u8]> = match lines.peek() {
                None => first.as_bytes().into(),
                Some(_) => {
                    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                    lines.collect::<Vec<_>>().join(between(name)).into()
                }
            };
            std::str::from_utf8(&joined).is_ok_and(|joined| pattern.is_match(joined))
        }
    }
}

/// What stands between the lines of a field that is read as one.
fn between(name: &HeaderName) -> &'static [u8] {
    if *name == header::COOKIE { b"; " } else { b"," }
}

fn joined_equals(headers: &HeaderMap, name: &HeaderName, exact: &[u8]) -> bool {
    let mut rest = Some(exact);
    for (index, line) in headers.get_all(name).iter().enumerate() {
        let comma = if index == 0 { b"" } else { between(name) };
        rest = rest.and_then(|rest| rest.strip_prefix(comma)).and_then(|rest| rest.strip_prefix(line.as_bytes()));
    }
    rest.is_some_and(<[u8]>::is_empty)
}

/// The first parameter of the name counts, as it was written: nothing is decoded.
fn query_matches(wanted: &QueryMatch, query: Option<&str>) -> bool {
    query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(name, _)| *name == &*wanted.name)
        .is_some_and(|(_, value)| value_matches(&wanted.value, value))
}

#[cfg(test)]
mod tests;
