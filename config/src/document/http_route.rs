//! `HTTPRoute` of Gateway API, with a Service as its parent (GAMMA).

use super::filter::Place;
use super::matches::read_match;
use super::reader::{Field, Fields};
use super::route::Route;
use crate::matching::RouteMatch;
use crate::name::ObjectName;
use crate::policy::Timeouts;
use crate::value::parse_duration;

/// Reads the spec of an HTTPRoute.
pub(super) fn read(field: &Field<'_>, owner: &ObjectName) -> Route {
    Route::read(field, owner, (Place::HttpRule, &RouteMatch::any()), read_match, read_timeouts)
}

/// `timeouts`: `request` for the whole, `backendRequest` for each attempt.
fn read_timeouts(fields: &mut Fields<'_>) -> Timeouts {
    let Some(field) = fields.optional("timeouts") else { return Timeouts::default() };
    let mut fields = field.fields();
    let request = fields.optional("request").and_then(|field| field.parsed(parse_duration));
    let per_try = fields.optional("backendRequest").and_then(|field| field.parsed(parse_duration));
    fields.finish();
    Timeouts { request, per_try, ..Timeouts::default() }
}
