//! HTTP/2 by prior knowledge: streams side by side on one connection, none in another's way.

use std::time::Duration;

use futures_util::future::join_all;
use http::Version;
use http_body_util::BodyExt;
use outrigger_integration::client::{get, post, read};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

#[tokio::test]
async fn streams_run_side_by_side() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut client = mesh.http2().await;
    let begun = std::time::Instant::now();
    let replies: Vec<_> = (0..50).map(|_| client.attempt(get("catalog", "/slow/300"))).collect();
    for reply in join_all(replies).await {
        let reply = read(reply.unwrap()).await;
        assert_eq!((reply.status, reply.version), (200, Version::HTTP_2));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "fifty waits of 0.3 s took {:?}", begun.elapsed());
    assert!(origin.connections() <= 2, "one connection a worker carries them all");
}

#[tokio::test]
async fn a_stalled_stream_does_not_hold_up_its_neighbours() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut client = mesh.http2().await;
    // More than the windows hold: both are full and stay so, because nobody reads them.
    let _stalled =
        [client.start(get("catalog", "/bytes/50000000")).await, client.start(get("catalog", "/stall")).await];
    for _ in 0..20 {
        assert_eq!(client.send(get("catalog", "/")).await.status, 200);
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let reply = mesh.http2().await.send(get("catalog", "/trailers").with("te", "trailers")).await;
    assert_eq!((reply.text().as_str(), reply.trailer("x-checksum")), ("summed", Some("c0ffee")));
}

#[tokio::test]
async fn a_reset_stream_leaves_the_connection_to_the_others() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut client = mesh.http2().await;
    let mut stalled = client.start(get("catalog", "/stall")).await;
    stalled.body_mut().frame().await.unwrap().unwrap();
    drop(stalled);
    wait::holds("the service to learn of the reset", || origin.given_up() == 1).await;
    let before = origin.connections();
    let reply = client.send(post("catalog", "/echo", "still here")).await;
    assert_eq!(reply.text(), "still here");
    assert_eq!(origin.connections(), before, "one cancelled stream costs no connection");
}

#[tokio::test]
async fn the_protocol_is_detected_on_one_port() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    assert_eq!(mesh.http1().await.send(get("catalog", "/")).await.version, Version::HTTP_11);
    assert_eq!(mesh.http2().await.send(get("catalog", "/")).await.version, Version::HTTP_2);
}
