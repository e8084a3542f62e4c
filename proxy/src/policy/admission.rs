//! The one room that decides what a request is: it refuses what hyper accepts and a proxy must not pass on, and makes
//! the one form of host, path and fields that routing, policy and the upstream all read.
//!
//! Refused with [`Reason::HttpRequestDenied`] (RFC 9110 7.2, RFC 9112 3.2 and 6.3): no Host, several, or one with a
//! space, `@` or `/`; Content-Length together with Transfer-Encoding; an absolute form that disagrees with Host; a
//! target without `/`, or with a `#` (of HTTP/1.1, in a request that is not pipelined: elsewhere it cannot be seen, and
//! nothing behind it is read by anybody); a path that climbs above its root or hides dots (`path`); CONNECT. Removed: the fields of one hop
//! (RFC 9110 7.6.1) and those that `Connection` names, except those that no caller may have removed. An upgrade's own
//! fields stay.

use std::borrow::Cow;
use std::task::{Context, Poll};

use http::header::{self, HeaderValue};
use http::{Method, Uri, Version};
use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::error::{Error, Reason};
use crate::exchange::Request;
use crate::explain;
use crate::fields::Fields;
use crate::hop;
use crate::io::Hidden;
use crate::path;

/// Puts [`Admission`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLayer;

/// Refuses malformed requests and normalises the rest.
#[derive(Clone, Debug)]
pub struct Admission<S> {
    inner: S,
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { inner }
    }
}

impl<S: Next<Request>> Service<Request> for Admission<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Waiting {
        let fields = request.trail.fields;
        if fields.any(Fields::EXPLAIN) {
            explain::hear(&mut request);
        }
        match admit(&request.http, fields, request.hidden) {
            Ok(authority) => request.authority = authority,
            Err(error) => return refuse(error),
        }
        if let Err(error) = normalise(request.http.uri_mut()) {
            return refuse(error);
        }
        hop::strip(request.http.headers_mut(), fields);
        self.inner.call(request)
    }
}

fn denied(detail: &str) -> Error {
    Error::new(Reason::HttpRequestDenied).because(detail)
}

/// Checks a request; returns the host it is for.
fn admit<B>(request: &http::Request<B>, fields: Fields, hidden: Hidden) -> Result<HeaderValue, Error> {
    let (uri, headers) = (request.uri(), request.headers());
    if request.method() == Method::CONNECT {
        return Err(denied("CONNECT is not served here"));
    }
    let asterisk = request.method() == Method::OPTIONS && uri.path() == "*";
    if !uri.path().starts_with('/') && !asterisk {
        return Err(denied("the request target must begin with '/'"));
    }
    // Over HTTP/1, where it was seen before the parser: `http` drops it. Over HTTP/2 nobody sees it, routes and services
    // neither.
    if hidden == Hidden::Fragment {
        return Err(denied("the request target must have no '#'"));
    }
    if fields.any(Fields::TRANSFER_ENCODING) && request.version() < Version::HTTP_2 {
        if hidden == Hidden::Length || headers.contains_key(header::CONTENT_LENGTH) {
            return Err(denied("Content-Length and Transfer-Encoding exclude each other"));
        }
        if hidden == Hidden::Head {
            return Err(denied("a request with Transfer-Encoding must not come together with the one before it"));
        }
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(denied("more than one Host"));
    }
    let authority = match (uri.authority(), host) {
        (None, None) => return Err(denied("no Host")),
        (None, Some(host)) => canonical(host.as_bytes(), Some(host))?,
        (Some(authority), None) => canonical(authority.as_str().as_bytes(), None)?,
        (Some(authority), Some(host)) => {
            let (named, host) =
                (canonical(authority.as_str().as_bytes(), None)?, canonical(host.as_bytes(), Some(host))?);
            if named != host {
                return Err(denied("the request target names another host than Host"));
            }
            host
        }
    };
    Ok(authority)
}

/// Gives the target's path its one form.
fn normalise(target: &mut Uri) -> Result<(), Error> {
    if target.path() == "*" {
        return Ok(());
    }
    let made = match path::normal(target.path()) {
        Ok(Cow::Borrowed(_)) => return Ok(()),
        Ok(Cow::Owned(made)) => made,
        Err(refusal) => return Err(denied(refusal.detail())),
    };
    path::put(target, made).map_err(|_| denied("a path that is too long"))
}

/// What a byte may be in a host, a bit each; none of a plain one.
const UPPER: u8 = 1;
const COLON: u8 = 1 << 1;
const NEVER: u8 = 1 << 2;

/// One pass over a host decides; a table is as quick as it gets.
const CLASSES: [u8; 256] = {
    let mut classes = [NEVER; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        classes[byte] = match byte as u8 {
            b'@' | b'/' | b'\\' | b'?' | b'#' | b',' | b'"' => NEVER,
            b'A'..=b'Z' => UPPER,
            b':' => COLON,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// A host in lower case and without a trailing dot. `same` is the value it was read from, used again where nothing
/// has to change.
fn canonical(host: &[u8], same: Option<&HeaderValue>) -> Result<HeaderValue, Error> {
    let seen = host.iter().fold(0, |seen, byte| seen | CLASSES[usize::from(*byte)]);
    if host.is_empty() || host.len() > 260 || seen & NEVER != 0 {
        return Err(denied("a Host that is empty, too long or no host name"));
    }
    let (name, port) = if seen & COLON != 0 { split_port(host) } else { (host, &b""[..]) };
    if !port.iter().skip(1).all(u8::is_ascii_digit) || port.len() > 6 {
        return Err(denied("a Host whose port is no number"));
    }
    let dotted = name.len() > 1 && name.ends_with(b".");
    if !dotted
        && seen & UPPER == 0
        && let Some(same) = same
    {
        return Ok(same.clone());
    }
    let mut made = Vec::with_capacity(host.len());
    made.extend(name[..name.len() - usize::from(dotted)].iter().map(u8::to_ascii_lowercase));
    made.extend_from_slice(port);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(made)).map_err(|_| denied("a Host that is no host name"))
}

/// Name and `:port` of a host; the brackets of an IPv6 address belong to the name.
fn split_port(host: &[u8]) -> (&[u8], &[u8]) {
    let after_brackets = host.iter().rposition(|byte| *byte == b']').map_or(0, |at| at + 1);
    match host[after_brackets..].iter().rposition(|byte| *byte == b':') {
        Some(at) => host.split_at(after_brackets + at),
        None => (host, b""),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::admit;
    use crate::io::Hidden;

    fn check(target: &str, fields: &[(&str, &str)]) -> Result<String, String> {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).map_err(|error| error.to_string())?;
        admit(&request, crate::fields::Fields::of(request.headers()), Hidden::Nothing)
            .map(|host| host.to_str().unwrap_or_default().to_owned())
            .map_err(|error| error.detail.to_string())
    }

    #[test]
    fn a_host_takes_one_form() {
        for (given, canonical) in
            [("a", "a"), ("A.Example", "a.example"), ("a.", "a"), ("a.:80", "a:80"), ("[::1]:80", "[::1]:80")]
        {
            assert_eq!(check("/", &[("host", given)]), Ok(canonical.into()), "{given}");
        }
        assert_eq!(check("http://A.b/x", &[("host", "a.b")]), Ok("a.b".into()));
    }

    #[test]
    fn a_path_takes_one_form_and_the_query_stays() {
        for (given, expected) in [
            ("/a/../b?c=/../d", "/b?c=/../d"),
            ("http://h/a/%2e%2e/b?", "http://h/b?"),
            ("/a%7Eb", "/a~b"),
            ("/a//b?x", "/a//b?x"),
            ("*", "*"),
        ] {
            let mut target = given.parse().expect("a target");
            super::normalise(&mut target).unwrap_or_else(|error| panic!("{given}: {error:?}"));
            assert_eq!(target.to_string(), expected);
        }
        assert!(super::normalise(&mut "/../a".parse().expect("a target")).is_err());
    }

    #[test]
    fn what_hyper_accepts_and_a_proxy_must_not_is_refused() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            ("/", &[], "no Host"),
            ("/", &[("host", "")], "a Host that is"),
            ("/", &[("host", "a"), ("host", "a")], "more than one Host"),
            ("/", &[("host", "a b")], "a Host that is"),
            ("/", &[("host", "user@a")], "a Host that is"),
            ("/", &[("host", "a/b")], "a Host that is"),
            ("/", &[("host", "a:x")], "a Host whose port"),
            ("http://a/", &[("host", "b")], "the request target names another host"),
            ("a", &[("host", "a")], "the request target must begin"),
            ("/", &[("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")], "Content-Length and"),
        ];
        for (target, fields, reason) in cases {
            let got = check(target, fields).expect_err(reason);
            assert!(got.starts_with(reason), "{target} {fields:?}: {got}");
        }
    }
}
