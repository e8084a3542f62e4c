//! What a request must be, as `HTTPRoute` rules and rate limits write it (Gateway API `HTTPRouteMatch`).

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};

use super::cookies::read_cookies;
use super::reader::Field;
use crate::error::{Code, Problem};
use crate::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
use crate::rewrite::check_path;
use crate::template::Template;
use crate::value::Pattern;

/// The methods of Gateway API's `HTTPMethod`.
pub(super) const METHODS: &[(&str, &str)] = &[
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("DELETE", "DELETE"),
    ("CONNECT", "CONNECT"),
    ("OPTIONS", "OPTIONS"),
    ("TRACE", "TRACE"),
    ("PATCH", "PATCH"),
];

/// The longest header value or query parameter that a match may ask for, as in Gateway API.
const MAX_VALUE: usize = 4096;

#[derive(Clone, Copy)]
enum PathType {
    Exact,
    Prefix,
    Regex,
    Template,
}

/// One entry of `matches`; what it does not name, every request has.
pub(super) fn read_match(field: &Field<'_>) -> RouteMatch {
    let mut fields = field.fields();
    let path = fields.optional("path").and_then(|field| read_path(&field)).unwrap_or(RouteMatch::any().path);
    let method = fields.optional("method").and_then(|field| field.choice(METHODS)).map(Arc::from);
    let mut headers = fields.optional("headers").map(|field| read_headers(&field)).unwrap_or_default();
    headers.extend(fields.optional("cookies").map(|field| read_cookies(&field)).unwrap_or_default());
    let query = fields.optional("queryParams").map(|field| read_query(&field)).unwrap_or_default();
    fields.finish();
    RouteMatch { path, method, headers, query, grpc: false }
}

/// Header matches, the same in `HTTPRoute` and `GRPCRoute`.
pub(super) fn read_headers(field: &Field<'_>) -> Vec<HeaderMatch> {
    let headers = field.list(|field| {
        let (name, value) = read_named_value(field, parse_field_name);
        HeaderMatch { name, value }
    });
    refuse_twice(field, headers.iter().map(|header| &header.name));
    headers
}

/// The name of a header field, in lower case.
pub(super) fn parse_field_name(name: &str) -> Result<Arc<str>, Problem> {
    HeaderName::from_bytes(name.as_bytes())
        .map(|name| name.as_str().into())
        .map_err(|_| Problem::invalid(name, "must be the name of a header field"))
}

fn read_query(field: &Field<'_>) -> Vec<QueryMatch> {
    let parameters = field.list(|field| {
        let (name, value) = read_named_value(field, |name| match name.len() {
            1..=256 => Ok(name.into()),
            _ => Err(Problem::invalid(name, "must be 1 to 256 characters long")),
        });
        QueryMatch { name, value }
    });
    refuse_twice(field, parameters.iter().map(|parameter| &parameter.name));
    parameters
}

fn read_named_value(
    field: &Field<'_>,
    parse_name: impl Fn(&str) -> Result<Arc<str>, Problem>,
) -> (Arc<str>, ValueMatch) {
    let mut fields = field.fields();
    let types = &[("Exact", false), ("RegularExpression", true)];
    let regex = fields.optional("type").and_then(|field| field.choice(types)).unwrap_or(false);
    let name = fields.required("name").parsed(parse_name).unwrap_or_default();
    let value = fields.required("value").parsed(|text| read_value(text, regex)).unwrap_or(ValueMatch::Present);
    fields.finish();
    (name, value)
}

fn read_value(text: &str, regex: bool) -> Result<ValueMatch, Problem> {
    if regex {
        return Pattern::try_new(text).map(ValueMatch::Regex);
    }
    if text.is_empty() || text.len() > MAX_VALUE || HeaderValue::from_str(text).is_err() {
        return Err(Problem::invalid(text, format!("must be 1 to {MAX_VALUE} visible characters")));
    }
    Ok(ValueMatch::Exact(text.into()))
}

/// Gateway API counts only the first of several; refusing says it.
fn refuse_twice<'a>(field: &Field<'_>, names: impl Iterator<Item = &'a Arc<str>>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            field.note(Problem::new(Code::Conflict, "is matched twice").with_value(name).at_index(index));
        }
    }
}

fn read_path(field: &Field<'_>) -> Option<PathMatch> {
    let mut fields = field.fields();
    let types = &[
        ("PathPrefix", PathType::Prefix),
        ("Exact", PathType::Exact),
        ("RegularExpression", PathType::Regex),
        ("PathTemplate", PathType::Template),
    ];
    let kind = fields.optional("type").and_then(|field| field.choice(types)).unwrap_or(PathType::Prefix);
    let value = match fields.optional("value") {
        Some(field) => field.parsed(|text| parse_path(kind, text)),
        None => parse_path(kind, "/").ok(),
    };
    fields.finish();
    value
}

fn parse_path(kind: PathType, text: &str) -> Result<PathMatch, Problem> {
    match kind {
        PathType::Regex => return Pattern::try_new(text).map(PathMatch::Regex),
        PathType::Template => return Template::try_new(text).map(PathMatch::Template),
        PathType::Exact | PathType::Prefix => check_path(text)?,
    }
    Ok(match kind {
        PathType::Exact => PathMatch::Exact(text.into()),
        _ if text == "/" => PathMatch::Prefix(text.into()),
        // `/cart/` and `/cart` are the same prefix, because a prefix ends with a whole segment.
        _ => PathMatch::Prefix(text.strip_suffix('/').unwrap_or(text).into()),
    })
}
