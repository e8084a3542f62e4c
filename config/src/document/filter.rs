//! `filters` of a rule or of a backend reference (Gateway API `HTTPRouteFilter`, `GRPCRouteFilter`): what is changed in
//! a message on its way. Each type stands at most once in a list, as Gateway API has it.

use std::sync::Arc;

use http::header::HeaderName;

use super::metadata::stand_in;
use super::reader::{Field, Fields};
use super::subsets::read_criteria;
use crate::error::{Code, Problem};
use crate::header::{HeaderChanges, HeaderField, Headers, check_name, check_value};
use crate::name::{ObjectName, check_label, check_subdomain};
use crate::rewrite::{PathRewrite, REDIRECTS, Redirect, Rewrite, Scheme, check_path};
use crate::subset::Criteria;
use crate::value::Percent;

/// What the filters of one list come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Which header fields are changed.
    pub headers: Headers,
    /// What is rewritten.
    pub rewrite: Rewrite,
    /// Where callers are sent instead.
    pub redirect: Option<Redirect>,
    /// Where copies go.
    pub mirrors: Vec<MirrorRef>,
}

/// A `RequestMirror`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRef {
    /// Which filter of the list it is.
    pub filter: usize,
    /// The service; absent namespace: the route's.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
    /// Which of its workloads, by their labels; empty: whichever (Outrigger's own).
    pub subset: Criteria,
    /// The share of requests that is copied; absent: all.
    pub percent: Percent,
}

/// Where a list of filters stands, which decides what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a rule of an HTTPRoute.
    HttpRule,
    /// In a rule of a GRPCRoute.
    GrpcRule,
    /// In a backend reference.
    Backend,
}

/// The types of Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    RequestHeader,
    ResponseHeader,
    Redirect,
    Rewrite,
    Mirror,
    Unsupported,
}

const TYPES: &[(&str, Type)] = &[
    ("RequestHeaderModifier", Type::RequestHeader),
    ("ResponseHeaderModifier", Type::ResponseHeader),
    ("RequestRedirect", Type::Redirect),
    ("URLRewrite", Type::Rewrite),
    ("RequestMirror", Type::Mirror),
    ("CORS", Type::Unsupported),
    ("ExternalAuth", Type::Unsupported),
    ("ExtensionRef", Type::Unsupported),
];

impl Filters {
    /// Reads the filters of a rule or of a backend, if it has any.
    pub(super) fn read(fields: &mut Fields<'_>, owner: &ObjectName, place: Place) -> Self {
        let Some(field) = fields.optional("filters") else { return Filters::default() };
        let read = field.list(|field| read_filter(field, owner, place));
        // Copies may go to several places.
        let once = |filter: &&Filter| !matches!(filter, Filter::Mirror(_));
        let kinds = read.iter().map(|filter| filter.as_ref().filter(once).map_or("", Filter::name));
        field.unique("type", kinds);
        let mut filters = Filters::default();
        for (index, filter) in read.into_iter().enumerate() {
            match filter {
                None => {}
                Some(Filter::Mirror(mirror)) => filters.mirrors.push(MirrorRef { filter: index, ..mirror }),
                Some(Filter::Request(changes)) => filters.headers.request = changes,
                Some(Filter::Response(changes)) => filters.headers.response = changes,
                Some(Filter::Redirect(redirect)) => filters.redirect = Some(redirect),
                Some(Filter::Rewrite(rewrite)) => filters.rewrite = rewrite,
            }
        }
        if filters.redirect.is_some() && !filters.mirrors.is_empty() {
            field.note(Problem::new(Code::Conflict, "RequestRedirect and RequestMirror exclude each other"));
        }
        if filters.redirect.is_some() && !filters.rewrite.is_empty() {
            field.note(Problem::new(Code::Conflict, "RequestRedirect and URLRewrite exclude each other"));
        }
        filters
    }
}

/// One filter.
enum Filter {
    Request(HeaderChanges),
    Response(HeaderChanges),
    Redirect(Redirect),
    Rewrite(Rewrite),
    Mirror(MirrorRef),
}

impl Filter {
    fn name(&self) -> &'static str {
        match self {
            Filter::Request(_) => "RequestHeaderModifier",
            Filter::Response(_) => "ResponseHeaderModifier",
            Filter::Redirect(_) => "RequestRedirect",
            Filter::Rewrite(_) => "URLRewrite",
            Filter::Mirror(_) => "RequestMirror",
        }
    }
}

fn read_filter(field: &Field<'_>, owner: &ObjectName, place: Place) -> Option<Filter> {
    let mut fields = field.fields();
    let kind = fields.required("type");
    let chosen = kind.choice(TYPES)?;
    if matches!(chosen, Type::Redirect | Type::Rewrite) && place != Place::HttpRule {
        kind.unsupported("only a rule of an HTTPRoute can have it");
        return None;
    }
    if chosen == Type::Mirror && place == Place::Backend {
        kind.unsupported("only a rule can have it");
        return None;
    }
    let filter = match chosen {
        Type::RequestHeader => Filter::Request(read_changes(&fields.required("requestHeaderModifier"))),
        Type::ResponseHeader => Filter::Response(read_changes(&fields.required("responseHeaderModifier"))),
        Type::Redirect => Filter::Redirect(read_redirect(&fields.required("requestRedirect"))),
        Type::Rewrite => Filter::Rewrite(read_rewrite(&fields.required("urlRewrite"))),
        Type::Mirror => Filter::Mirror(read_mirror(&fields.required("requestMirror"), owner)),
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

fn read_redirect(field: &Field<'_>) -> Redirect {
    let mut fields = field.fields();
    let schemes = &[("http", Scheme::Http), ("https", Scheme::Https)];
    let scheme = fields.optional("scheme").and_then(|field| field.choice(schemes));
    let host = fields.optional("hostname").map(|field| field.checked(check_subdomain));
    let port = fields.optional("port").map(|field| field.port());
    let path = fields.optional("path").and_then(|field| read_path(&field));
    let status = fields.optional("statusCode").map_or(302, |field| read_status(&field));
    fields.finish();
    Redirect { scheme, host, port, path, status }
}

fn read_status(field: &Field<'_>) -> u16 {
    let status = u16::try_from(field.integer(300..=399)).unwrap_or_default();
    if (300..=399).contains(&status) && !REDIRECTS.contains(&status) {
        field.note(Problem::invalid(status, "must be 301, 302, 303, 307 or 308"));
    }
    status
}

fn read_rewrite(field: &Field<'_>) -> Rewrite {
    let mut fields = field.fields();
    let host = fields.optional("hostname").map(|field| field.checked(check_subdomain));
    let path = fields.optional("path").and_then(|field| read_path(&field));
    let field = fields.finish();
    if host.is_none() && path.is_none() && field.is_there() {
        field.note(Problem::new(Code::MissingField, "needs a hostname, a path or both"));
    }
    Rewrite { host, path }
}

/// Gateway API's `HTTPPathModifier`. Trailing slashes mean nothing where whole segments are replaced, and an empty
/// replacement takes the prefix out.
fn read_path(field: &Field<'_>) -> Option<PathRewrite> {
    let mut fields = field.fields();
    let types = &[("ReplaceFullPath", true), ("ReplacePrefixMatch", false)];
    let path = match fields.required("type").choice(types) {
        Some(true) => fields.required("replaceFullPath").parsed(|text| {
            check_path(text)?;
            Ok(PathRewrite::Full(text.into()))
        }),
        Some(false) => fields.required("replacePrefixMatch").parsed(|text| {
            let text = match text.strip_suffix('/').unwrap_or(text) {
                "" => "/",
                text => text,
            };
            check_path(text)?;
            Ok(PathRewrite::Prefix(text.into()))
        }),
        None => return None,
    };
    fields.finish();
    path
}

/// `percent` (whole) or `fraction`, as Gateway API has them; neither: all.
fn read_mirror(field: &Field<'_>, owner: &ObjectName) -> MirrorRef {
    let mut fields = field.fields();
    let (service, port, subset) = read_service(&fields.required("backendRef"), owner);
    let percent = fields.optional("percent").map(|field| field.integer(0..=100).saturating_mul(10_000));
    let fraction = fields.optional("fraction").map(|field| read_fraction(&field));
    let field = fields.finish();
    if percent.is_some() && fraction.is_some() {
        field.note(Problem::new(Code::Conflict, "percent and fraction exclude each other").at_field("fraction"));
    }
    let millionths = percent.or(fraction).unwrap_or(1_000_000);
    let percent = Percent::from_millionths(millionths).unwrap_or(Percent::HUNDRED);
    MirrorRef { filter: 0, service, port, subset, percent }
}

/// The port of a service that copies go to (Gateway API `BackendObjectReference`), and which of its workloads.
fn read_service(field: &Field<'_>, owner: &ObjectName) -> (ObjectName, u16, Criteria) {
    let mut fields = field.fields();
    if let Some(kind) = fields.optional("kind") {
        kind.choice(&[("Service", ())]);
    }
    if let Some(group) = fields.optional("group") {
        group.choice(&[("", ()), ("outrigger.dev", ())]);
    }
    let name = fields.required("name").checked(check_label);
    let namespace = fields.optional("namespace").map_or(owner.namespace().into(), |field| field.checked(check_label));
    let port = fields.required("port").port();
    let subset = fields.optional("subset").map(|field| read_criteria(&field)).unwrap_or_default();
    fields.finish();
    (ObjectName::try_new(&namespace, &name).unwrap_or_else(|_| stand_in()), port, subset)
}

/// A fraction, in millionths.
fn read_fraction(field: &Field<'_>) -> u32 {
    let mut fields = field.fields();
    let denominator = fields.optional("denominator").map_or(100, |field| field.integer(1..=i32::MAX as u32));
    let numerator = fields.required("numerator").integer(0..=denominator);
    fields.finish();
    u32::try_from(u64::from(numerator) * 1_000_000 / u64::from(denominator)).unwrap_or(1_000_000)
}

/// A name that may be changed, in lower case.
fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    check_name(text)?;
    HeaderName::from_bytes(text.as_bytes())
        .map(|name| name.as_str().into())
        .map_err(|_| Problem::invalid(text, "must be the name of a header field"))
}
