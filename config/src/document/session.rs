//! `sessionPersistence` of a BackendPolicy: the shape of Gateway API's (GEP-1619), with what a cookie can say besides.

use std::sync::Arc;
use std::time::Duration;

use super::reader::Field;
use crate::error::{Code, Problem};
use crate::policy::session::{Session, check_name, check_path};
use crate::value::MAX_DURATION;

/// Reads it; absent `cookieConfig`: for every path, until the caller is closed.
pub(super) fn read_session(field: &Field<'_>) -> Session {
    let mut fields = field.fields();
    let name = fields.required("sessionName").checked(check_name);
    if let Some(field) = fields.optional("type") {
        // The only one: a header would have to be passed on by every caller's own code.
        let _ = field.choice(&[("Cookie", ())]);
    }
    let lifetime =
        fields.optional("absoluteTimeout").map(|field| field.duration(Duration::from_secs(1)..=MAX_DURATION));
    let mut session = Session { lifetime, ..Session::named(&name) };
    if let Some(field) = fields.optional("cookieConfig") {
        read_cookie(&field, &mut session);
    }
    fields.unsupported(&["idleTimeout"]);
    let field = fields.finish();
    if session.permanent && lifetime.is_none() {
        let reason = "is required by lifetimeType: Permanent";
        field.note(Problem::new(Code::MissingField, reason).at_field("absoluteTimeout"));
    }
    session
}

fn read_cookie(field: &Field<'_>, session: &mut Session) {
    let mut fields = field.fields();
    let types = [("Session", false), ("Permanent", true)];
    session.permanent = fields.optional("lifetimeType").and_then(|field| field.choice(&types)).unwrap_or(false);
    if let Some(field) = fields.optional("path") {
        session.path = field.checked(check_path);
    }
    let sites = [("Strict", "Strict"), ("Lax", "Lax"), ("None", "None")];
    let site = fields.optional("sameSite").and_then(|field| field.choice(&sites));
    let secure = fields.optional("secure").is_some_and(|field| field.boolean());
    let field = fields.finish();
    if site == Some("None") && !secure {
        let reason = "is taken by browsers only beside secure: true";
        field.note(Problem::new(Code::Conflict, reason).at_field("sameSite"));
    }
    let site = site.map(|site| (Arc::from("SameSite"), Arc::from(site)));
    let secure = secure.then(|| (Arc::from("Secure"), Arc::from("")));
    session.attributes = site.into_iter().chain(secure).collect();
}
