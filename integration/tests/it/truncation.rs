//! A response that broke off reaches the caller as broken off, and never as complete.

use outrigger_integration::client::{get, read};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wire::Script;

/// Three ways to break off: by count, by chunks, and by a reset where the end of the connection is the end.
const COUNTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nthe first ";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nthe first \r\n";

#[tokio::test]
async fn a_short_body_is_never_complete_for_http1() {
    for said in [COUNTED, CHUNKED] {
        let script = Script::saying(said).await;
        let mesh = Mesh::of("http", &[script.address()]).await;
        let mut wire = mesh.wire().await;
        wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        let response = wire.response().await;
        assert_eq!(response.status, 200);
        assert!(!response.complete, "{:?}", response.text());
    }
}

#[tokio::test]
async fn a_short_body_is_a_reset_stream_for_http2() {
    for said in [COUNTED, CHUNKED] {
        let script = Script::saying(said).await;
        let mesh = Mesh::of("http", &[script.address()]).await;
        let mut client = mesh.http2().await;
        let reply = client.send(get("catalog", "/")).await;
        assert!(!reply.complete, "{:?}", reply.text());
        assert!(!client.is_closed(), "only the stream ends, not the connection");
    }
}

#[tokio::test]
async fn a_reset_ends_a_body_without_length_as_broken_off() {
    let script = Script::start(|mut wire, _| async move {
        wire.request().await;
        wire.send("HTTP/1.1 200 OK\r\n\r\nthe first ").await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        wire.abort();
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    assert!(!wire.response().await.complete);
}

#[tokio::test]
async fn a_reset_stream_of_the_service_is_passed_on() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    for mut client in [mesh.http1().await, mesh.http2().await] {
        // On a busy machine the head may not have left when the body breaks off: then there is no response at all.
        if let Ok(response) = client.attempt(get("catalog", "/truncate")).await {
            assert!(!read(response).await.complete);
        }
    }
}

#[tokio::test]
async fn a_broken_head_is_an_answer_with_a_reason() {
    let script = Script::saying("HTTP/1.1 200 OK\r\nx-half").await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let reply = mesh.get("/").await;
    assert_eq!(reply.status / 100, 5);
    assert!(reply.reason().is_some(), "{:?}", reply.headers);
}
