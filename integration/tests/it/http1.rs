//! HTTP/1.1 on both sides, byte for byte: what a proxy must pass on as it is.

use std::sync::Arc;
use std::time::Duration;

use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wire::{Script, Wire};
use tokio::sync::Notify;

/// A mesh before a service that says exactly these bytes and closes, and the caller's end.
async fn before(bytes: &'static str) -> (Mesh, Script, Wire) {
    let script = Script::saying(bytes).await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let wire = mesh.wire().await;
    (mesh, script, wire)
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    for _ in 0..20 {
        wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        assert_eq!(wire.response().await.text(), "origin\n");
    }
    assert_eq!(origin.requests(), 20);
    assert_eq!(origin.connections(), 1, "the connection to the service is kept too");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: catalog\r\n\r\n");
    wire.send(ask("/slow/100") + &ask("/status/404") + &ask("/")).await;
    let statuses = [wire.response().await.status, wire.response().await.status, wire.response().await.status];
    assert_eq!(statuses, [200, 404, 200]);
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_request_at_the_service() {
    let over = Arc::new(Notify::new());
    let told = Arc::clone(&over);
    let script = Script::start(move |mut wire, _| {
        let told = Arc::clone(&told);
        async move {
            wire.request().await;
            wire.ended().await;
            told.notify_one();
        }
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    assert!(wire.stays_silent(Duration::from_millis(100)).await, "the service has not answered");
    drop(wire);
    tokio::time::timeout(Duration::from_secs(5), over.notified()).await.expect("the service is told");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send(
        "POST /echo HTTP/1.1\r\nhost: catalog\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    wire.send("3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n").await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "6".to_owned())]);
}

#[tokio::test]
async fn the_service_decides_about_100_continue() {
    let script = Script::start(|mut wire, _| async move {
        let head = wire.request().await;
        assert!(head.has("expect"));
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = wire.read_exactly(5).await;
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", String::from_utf8_lossy(&body))).await;
        wire.ended().await;
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("PUT / HTTP/1.1\r\nhost: catalog\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 100);
    wire.send("hello").await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
}

#[tokio::test]
async fn an_expectation_is_met_before_an_http2_service_too() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("PUT /sink HTTP/1.1\r\nhost: catalog\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 100);
    wire.send("hello").await;
    assert_eq!(wire.response().await.text(), "5");
}

#[tokio::test]
async fn a_refused_expectation_spares_the_body() {
    let (_mesh, _script, mut wire) = before("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
    wire.send("PUT / HTTP/1.1\r\nhost: catalog\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 413, "no 100 Continue of the proxy's own comes first");
}

#[tokio::test]
async fn early_hints_come_before_the_response() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
    let (_mesh, _script, mut wire) = before(
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    let early = wire.response().await;
    assert_eq!(early.status, 103, "{hints}");
    assert_eq!(early.head.get("link"), Some("</style.css>; rel=preload"));
    assert_eq!(wire.response().await.text(), "ok");
}

#[tokio::test]
async fn a_response_to_head_keeps_its_length_and_has_no_body() {
    let (_mesh, _script, mut wire) = before("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    wire.send("HEAD / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    let response = wire.response_to("HEAD").await;
    assert_eq!((response.status, response.head.get("content-length")), (200, Some("1234")));
    assert!(wire.stays_silent(Duration::from_millis(100)).await, "nothing follows the head");
}

#[tokio::test]
async fn a_204_and_a_304_have_no_body_and_no_framing() {
    for status in ["204 No Content", "304 Not Modified"] {
        let script = Script::start(move |mut wire, _| async move {
            loop {
                wire.request().await;
                wire.send(format!("HTTP/1.1 {status}\r\netag: \"1\"\r\n\r\n")).await;
            }
        })
        .await;
        let mesh = Mesh::of("http", &[script.address()]).await;
        let mut wire = mesh.wire().await;
        for _ in 0..2 {
            wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
            let response = wire.response().await;
            assert_eq!(response.status.to_string(), status[..3]);
            assert!(!response.head.has("transfer-encoding"), "{status}: {:?}", response.head);
            assert_eq!(response.head.get("etag"), Some("\"1\""));
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole() {
    let (_mesh, _script, mut wire) = before("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    let response = wire.response().await;
    assert_eq!((response.text().as_str(), response.complete), ("until the end", true));
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 200, "the caller's connection goes on");
}

#[tokio::test]
async fn an_http_1_0_caller_gets_no_chunks() {
    let (_mesh, _script, mut wire) =
        before("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    wire.send("GET / HTTP/1.0\r\nhost: catalog\r\n\r\n").await;
    let response = wire.response().await;
    assert!(!response.head.has("transfer-encoding"), "{:?}", response.head);
    assert_eq!((response.text().as_str(), response.complete), ("ok", true));
}

#[tokio::test]
async fn a_response_may_come_before_the_request_has_ended() {
    let (_mesh, _script, mut wire) = before("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    wire.send("POST / HTTP/1.1\r\nhost: catalog\r\ncontent-length: 1000000\r\n\r\nthe first of many").await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn a_chunked_body_is_passed_on_as_it_comes() {
    let script = Script::start(|mut wire, _| async move {
        wire.request().await;
        wire.read_until(b"one").await;
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
        wire.read_until(b"two").await;
        wire.send("3\r\ntwo\r\n0\r\n\r\n").await;
        wire.ended().await;
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("POST / HTTP/1.1\r\nhost: catalog\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
    wire.read_until(b"one").await;
    wire.send("3\r\ntwo\r\n0\r\n\r\n").await;
    wire.read_until(b"two").await;
}
