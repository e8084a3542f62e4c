//! Outlier detection: a workload that keeps failing is left out, comes back, and is never the last to go.

use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

/// Two workloads, one of them failing, and this policy.
async fn one_failing(outlier: &str) -> (Origin, Origin, Mesh) {
    let (good, bad) = (Origin::named("good").await, Origin::named("bad").await);
    let documents = small("http", &[good.address(), bad.address()]).backend_policy(
        "catalog",
        &format!("loadBalancing: {{ algorithm: RoundRobin }}\noutlierDetection: {{ {outlier} }}"),
    );
    bad.fail_with(500);
    (good, bad, Mesh::standalone(documents).await)
}

#[tokio::test]
async fn a_failing_workload_is_left_out() {
    let (_good, bad, mut mesh) = one_failing("consecutiveErrors: 3, ejection: { base: 60s }").await;
    mesh.many("/", 20).await;
    assert_eq!(bad.requests(), 3, "no more than it takes to see");
    assert!(mesh.many("/", 20).await.iter().all(|reply| reply.status == 200));
    assert_eq!(mesh.caller().metric("outrigger_ejections_total", &[]).await, 1.0);
    let clusters = mesh.caller().admin("/clusters").await.text();
    assert!(clusters.contains("eject"), "/clusters says it: {clusters}");
}

#[tokio::test]
async fn an_ejected_workload_comes_back() {
    let (_good, bad, mesh) =
        one_failing("consecutiveErrors: 3, interval: 100ms, ejection: { base: 500ms, max: 500ms }").await;
    mesh.many("/", 20).await;
    bad.fail_next(0, 200);
    wait::until("the workload to get requests again", async || {
        mesh.get("/").await.header("x-origin").is_some_and(|name| name == "bad").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_last_workload_is_never_left_out() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .backend_policy("catalog", "outlierDetection: { consecutiveErrors: 1, ejection: { maxPercent: 100 } }");
    let mesh = Mesh::standalone(documents).await;
    origin.fail_with(500);
    for reply in mesh.many("/", 10).await {
        assert_eq!((reply.status, reply.header("x-origin")), (500, Some("origin")));
    }
}

#[tokio::test]
async fn a_success_between_errors_starts_the_count_again() {
    let (_good, bad, mesh) = one_failing("consecutiveErrors: 3, ejection: { base: 60s }").await;
    for _ in 0..5 {
        bad.fail_next(2, 500);
        mesh.many("/", 6).await;
    }
    assert_eq!(bad.requests(), 15);
}

#[tokio::test]
async fn a_rehearsed_ejection_leaves_the_workload_in() {
    let (_good, bad, mut mesh) = one_failing("mode: Observe, consecutiveErrors: 3").await;
    mesh.many("/", 20).await;
    assert_eq!(bad.requests(), 10);
    assert!(mesh.caller().metric("outrigger_ejections_total", &["mode=\"observe\""]).await >= 1.0);
}
