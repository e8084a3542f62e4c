//! Kept connections: one that died while it was idle costs no caller a request, and a request that was sent is never sent
//! again behind its caller's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_integration::client::{get, post};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wire::Script;
use outrigger_integration::{ports, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_felt() {
    // Each connection serves one request and closes, without having said that it would.
    let script = Script::saying(OK).await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut client = mesh.http1().await;
    for turn in 0..20 {
        assert_eq!(client.send(post("catalog", "/", "x")).await.status, 200, "request {turn}");
        // Time for the end of the connection to arrive: it was idle when it came.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(script.connections(), 20);
}

#[tokio::test]
async fn a_connection_that_closes_under_a_get_is_not_felt() {
    // The next request meets the end of the connection on its way: RFC 9112, 9.3.1 lets idempotent ones be sent again.
    let script = Script::saying(OK).await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut client = mesh.http1().await;
    for turn in 0..200 {
        let reply = client.send(get("catalog", "/")).await;
        assert_eq!(reply.status, 200, "request {turn}: {:?}", reply.headers);
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_twice() {
    let posts = Arc::new(AtomicUsize::new(0));
    let count = posts.clone();
    let script = Script::start(move |mut wire, _| {
        let count = count.clone();
        async move {
            wire.request().await;
            wire.send(OK).await;
            wire.request().await;
            // It was read: nobody can know whether it was acted upon.
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut client = mesh.http1().await;
    assert_eq!(client.send(get("catalog", "/")).await.status, 200);
    let reply = client.send(post("catalog", "/order", "one")).await;
    assert_eq!((reply.status / 100, reply.reason()), (5, Some("connection_terminated")));
    assert_eq!(posts.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_workload_that_comes_back_is_used_again() {
    for protocol in ["http", "h2c"] {
        let address = ports::free();
        let mesh = Mesh::of(protocol, &[address]).await;
        for life in ["first", "second", "third"] {
            let origin = Origin::at(address, life).await;
            wait::until(&format!("the {life} life to be used"), async || {
                (mesh.get("/").await.header("x-origin") == Some(life)).then_some(())
            })
            .await;
            origin.stop().await;
            assert_eq!(mesh.get("/").await.status, 503, "after its {life} life");
        }
    }
}

#[tokio::test]
async fn a_service_that_says_close_is_taken_at_its_word() {
    let script = Script::saying("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut client = mesh.http1().await;
    for _ in 0..10 {
        let reply = client.send(get("catalog", "/")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("connection"), None, "it speaks of its own connection, not of the caller's");
    }
}
