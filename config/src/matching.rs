//! What a request must be to be meant: path, method, header fields, query parameters (xDS `RouteMatch`).
//!
//! Routes choose by it and rate limits count by it, so it stands above both. It says nothing about order: where several
//! match, whoever holds the list decides.

use std::sync::Arc;

use crate::template::Template;
use crate::value::Pattern;

/// What a path must be. The path is the normalised one, without the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this.
    Exact(Arc<str>),
    /// This, or this followed by `/` and more (`path_separated_prefix`; Gateway API `PathPrefix`). Without a
    /// trailing slash, except for `/`, which matches everything.
    Prefix(Arc<str>),
    /// Anything that begins with these bytes, wherever they end (xDS `prefix`, from other control planes).
    RawPrefix(Arc<str>),
    /// The whole path matches.
    Regex(Pattern),
    /// The whole path fits, segment for segment (`path_match_policy`, `uri_template`).
    Template(Template),
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(Arc<str>),
    /// The whole value matches.
    Regex(Pattern),
    /// It is there, whatever it says.
    Present,
}

/// A header field that must be there. Of a field that is there several times, the values joined by `,` count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The field's name, lower case.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A query parameter that must be there; the first of its name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// The parameter's name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: ValueMatch,
}

/// What a request must be; every part must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// The method, upper case; none allows every one.
    pub method: Option<Arc<str>>,
    /// The header fields.
    pub headers: Vec<HeaderMatch>,
    /// The query parameters.
    pub query: Vec<QueryMatch>,
    /// Only gRPC requests (`RouteMatch.grpc`).
    pub grpc: bool,
}

impl RouteMatch {
    /// Matches every request.
    pub fn any() -> Self {
        RouteMatch {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
        }
    }
}
