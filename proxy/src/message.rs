//! A message's form on the wire: how a request is addressed in each protocol version, what a response leaves behind,
//! and what a failed exchange means.

use std::error::Error as _;
use std::io::ErrorKind;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};
use outrigger_config::listener::Direction;

use crate::body::{Body, Broken};
use crate::error::{Error, Reason};
use crate::exchange::Trail;
use crate::fields::Fields;
use crate::head;
use crate::hop;
use crate::pool::Failure;
use crate::route::bucket::CALLER_FIELD;

/// Which attempt a request is, and how many an answer took, the first included.
pub const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// Says whom this proxy stands beside, and not what the caller may have said of it.
pub fn name_caller(request: &mut http::Request<Body>, trail: &Trail) {
    let entrance = &trail.connection.entrance;
    if entrance.direction == Direction::Outbound {
        match &entrance.caller {
            Some(caller) => drop(request.headers_mut().insert(CALLER_FIELD, caller.clone())),
            None => drop(request.headers_mut().remove(CALLER_FIELD)),
        }
    }
}

/// Writes a request's target as `version` has it: origin form and `Host` (RFC 9112, 3.2.1), or scheme, authority and
/// path (RFC 9113, 8.3.1).
pub fn address(request: &mut http::Request<Body>, version: Version, authority: &HeaderValue, fields: Fields) {
    *request.version_mut() = version;
    if version == Version::HTTP_2 {
        let headers = request.headers_mut();
        headers.remove(header::HOST);
        hop::strip_upgrade(headers, fields);
        if request.uri().authority().is_none_or(|named| named.as_str().as_bytes() != authority.as_bytes()) {
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            parts.scheme = Some(Scheme::HTTP);
            // Admission has let it in, so that it is an authority; an empty one fails at the endpoint.
            parts.authority = Authority::try_from(authority.as_bytes()).ok();
            parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        }
        return;
    }
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
    let headers = request.headers_mut();
    if headers.get(header::HOST) != Some(authority) {
        headers.insert(header::HOST, authority.clone());
    }
    if fields.any(Fields::COOKIE) {
        join_cookies(headers);
    }
}

/// HTTP/2 may cut `Cookie` into crumbs; HTTP/1.1 has one field (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut http::HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let joined: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(value) = HeaderValue::from_bytes(&joined.join(&b"; "[..])) {
        headers.insert(header::COOKIE, value);
    }
}

/// A second copy of a request that may be lost to a race, of which no policy need say anything: its connection's peer
/// may just be closing it, unseen. A request of an idempotent method without a body may then be sent again (RFC 9110,
/// 9.2.2; RFC 9112, 9.3.1).
pub fn copy(request: &http::Request<Body>) -> Option<Box<http::Request<Body>>> {
    is_repeatable(request).then(|| Box::new(head::copy(request).map(|()| Body::empty())))
}

/// Whether a request that was lost to such a race may be sent again.
pub fn is_repeatable(request: &http::Request<Body>) -> bool {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    safe && request.body().is_empty()
}

/// Makes an endpoint's response head the caller's: without the fields of one hop, in the caller's version.
pub fn clean_response(parts: &mut http::response::Parts, trail: &Trail) {
    let fields = Fields::of(&parts.headers);
    // Of two framings the chunks count, and only their length is true (RFC 9112, 6.3).
    if fields.any(Fields::TRANSFER_ENCODING) {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    hop::strip(&mut parts.headers, fields);
    if trail.version == Version::HTTP_2 {
        hop::strip_upgrade(&mut parts.headers, fields);
    }
    parts.version = trail.version;
    parts.extensions.clear();
    // HTTP/1.1 sends only the trailers that were announced; gRPC's are known without that.
    if trail.grpc && trail.version < Version::HTTP_2 && !parts.headers.contains_key(header::TRAILER) {
        let names = HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");
        parts.headers.insert(header::TRAILER, names);
    }
}

/// Whether the request may not have been seen: its connection ended without a byte of a response, as a reused one does
/// that its peer was just closing. Of a fresh one only a reset says so: a kernel resets what its process left unread
/// (RFC 1122, 4.2.2.13), while a process that read the request and died of it ends the connection in order.
pub fn is_unseen(failure: &Failure, reused: bool) -> bool {
    let Failure::Http1(error) = failure else { return false };
    let kind = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        Some(ErrorKind::ConnectionReset) => true,
        Some(ErrorKind::BrokenPipe) => reused,
        _ => reused && error.is_incomplete_message(),
    }
}

/// What a failed exchange means.
pub fn classify(failure: &Failure) -> Error {
    match failure {
        Failure::Body(broken) => Error::new(broken.0).because("the request's body ended early"),
        Failure::Http2(error) => {
            let reason = match failure {
                _ if failure.is_refused() => Reason::StreamRefused,
                _ if error.is_io() || error.is_go_away() => Reason::ConnectionTerminated,
                _ if error.is_reset() => Reason::UpstreamReset,
                _ => Reason::HttpProtocolError,
            };
            Error::new(reason).because(error)
        }
        Failure::Http1(error) => {
            if let Some(broken) = error.source().and_then(|cause| cause.downcast_ref::<Broken>()) {
                return classify(&Failure::Body(*broken));
            }
            let reason = if error.is_parse() { Reason::HttpProtocolError } else { Reason::ConnectionTerminated };
            Error::new(reason).because(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, Version};

    use super::address;
    use crate::body::Body;

    fn addressed(target: &str, version: Version) -> Request<Body> {
        let mut request = Request::builder().uri(target).header("cookie", "a=1").header("cookie", "b=2");
        if !target.starts_with("http") {
            request = request.header("host", "Shop");
        }
        let mut request = request.body(Body::empty()).expect("valid");
        let fields = crate::fields::Fields::of(request.headers());
        address(&mut request, version, &HeaderValue::from_static("shop:80"), fields);
        request
    }

    #[test]
    fn http_1_is_addressed_in_origin_form() {
        for target in ["/a?b", "http://shop:80/a?b"] {
            let request = addressed(target, Version::HTTP_11);
            assert_eq!(request.uri(), "/a?b");
            assert_eq!(request.headers()["host"], "shop:80");
            assert_eq!(request.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        }
    }

    #[test]
    fn http_2_is_addressed_by_its_pseudo_fields() {
        for target in ["/a?b", "http://shop:80/a?b"] {
            let request = addressed(target, Version::HTTP_2);
            assert_eq!(request.uri(), "http://shop:80/a?b");
            assert!(!request.headers().contains_key("host"));
        }
    }
}
