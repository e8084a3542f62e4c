//! HTTP/1.1 and HTTP/2 in all four combinations: what a caller of one sees of a service of the other.

use http::Method;
use outrigger_integration::behaviour::empty;
use outrigger_integration::client::{Client, ask, get, post, read};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;

/// A caller in each protocol before a service in each protocol.
const COMBINATIONS: [(&str, &str); 4] = [("http1", "http"), ("http1", "h2c"), ("http2", "http"), ("http2", "h2c")];

async fn through(caller: &str, service: &str) -> (Origin, Mesh, Client) {
    let origin = Origin::start().await;
    let mesh = Mesh::of(service, &[origin.address()]).await;
    let client = if caller == "http1" { mesh.http1().await } else { mesh.http2().await };
    (origin, mesh, client)
}

#[tokio::test]
async fn bodies_and_trailers_pass() {
    for (caller, service) in COMBINATIONS {
        let (_origin, _mesh, mut client) = through(caller, service).await;
        let reply = client.send(post("catalog", "/echo", "there and back")).await;
        assert_eq!(reply.text(), "there and back", "{caller} to {service}");
        let reply = client.send(get("catalog", "/trailers").with("te", "trailers")).await;
        assert_eq!(reply.text(), "summed", "{caller} to {service}");
        assert_eq!(reply.trailer("x-checksum"), Some("c0ffee"), "{caller} to {service}");
    }
}

#[tokio::test]
async fn the_service_sees_the_same_request() {
    for (caller, service) in COMBINATIONS {
        let (_origin, _mesh, mut client) = through(caller, service).await;
        let seen = client.send(get("catalog", "/request?a=1&b=%20").with("x-one", "1")).await.json();
        let version = if service == "http" { "HTTP/1.1" } else { "HTTP/2.0" };
        assert_eq!(seen["version"], version, "{caller} to {service}");
        assert_eq!(seen["path"], "/request?a=1&b=%20", "{caller} to {service}");
        assert_eq!(seen["host"], "catalog", "{caller} to {service}");
        assert_eq!(seen["headers"]["x-one"], "1", "{caller} to {service}");
    }
}

#[tokio::test]
async fn a_head_request_has_no_body_anywhere() {
    for (caller, service) in COMBINATIONS {
        let (_origin, _mesh, mut client) = through(caller, service).await;
        for _ in 0..2 {
            let response = client.attempt(ask(Method::HEAD, "catalog", "/bytes/1000", empty())).await;
            let reply = read(response.unwrap_or_else(|error| panic!("{caller} to {service}: {error}"))).await;
            assert_eq!(reply.header("content-length"), Some("1000"), "{caller} to {service}");
            assert!(reply.body.is_empty() && reply.complete, "{caller} to {service}");
        }
    }
}

#[tokio::test]
async fn several_cookie_fields_become_one_for_http1() {
    let (_origin, _mesh, mut client) = through("http2", "http").await;
    // RFC 9113, 8.2.3: HTTP/2 may split the field; HTTP/1.1 must see one.
    let seen = client.send(get("catalog", "/request").with("cookie", "a=1").with("cookie", "b=2")).await.json();
    assert_eq!(seen["headers"]["cookie"], "a=1; b=2");
}

#[tokio::test]
async fn large_bodies_pass() {
    for (caller, service) in COMBINATIONS {
        let (_origin, _mesh, mut client) = through(caller, service).await;
        let reply = client.send(get("catalog", "/bytes/5000000")).await;
        assert_eq!((reply.body.len(), reply.complete), (5_000_000, true), "{caller} to {service}");
        let reply = client.send(post("catalog", "/sink", vec![b'x'; 5_000_000])).await;
        assert_eq!(reply.text(), "5000000", "{caller} to {service}");
    }
}
