//! What a route that sends nothing on answers by itself: a redirect, or a response of its own (Gateway API
//! `RequestRedirect`, xDS `RedirectAction` and `DirectResponseAction`).

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use outrigger_config::matching::PathMatch;
use outrigger_config::rewrite::{Answer as Model, DirectResponse, Redirect, Scheme};

use super::edit::{Edits, Refusal};
use super::rewrite::{self, Climbs};
use crate::body::Body;
use crate::grpc;
use crate::telemetry::Edge;

/// An answer, ready to be given.
#[derive(Debug)]
pub struct Answer {
    /// How it was configured.
    pub config: Model,
    /// What is changed in it.
    pub edits: Option<Arc<Edits>>,
    /// The counters of the requests that get it.
    pub edge: Arc<Edge>,
}

impl Answer {
    /// The answer to a request for `authority` that `matched` took.
    pub fn to(
        &self,
        request: &Request<Body>,
        authority: &HeaderValue,
        matched: &PathMatch,
        grpc: bool,
    ) -> Result<Response<Body>, Refusal> {
        let mut response = match &self.config {
            Model::Redirect(redirect) => {
                let mut response = empty(redirect.status);
                let location = location(redirect, request, authority, matched)?;
                // What the caller asked for may have a byte that no field can say.
                let location = HeaderValue::from_str(&location).map_err(|_| Refusal::NoTarget)?;
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
            Model::Direct(direct) => self::direct(direct, request.method()),
        };
        if grpc {
            response = as_grpc(response.status());
        }
        if let Some(edits) = &self.edits {
            edits.response(response.headers_mut());
        }
        Ok(response)
    }
}

fn direct(direct: &DirectResponse, method: &Method) -> Response<Body> {
    let mut response = empty(direct.status);
    if is_bodiless(response.status()) {
        return response;
    }
    let fields = response.headers_mut();
    if !direct.body.is_empty() {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(direct.body.len()));
    if method != Method::HEAD {
        *response.body_mut() = Body::full(direct.body.as_bytes().to_vec());
    }
    response
}

/// Whether a response of this status has no content (RFC 9110, 15.3.5, 15.3.6 and 15.4.5).
pub fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Where a request is to be asked again. What the redirect does not name stays as it was asked; a port that the scheme
/// has anyway is left out.
fn location(
    redirect: &Redirect,
    request: &Request<Body>,
    authority: &HeaderValue,
    matched: &PathMatch,
) -> Result<String, Climbs> {
    let asked = authority.to_str().unwrap_or_default();
    // The brackets of an IPv6 address hold colons of their own.
    let (name, port) = match asked.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (asked, None),
    };
    // The proxy takes plain HTTP, so that this is what was asked.
    let scheme = redirect.scheme.unwrap_or(Scheme::Http);
    let port = match (redirect.port, redirect.scheme, &redirect.host) {
        (Some(port), ..) => Some(port),
        (None, None, None) => port,
        (None, ..) => None,
    };
    let name = redirect.host.as_deref().unwrap_or(name);
    let mut text = format!("{}://{name}", scheme.as_str());
    if let Some(port) = port.filter(|port| *port != scheme.port()) {
        text.push_str(&format!(":{port}"));
    }
    match &redirect.path {
        Some(path) => text.push_str(&rewrite::path(request.uri().path(), matched, path)?),
        None => text.push_str(request.uri().path()),
    }
    if let Some(query) = request.uri().query() {
        text.push('?');
        text.push_str(query);
    }
    Ok(text)
}

/// The same to a gRPC caller, who knows no other statuses than its own.
fn as_grpc(status: StatusCode) -> Response<Body> {
    let mut response = empty(200);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert("grpc-status", HeaderValue::from(u16::from(grpc::of_http(status.as_u16()))));
    if let Ok(message) = HeaderValue::from_str(&format!("the route answers {}", status.as_u16())) {
        fields.insert("grpc-message", message);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Request};
    use outrigger_config::matching::PathMatch;
    use outrigger_config::rewrite::{DirectResponse, PathRewrite, Redirect, Scheme};

    use super::{direct, location};
    use crate::body::Body;

    #[test]
    fn a_direct_answer_has_a_body_where_its_status_has() {
        let answer = |status: u16| direct(&DirectResponse { status, body: "text".into() }, &Method::GET);
        for (status, bodiless) in [(204, true), (205, true), (304, true), (200, false)] {
            let response = answer(status);
            let found = (response.body().is_empty(), response.headers().is_empty());
            assert_eq!(found, (bodiless, bodiless), "{status}");
        }
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_name() {
        let none = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
        let at = |redirect: &Redirect, host: &'static str| {
            let request = Request::builder().uri("/old/a?b=c").body(Body::empty()).expect("a request");
            let matched = PathMatch::Prefix("/old".into());
            location(redirect, &request, &HeaderValue::from_static(host), &matched).expect("stays inside")
        };
        let https = Redirect { scheme: Some(Scheme::Https), ..none.clone() };
        let host = Redirect { host: Some("new".into()), ..none.clone() };
        let port = Redirect { port: Some(8443), ..https.clone() };
        let path = Redirect { path: Some(PathRewrite::Prefix("/new".into())), ..none.clone() };
        for (redirect, asked, expected) in [
            (&none, "here:8080", "http://here:8080/old/a?b=c"),
            (&none, "here:80", "http://here/old/a?b=c"),
            (&none, "[::1]", "http://[::1]/old/a?b=c"),
            (&none, "[::1]:81", "http://[::1]:81/old/a?b=c"),
            (&https, "here:8080", "https://here/old/a?b=c"),
            (&host, "here:8080", "http://new/old/a?b=c"),
            (&port, "here", "https://here:8443/old/a?b=c"),
            (&path, "here", "http://here/new/a?b=c"),
        ] {
            assert_eq!(at(redirect, asked), expected, "{redirect:?} {asked}");
        }
    }
}
