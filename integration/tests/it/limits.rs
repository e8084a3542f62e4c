//! Limits are exact, over all workers, and a refusal names the one it met.

use std::time::Duration;

use futures_util::future::join_all;
use outrigger_integration::client::{Reply, get, read};
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

async fn limited(protocol: &str, limits: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let documents = small(protocol, &[origin.address()]).backend_policy("catalog", &format!("limits: {{ {limits} }}"));
    (origin, Mesh::standalone(documents).await)
}

/// So many requests at once, each over a connection of its own, so that every worker gets some.
async fn at_once(mesh: &Mesh, count: usize, path: &str) -> Vec<Reply> {
    join_all((0..count).map(|_| mesh.get(path))).await
}

fn count(replies: &[Reply], status: u16, reason: Option<&str>) -> usize {
    replies.iter().filter(|reply| reply.status == status && reply.reason() == reason).count()
}

#[tokio::test]
async fn requests_at_once_are_counted_exactly() {
    for protocol in ["http", "h2c"] {
        let (origin, mesh) = limited(protocol, "maxRequests: 5").await;
        let replies = at_once(&mesh, 20, "/slow/1500").await;
        assert_eq!(count(&replies, 200, None), 5, "{protocol}");
        assert_eq!(count(&replies, 503, Some("breaker_requests")), 15, "{protocol}");
        assert_eq!(origin.most_under_way(), 5, "{protocol}");
    }
}

#[tokio::test]
async fn a_place_is_free_again_when_a_request_ends() {
    let (origin, mesh) = limited("http", "maxRequests: 1").await;
    for reply in mesh.many("/", 20).await {
        assert_eq!(reply.status, 200);
    }
    let mut client = mesh.http1().await;
    let stalled = tokio::spawn(async move { read(client.start(get("catalog", "/stall")).await).await });
    wait::holds("the request to arrive", || origin.under_way() == 1).await;
    assert_eq!(mesh.get("/").await.reason(), Some("breaker_requests"), "a body under way holds its place");
    stalled.abort();
    wait::until("the place of a cancelled request", async || (mesh.get("/").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn connections_are_bounded_and_the_rest_waits() {
    let (origin, mesh) = limited("http", "maxConnections: 2, maxPendingRequests: 100").await;
    let replies = at_once(&mesh, 8, "/slow/100").await;
    assert_eq!(count(&replies, 200, None), 8, "waiting is not failing");
    assert!(origin.most_under_way() <= 2, "{} at once over two connections", origin.most_under_way());
    assert!(origin.connections() <= 2, "{} connections", origin.connections());
}

#[tokio::test]
async fn waiting_is_bounded_too() {
    let (_origin, mesh) = limited("http", "maxConnections: 1, maxPendingRequests: 2").await;
    let replies = at_once(&mesh, 8, "/slow/1000").await;
    assert_eq!(count(&replies, 200, None), 3);
    assert_eq!(count(&replies, 503, Some("breaker_pending")), 5);
}

#[tokio::test]
async fn a_rehearsed_limit_lets_all_pass_and_counts() {
    let (_origin, mut mesh) = limited("http", "mode: Observe, maxRequests: 2").await;
    let replies = at_once(&mesh, 6, "/slow/500").await;
    assert_eq!(count(&replies, 200, None), 6);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = mesh.caller().metric("outrigger_breaker_rejected_total", &["bserve"]).await;
    assert_eq!(refused, 4.0, "what would have been refused is counted");
}
