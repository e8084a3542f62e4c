//! `filters` of a rule or of a backend reference (Gateway API `HTTPRouteFilter`, `GRPCRouteFilter`): what is changed in
//! a message on its way. Each type stands at most once in a list, as Gateway API has it.

use std::sync::Arc;

use http::header::HeaderName;

use super::reader::{Field, Fields};
use crate::error::{Code, Problem};
use crate::header::{HeaderChanges, HeaderField, Headers, check_name, check_value};

/// What the filters of one list come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Which header fields are changed.
    pub headers: Headers,
}

/// The types of Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    RequestHeader,
    ResponseHeader,
    Unsupported,
}

const TYPES: &[(&str, Type)] = &[
    ("RequestHeaderModifier", Type::RequestHeader),
    ("ResponseHeaderModifier", Type::ResponseHeader),
    ("RequestRedirect", Type::Unsupported),
    ("URLRewrite", Type::Unsupported),
    ("RequestMirror", Type::Unsupported),
    ("CORS", Type::Unsupported),
    ("ExternalAuth", Type::Unsupported),
    ("ExtensionRef", Type::Unsupported),
];

impl Filters {
    /// Reads the filters of a rule or of a backend, if it has any.
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let Some(field) = fields.optional("filters") else { return Filters::default() };
        let read = field.list(read_filter);
        let kinds = read.iter().map(|filter| filter.as_ref().map_or("", Filter::name));
        field.unique("type", kinds);
        let mut filters = Filters::default();
        for filter in read.into_iter().flatten() {
            match filter {
                Filter::Request(changes) => filters.headers.request = changes,
                Filter::Response(changes) => filters.headers.response = changes,
            }
        }
        filters
    }
}

/// One filter.
enum Filter {
    Request(HeaderChanges),
    Response(HeaderChanges),
}

impl Filter {
    fn name(&self) -> &'static str {
        match self {
            Filter::Request(_) => "RequestHeaderModifier",
            Filter::Response(_) => "ResponseHeaderModifier",
        }
    }
}

fn read_filter(field: &Field<'_>) -> Option<Filter> {
    let mut fields = field.fields();
    let kind = fields.required("type");
    let filter = match kind.choice(TYPES)? {
        Type::RequestHeader => Filter::Request(read_changes(&fields.required("requestHeaderModifier"))),
        Type::ResponseHeader => Filter::Response(read_changes(&fields.required("responseHeaderModifier"))),
        Type::Unsupported => {
            kind.unsupported("this version cannot carry it out; take it out");
            return None;
        }
    };
    fields.finish();
    Some(filter)
}

fn read_changes(field: &Field<'_>) -> HeaderChanges {
    let mut fields = field.fields();
    let mut list = |name| {
        let Some(field) = fields.optional(name) else { return Vec::new() };
        let headers = field.list(read_header);
        field.unique("name", headers.iter().map(|(name, _)| Arc::clone(name)));
        headers
    };
    let (set, add) = (list("set"), list("add"));
    let remove = match fields.optional("remove") {
        Some(field) => {
            let names = field.list(|field| field.parsed(parse_name).unwrap_or_default());
            field.unique("name", names.iter().map(Arc::clone));
            names
        }
        None => Vec::new(),
    };
    let field = fields.finish();
    let changes = HeaderChanges { set, add, remove };
    // What is wrong with a name or within a list is noted already.
    let named = changes.names().all(|name| !name.is_empty());
    if changes.is_empty() && field.is_there() {
        field.note(Problem::new(Code::MissingField, "needs set, add or remove"));
    } else if named && let Err(problem) = changes.check_lists() {
        field.note(problem);
    }
    changes
}

fn read_header(field: &Field<'_>) -> HeaderField {
    let mut fields = field.fields();
    let name = fields.required("name").parsed(parse_name).unwrap_or_default();
    let value = fields.required("value").checked(check_value);
    fields.finish();
    (name, value)
}

/// A name that may be changed, in lower case.
fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    check_name(text)?;
    HeaderName::from_bytes(text.as_bytes())
        .map(|name| name.as_str().into())
        .map_err(|_| Problem::invalid(text, "must be the name of a header field"))
}
