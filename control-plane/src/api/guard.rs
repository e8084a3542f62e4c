//! Keeps web pages out of a port that listens on loopback, where the browser of whoever debugs the mesh could reach it.
//!
//! **DNS rebinding.** A page can make its own name point at 127.0.0.1 and then read our answers as its own. So the
//! `Host` (or `:authority`) must be a loopback name or address, the address we listen on, or one that `--api-host`
//! names; everything else is refused with 403. An API that listens on every address takes any address as `Host`, for a
//! page cannot rebind an address, only a name.
//!
//! **Forged requests.** A page can send some requests to any address without reading the answer. Those carry no content
//! type, or one of three that forms have; a request that changes something must carry another, or the header
//! `Outrigger-Client`, which no page may set across origins. `DELETE` is a method no page may use across origins.
//! Where a browser states an `Origin` it must be one of our hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// The header that says a request was made on purpose; its value does not matter.
const CLIENT: &str = "outrigger-client";

/// The content types a form can send, and none at all.
const SIMPLE: [&str; 4] = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

/// The hosts requests may be meant for. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Hosts {
    bound: IpAddr,
    extra: Arc<[String]>,
}

impl Hosts {
    /// Loopback, the address we listen on, and `extra` names without ports.
    pub fn new(bound: SocketAddr, extra: impl IntoIterator<Item = String>) -> Self {
        let extra = extra.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Hosts { bound: bound.ip().to_canonical(), extra }
    }

    /// Whether a request for `authority`, a host with or without a port, is meant for us.
    fn contains(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let address = address.to_canonical();
            let ours = address.is_loopback() || address == self.bound || self.bound.is_unspecified();
            return ours || self.extra.iter().any(|extra| extra.parse() == Ok(address));
        }
        host == "localhost" || host.ends_with(".localhost") || self.extra.iter().any(|extra| extra == host)
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Hosts::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), [])
    }
}

/// Refuses what a web page may have sent.
pub(super) async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match check(&hosts, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(hosts: &Hosts, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let authority = uri.authority().map(|authority| authority.as_str()).or(text(header::HOST)).unwrap_or_default();
    let several = headers.get_all(header::HOST).iter().nth(1).is_some();
    if several || !hosts.contains(authority) {
        return Err(ApiError::Forbidden(format!(
            "the request is for the host {authority:?}, which this API does not answer for; use 127.0.0.1 or localhost, \
             or start the control plane with --api-host"
        )));
    }
    if let Some(origin) = text(header::ORIGIN) {
        let from = origin.split_once("://").map_or("", |(_, host)| host);
        if !hosts.contains(from) {
            return Err(ApiError::Forbidden(format!("the request comes from a web page of {origin:?}")));
        }
    }
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !safe && !headers.contains_key(CLIENT) && SIMPLE.contains(&essence.as_str()) {
        return Err(ApiError::Simple);
    }
    Ok(())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

    use super::{Hosts, check};

    fn hosts(bound: &str) -> Hosts {
        Hosts::new(bound.parse().expect("an address"), ["mesh.internal".to_owned()])
    }

    fn passes(hosts: &Hosts, method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(pair) {
            map.append(name, value);
        }
        check(hosts, method, &Uri::from_static("/api/v1/graph"), &map).is_ok()
    }

    #[test]
    fn a_rebound_name_is_refused() {
        let loopback = hosts("127.0.0.1:15080");
        for good in [
            "127.0.0.1:15080",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "[::1]:15080",
            "127.9.9.9",
            "mesh.internal:80",
        ] {
            assert!(passes(&loopback, &Method::GET, &[("host", good)]), "{good}");
        }
        for bad in ["evil.example", "evil.example:15080", "127.0.0.1.evil.example", "", "localhost.evil", "10.0.0.1"] {
            assert!(!passes(&loopback, &Method::GET, &[("host", bad)]), "{bad}");
        }
        assert!(!passes(&loopback, &Method::GET, &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!passes(&loopback, &Method::GET, &[]));
    }

    #[test]
    fn an_open_address_takes_addresses_and_no_names() {
        let open = hosts("0.0.0.0:15080");
        assert!(passes(&open, &Method::GET, &[("host", "10.0.0.1:15080")]));
        assert!(!passes(&open, &Method::GET, &[("host", "evil.example")]));
        assert!(passes(&hosts("10.0.0.1:15080"), &Method::GET, &[("host", "10.0.0.1")]));
        assert!(!passes(&hosts("10.0.0.1:15080"), &Method::GET, &[("host", "10.0.0.2")]));
    }

    #[test]
    fn a_change_needs_what_no_form_can_send() {
        let post = |headers: &[(&'static str, &str)]| {
            let all: Vec<_> = [("host", "localhost")].into_iter().chain(headers.iter().copied()).collect();
            passes(&hosts("127.0.0.1:1"), &Method::POST, &all)
        };
        assert!(post(&[("content-type", "application/yaml")]));
        assert!(post(&[("content-type", "application/json; charset=utf-8")]));
        assert!(post(&[("content-type", "text/plain"), ("outrigger-client", "1")]));
        for simple in
            ["text/plain", "TEXT/PLAIN;charset=utf-8", "application/x-www-form-urlencoded", "multipart/form-data"]
        {
            assert!(!post(&[("content-type", simple)]), "{simple}");
        }
        assert!(!post(&[]));
    }

    #[test]
    fn a_foreign_page_is_refused_where_the_browser_names_it() {
        let from =
            |origin| passes(&hosts("127.0.0.1:1"), &Method::DELETE, &[("host", "localhost"), ("origin", origin)]);
        assert!(from("http://localhost:15080"));
        assert!(!from("https://evil.example"));
        assert!(!from("null"));
    }
}
