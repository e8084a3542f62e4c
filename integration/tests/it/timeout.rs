//! Timeouts: of the whole request, of its silence, and what they say.

use std::time::{Duration, Instant};

use outrigger_integration::client::get;
use outrigger_integration::mesh::{Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;
use outrigger_integration::wire::{Script, Wire};

const RULE: &str = "- { timeouts: { request: 300ms }, backendRefs: [{ name: catalog, port: 80 }] }";

#[tokio::test]
async fn a_request_past_its_time_gets_504_and_is_given_up() {
    let origin = Origin::start().await;
    let mesh = Mesh::standalone(small("http", &[origin.address()]).route("catalog", RULE)).await;
    let begun = Instant::now();
    let reply = mesh.get("/slow/60000").await;
    assert_eq!((reply.status, reply.reason()), (504, Some("http_response_timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(2));
    wait::holds("the service to be let go", || origin.given_up() == 1).await;
}

#[tokio::test]
async fn the_time_covers_the_body_too() {
    let origin = Origin::start().await;
    let mesh = Mesh::standalone(small("http", &[origin.address()]).route("catalog", RULE)).await;
    let begun = Instant::now();
    let reply = mesh.get("/stall").await;
    assert_eq!((reply.status, reply.complete), (200, false));
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_fast_request_is_left_alone() {
    let origin = Origin::start().await;
    let mesh = Mesh::standalone(small("http", &[origin.address()]).route("catalog", RULE)).await;
    for reply in mesh.many("/slow/10", 10).await {
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn the_time_covers_all_attempts() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route("catalog", RULE)
        .policy_of_route(SERVICE, "retry: { attempts: 10, on: [reset], perTryTimeout: 100ms }");
    let mesh = Mesh::standalone(documents).await;
    let begun = Instant::now();
    assert_eq!(mesh.get("/slow/60000").await.status, 504);
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    assert!((2..=4).contains(&origin.requests()), "{} attempts of 100 ms in 300 ms", origin.requests());
}

#[tokio::test]
async fn silence_on_both_sides_ends_a_response() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", "timeouts: { idle: 300ms }");
    let mesh = Mesh::standalone(documents).await;
    let reply = mesh.get("/stall").await;
    assert_eq!((reply.status, reply.complete), (200, false));
    let reply = mesh.http2().await.send(get("catalog", "/stall")).await;
    assert_eq!((reply.status, reply.complete), (200, false));
}

#[tokio::test]
async fn a_stream_lasts_no_longer_than_its_bound_and_says_nothing_against_its_endpoint() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", "timeouts: { stream: 300ms }");
    let mut mesh = Mesh::standalone(documents).await;
    let reply = mesh.get("/slow/60000").await;
    assert_eq!((reply.status, reply.reason()), (504, Some("http_response_timeout")));
    let reply = mesh.get("/stall").await;
    assert_eq!((reply.status, reply.complete), (200, false));
    assert_eq!(mesh.caller().metric("outrigger_attempts_total", &["outcome=\"aborted\""]).await, 2.0);
}

#[tokio::test]
async fn a_tunnel_lasts_no_longer_than_its_stream_may() {
    let script = Script::start(|mut wire: Wire, _| async move {
        wire.request().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n").await;
        wire.ended().await;
    })
    .await;
    let policy = "timeouts: { request: 100ms, stream: 500ms }";
    let mesh = Mesh::standalone(small("http", &[script.address()]).route_policy("catalog", policy)).await;
    let begun = Instant::now();
    let mut wire = mesh.wire().await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 101);
    wire.ended().await;
    assert!(begun.elapsed() >= Duration::from_millis(450), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_grpc_callers_own_time_stands_in_the_place_of_the_streams() {
    let origin = Origin::start().await;
    let policy = "timeouts: { stream: 100ms, grpcMax: 600ms }";
    let documents = small("kubernetes.io/h2c", &[origin.address()]).route_policy("catalog", policy);
    let mesh = Mesh::standalone(documents).await;
    // What they say, and how long it takes them.
    for (said, least, most) in [(None, 100, 500), (Some("400m"), 400, 600), (Some("1H"), 600, 5000)] {
        let begun = Instant::now();
        let mut call = get(SERVICE, "/slow/60000").with("content-type", "application/grpc");
        if let Some(said) = said {
            call = call.with("grpc-timeout", said);
        }
        assert_eq!(mesh.http2().await.send(call).await.header("grpc-status"), Some("4"), "{said:?}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(least) && took < Duration::from_millis(most), "{said:?} took {took:?}");
    }
}
