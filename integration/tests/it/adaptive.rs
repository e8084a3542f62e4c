//! A service gets as many requests at once as it bears, which is found out by how long its answers take.

use std::time::Duration;

use futures_util::future::join_all;
use outrigger_integration::call::Call;
use outrigger_integration::client::{Client, Reply, get};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

/// The sidecar before one workload of catalog.
async fn limited(policy: &str) -> (Origin, Mesh) {
    speaking("http", policy).await
}

async fn speaking(protocol: &str, policy: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let documents = Documents::new()
        .selecting("catalog", protocol, "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .rate_limit_policy("catalog", policy);
    (origin, Mesh::standalone_of(documents, "catalog-1").await)
}

async fn at_once(mesh: &Mesh, count: usize, path: &str) -> Vec<Reply> {
    let address = mesh.documents().inbound("catalog-1");
    join_all((0..count).map(|_| async move { Client::http1(address).await.send(get("catalog", path)).await })).await
}

fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_refused_with_a_reason() {
    let (origin, mut mesh) = limited("adaptiveConcurrency: { minConcurrency: 4, maxConcurrency: 4 }").await;
    let replies = at_once(&mesh, 10, "/slow/500").await;
    assert_eq!((count(&replies, 200), count(&replies, 503)), (4, 6));
    assert_eq!(origin.most_under_way(), 4);
    let refused = replies.iter().find(|reply| reply.status == 503).unwrap();
    assert_eq!(refused.reason(), Some("adaptive_concurrency"));
    let health = at_once(&mesh, 1, "/healthz").await;
    assert_eq!(health[0].status, 200);
    let metrics = mesh.proxy("catalog-1");
    assert_eq!(metrics.metric("outrigger_adaptive_refused_total", &["mode=\"enforce\""]).await, 6.0);
    assert_eq!(metrics.metric("outrigger_adaptive_limit_used", &[]).await, 0.0);
}

#[tokio::test]
async fn the_limit_grows_where_answers_stay_quick() {
    let policy = "adaptiveConcurrency: { updateInterval: 20ms, minRtt: { requests: 5 } }";
    let (_origin, mut mesh) = limited(policy).await;
    wait::until("a limit of some", async || {
        at_once(&mesh, 3, "/slow/5").await;
        (mesh.proxy("catalog-1").metric("outrigger_adaptive_limit", &[]).await >= 20.0).then_some(())
    })
    .await;
    assert!(mesh.proxy("catalog-1").metric("outrigger_adaptive_min_rtt_seconds", &[]).await >= 0.005);
}

#[tokio::test]
async fn observed_only_all_pass_and_are_counted() {
    let policy = "mode: Observe\nadaptiveConcurrency: { minConcurrency: 2, maxConcurrency: 2 }";
    let (origin, mut mesh) = limited(policy).await;
    let replies = at_once(&mesh, 6, "/slow/500").await;
    assert_eq!((count(&replies, 200), origin.most_under_way()), (6, 6));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let proxy = mesh.proxy("catalog-1");
    assert_eq!(proxy.metric("outrigger_adaptive_refused_total", &["mode=\"observe\""]).await, 4.0);
    assert_eq!(proxy.metric("outrigger_observed_total", &["would=\"adaptive_concurrency\""]).await, 4.0);
}

#[tokio::test]
async fn what_a_service_takes_to_fail_says_nothing_of_what_it_bears() {
    let policy = "adaptiveConcurrency: { updateInterval: 20ms, minRtt: { requests: 5 } }";
    let (origin, mut mesh) = speaking("grpc", policy).await;
    let mut client = Client::http2(mesh.documents().inbound("catalog-1")).await;
    let mut least = async |method: &str| {
        for _ in 0..20 {
            Call::whole(&mut client, "catalog", method, "once").await.end().await;
        }
        mesh.proxy("catalog-1").metric("outrigger_adaptive_min_rtt_seconds", &[]).await
    };
    assert!(least("Refuse").await.abs() < f64::EPSILON, "calls that failed at once");
    origin.delay(Duration::from_millis(20));
    assert!(least("Unary").await >= 0.02);
}
