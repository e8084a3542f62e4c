//! SIGTERM: what is under way ends well, what is kept open is closed with words, and nothing waits for ever.

use std::time::{Duration, Instant};

use outrigger_integration::client::{get, read};
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::Start;
use outrigger_integration::{client::Client, wait};

#[tokio::test]
async fn requests_under_way_are_finished_on_sigterm() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    let mut client = mesh.http2().await;
    wire.send("GET /slow/1000 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    let stream = tokio::spawn(client.attempt(get("catalog", "/slow/1000")));
    wait::holds("both to be under way", || origin.under_way() == 2).await;
    mesh.caller().process().signal("TERM");
    let response = wire.response().await;
    assert_eq!((response.status, response.head.get("connection")), (200, Some("close")));
    assert_eq!(read(stream.await.unwrap().unwrap()).await.status, 200);
    wire.ended().await;
    wait::holds("the GOAWAY", || client.is_closed()).await;
    let ended = mesh.take(CALLER).ended().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.lines);
}

#[tokio::test]
async fn a_draining_proxy_takes_no_new_connection() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET /slow/2000 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    wait::holds("the request to be under way", || origin.under_way() == 1).await;
    mesh.caller().process().signal("TERM");
    wait::within(Duration::from_secs(1), "the listener to close", async || {
        tokio::net::TcpStream::connect(mesh.address()).await.is_err().then_some(())
    })
    .await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn an_idle_proxy_ends_at_once() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::of("http", &[origin.address()]).await;
    let mut kept = [mesh.http1().await, mesh.http2().await];
    for client in &mut kept {
        assert_eq!(client.send(get("catalog", "/")).await.status, 200);
    }
    let begun = Instant::now();
    mesh.caller().process().signal("TERM");
    assert_eq!(mesh.take(CALLER).ended().await.code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_drain_timeout() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let mut proxy = Start::standalone(&documents, CALLER).arg("--drain-timeout").arg("1s").ready().await;
    let mut client = Client::http1(documents.outbound(CALLER)).await;
    let stalled = tokio::spawn(async move { read(client.start(get("catalog", "/stall")).await).await });
    wait::holds("the request to be under way", || origin.under_way() == 1).await;
    let begun = Instant::now();
    proxy.process().signal("TERM");
    proxy.ended().await;
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(4));
    assert!(!stalled.await.unwrap().complete);
}

#[tokio::test]
async fn a_posted_drain_says_close_and_keeps_serving_what_comes() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(mesh.caller().admin_post("/drain").await.status / 100, 2);
    wait::until("the drain to show", async || (mesh.caller().admin("/ready").await.status == 503).then_some(())).await;
}
