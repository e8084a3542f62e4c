//! `GRPCRoute` of Gateway API, with a Service as its parent (GAMMA). A method is a path, `/SERVICE/METHOD`, so its
//! matches become path matches that take gRPC requests alone.

use super::filter::Place;
use super::matches::read_headers;
use super::reader::{Field, Fields};
use super::route::Route;
use crate::error::{Code, Problem};
use crate::matching::{PathMatch, RouteMatch};
use crate::name::ObjectName;
use crate::policy::Timeouts;
use crate::value::Pattern;

/// Reads the spec of a GRPCRoute.
pub(super) fn read(field: &Field<'_>, owner: &ObjectName) -> Route {
    Route::read(field, owner, (Place::GrpcRule, &any()), read_match, no_timeouts)
}

fn any() -> RouteMatch {
    RouteMatch { grpc: true, ..RouteMatch::any() }
}

/// A GRPCRoute has no timeouts of its own; a RoutePolicy gives it some.
fn no_timeouts(_: &mut Fields<'_>) -> Timeouts {
    Timeouts::default()
}

fn read_match(field: &Field<'_>) -> RouteMatch {
    let mut fields = field.fields();
    let path = fields.optional("method").and_then(|field| read_method(&field)).unwrap_or(any().path);
    let headers = fields.optional("headers").map(|field| read_headers(&field)).unwrap_or_default();
    fields.finish();
    RouteMatch { path, headers, ..any() }
}

fn read_method(field: &Field<'_>) -> Option<PathMatch> {
    let mut fields = field.fields();
    let types = &[("Exact", false), ("RegularExpression", true)];
    let regex = fields.optional("type").and_then(|field| field.choice(types)).unwrap_or(false);
    let check = if regex { check_pattern } else { check_name };
    let service = fields.optional("service").map(|field| field.checked(check));
    let method = fields.optional("method").map(|field| field.checked(check));
    let field = fields.finish();
    let pattern = |service: &str, method: &str| {
        Pattern::try_new(&format!("/{service}/{method}"))
            .map_err(|problem| field.note(problem))
            .ok()
            .map(PathMatch::Regex)
    };
    match (service, method) {
        (None, None) => {
            field.note(Problem::new(Code::MissingField, "needs a service, a method or both"));
            None
        }
        (service, method) if regex => {
            let part = |text: Option<_>| text.map_or(ANY.to_owned(), |text: std::sync::Arc<str>| format!("(?:{text})"));
            pattern(&part(service), &part(method))
        }
        (Some(service), Some(method)) => Some(PathMatch::Exact(format!("/{service}/{method}").into())),
        (Some(service), None) => Some(PathMatch::Prefix(format!("/{service}").into())),
        (None, Some(method)) => pattern(ANY, &regex::escape(&method)),
    }
}

/// One segment of a path, whatever it says.
const ANY: &str = "[^/]+";

/// The names that Gateway API allows for gRPC services and methods.
fn check_name(text: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    if text.is_empty() || text.len() > 1024 || !text.chars().all(plain) {
        return Err(Problem::invalid(text, "must be 1 to 1024 letters, digits, '_' or '.', such as shop.v1.Pricing"));
    }
    Ok(())
}

fn check_pattern(text: &str) -> Result<(), Problem> {
    Pattern::try_new(text).map(|_| ())
}
