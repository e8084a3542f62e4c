//! Requests whose answers are never kept: they go on as they are, and what an unsafe one has changed is forgotten.

use std::sync::Arc;

use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::super::Waiting;
use crate::cache::second::View;
use crate::cache::status::{self, CACHE_STATUS, Did, Forward};
use crate::clock;
use crate::error::Error;
use crate::exchange::{Response, Routed};
use crate::route::cache::Cache as RouteCache;

/// Sends a request on as it is, with `send`. One that changed its target makes everything that is kept of it be
/// forgotten, whatever fields the others ask with (RFC 9111, 4.4).
pub(super) async fn pass(
    send: impl FnOnce(Routed) -> Waiting,
    routed: Routed,
    cache: &RouteCache,
    why: Option<Forward>,
) -> Result<Response, Error> {
    let shared = Arc::clone(&routed.trail.connection.shared);
    let unsafe_of = (!routed.http.method().is_safe()).then(|| {
        let target = routed.http.uri().path_and_query().cloned();
        (routed.authority.clone(), target)
    });
    let mut response = send(routed).await?;
    let status = response.status();
    if let Some((authority, target)) = unsafe_of
        && (status.is_success() || status.is_redirection())
    {
        let store = &shared.caching.store;
        let second = shared.caching.second.as_ref();
        let view = if why.is_some() { View::Acting } else { View::Observing };
        let forget = |key: &[u8]| {
            store.forget(key, clock::now());
            // Whether this route shares what it keeps or not: another one of the same target may.
            second.inspect(|second| second.forget(key, view));
        };
        cache.rule.with_target(&authority, target.as_ref(), forget);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(uri) = near(response.headers(), &name, &authority) {
                cache.rule.with_target(&authority, uri.path_and_query(), forget);
            }
        }
    }
    if let Some(why) = why {
        let status = Some(status.as_u16());
        let did = Did::Forwarded { why, status, stored: false, collapsed: false, detail: None };
        response.headers_mut().append(CACHE_STATUS, status::value(did, None, clock::now(), ""));
    }
    Ok(response)
}

/// A field that names a target of the same host.
fn near(headers: &HeaderMap, name: &HeaderName, authority: &HeaderValue) -> Option<Uri> {
    let uri: Uri = headers.get(name)?.to_str().ok()?.parse().ok()?;
    let same = |named: &http::uri::Authority| named.as_str().as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    (uri.path().starts_with('/') && uri.authority().is_none_or(same)).then_some(uri)
}
