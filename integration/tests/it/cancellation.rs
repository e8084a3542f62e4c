//! What nobody waits for any more is given up, within a second, in both directions.

use std::time::Duration;

use http_body_util::BodyExt;
use outrigger_integration::client::{Client, get};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::{wait, wire};

const SOON: Duration = Duration::from_secs(1);

async fn given_up(origin: &Origin, count: usize) {
    wait::within(SOON, "the service to learn that its caller has gone", async || {
        (origin.given_up() == count).then_some(())
    })
    .await;
}

async fn arrived(origin: &Origin) {
    wait::holds("the request to arrive", || origin.requests() == 1).await;
}

#[tokio::test]
async fn a_caller_that_goes_before_the_response_takes_its_request_along() {
    for service in ["http", "h2c"] {
        let origin = Origin::start().await;
        let mesh = Mesh::of(service, &[origin.address()]).await;
        let mut wire = mesh.wire().await;
        wire.send("GET /slow/60000 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        arrived(&origin).await;
        drop(wire);
        given_up(&origin, 1).await;
    }
}

#[tokio::test]
async fn a_caller_that_goes_during_the_response_takes_its_request_along() {
    for service in ["http", "h2c"] {
        let origin = Origin::start().await;
        let mesh = Mesh::of(service, &[origin.address()]).await;
        let mut client = mesh.http1().await;
        let mut response = client.start(get("catalog", "/stall")).await;
        response.body_mut().frame().await.unwrap().unwrap();
        client.abort();
        given_up(&origin, 1).await;
    }
}

#[tokio::test]
async fn a_cancelled_stream_cancels_its_request() {
    for service in ["http", "h2c"] {
        let origin = Origin::start().await;
        let mesh = Mesh::of(service, &[origin.address()]).await;
        let mut client: Client = mesh.http2().await;
        let waiting = tokio::spawn(client.attempt(get("catalog", "/slow/60000")));
        arrived(&origin).await;
        waiting.abort();
        given_up(&origin, 1).await;
        assert_eq!(client.send(get("catalog", "/")).await.status, 200, "the connection goes on");
    }
}

#[tokio::test]
async fn a_caller_that_goes_while_it_sends_is_noticed() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("POST /sink HTTP/1.1\r\nhost: catalog\r\ncontent-length: 1000\r\n\r\nnot all of it").await;
    arrived(&origin).await;
    wire.abort();
    wait::within(SOON, "the service to see the broken body", async || {
        (origin.given_up() + origin.connections() >= 1 && origin.under_way() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_goes_is_noticed_by_the_caller() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET /slow/60000 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    arrived(&origin).await;
    let begun = std::time::Instant::now();
    origin.stop().await;
    let response: wire::Response = wire.response().await;
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    assert_eq!((response.status / 100, response.reason()), (5, Some("connection_terminated")));
}
