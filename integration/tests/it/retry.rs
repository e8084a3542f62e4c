//! Retries: what is tried again, what never is, and what bounds it.

use std::time::{Duration, Instant};

use outrigger_integration::call::Call;
use outrigger_integration::client::{get, post};
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::ports;
use outrigger_integration::wire::Script;

/// `catalog` with one workload and these retries.
async fn retrying(retry: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", &format!("retry: {{ {retry} }}"));
    (origin, Mesh::standalone(documents).await)
}

#[tokio::test]
async fn a_failing_answer_is_tried_again() {
    let (origin, mesh) = retrying("attempts: 2, codes: [503]").await;
    origin.fail_next(2, 503);
    assert_eq!(mesh.get("/").await.status, 200);
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn the_last_answer_is_passed_on_when_attempts_end() {
    let (origin, mesh) = retrying("attempts: 2, codes: [503]").await;
    origin.fail_with(503);
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.header("x-origin")), (503, Some("origin")));
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn other_answers_are_not_tried_again() {
    let (origin, mesh) = retrying("attempts: 2, codes: [503]").await;
    origin.fail_with(500);
    assert_eq!(mesh.get("/").await.status, 500);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_post_is_only_tried_again_where_that_is_declared() {
    let (origin, mesh) = retrying("attempts: 2, codes: [503]").await;
    origin.fail_next(1, 503);
    assert_eq!(mesh.send(post("catalog", "/echo", "order")).await.status, 503);
    let (origin_2, mesh) = retrying("attempts: 2, codes: [503], methods: [\"*\"]").await;
    origin_2.fail_next(2, 503);
    let reply = mesh.send(post("catalog", "/echo", "order")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "order"), "the body is sent again");
    assert_eq!((origin.requests(), origin_2.requests()), (1, 3));
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_sent_once() {
    let (origin, mesh) = retrying("attempts: 2, codes: [503], methods: [\"*\"], bodyLimit: 1000").await;
    origin.fail_next(1, 503);
    assert_eq!(mesh.send(post("catalog", "/echo", vec![b'x'; 1001])).await.status, 503);
    origin.fail_next(1, 503);
    let reply = mesh.send(post("catalog", "/echo", vec![b'x'; 1000])).await;
    assert_eq!((reply.status, reply.body.len()), (200, 1000));
}

#[tokio::test]
async fn without_any_policy_a_dead_workload_is_passed_over() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[ports::free(), origin.address()]).await;
    for reply in mesh.many("/", 20).await {
        assert_eq!(reply.status, 200);
    }
    let reply = mesh.send(post("catalog", "/echo", "never sent, so safe to send")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn nobody_there_is_said_in_words() {
    let mesh = Mesh::of("http", &[ports::free()]).await;
    let reply = mesh.get("/").await;
    assert_eq!(reply.status, 503);
    assert!(matches!(reply.reason(), Some("connection_refused" | "retries_exhausted")), "{:?}", reply.reason());
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_tried_elsewhere() {
    let script = Script::start(|mut wire, index| async move {
        wire.request().await;
        if index == 0 {
            wire.ended().await;
        }
        wire.offer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let documents = small("http", &[script.address()])
        .route_policy("catalog", "retry: { attempts: 1, on: [reset], perTryTimeout: 200ms }");
    let mesh = Mesh::standalone(documents).await;
    let begun = Instant::now();
    assert_eq!(mesh.get("/").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn an_empty_budget_allows_no_retry() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 3, codes: [503] }")
        .backend_policy(
            "catalog",
            "retryConstraint: { budget: { percent: 0 }, minRetryRate: { count: 0 }, minConcurrent: 0 }",
        );
    let mesh = Mesh::standalone(documents).await;
    origin.fail_with(503);
    assert_eq!(mesh.get("/").await.status, 503);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_budget_bounds_what_a_failing_service_gets() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 3, codes: [503], backoff: { base: 1ms } }")
        .backend_policy(
            "catalog",
            "
            outlierDetection: { mode: Observe }
            retryConstraint: { budget: { percent: 20 }, minRetryRate: { count: 0 }, minConcurrent: 0 }",
        );
    let mesh = Mesh::standalone(documents).await;
    origin.fail_with(503);
    mesh.many("/", 200).await;
    let retries = origin.requests() - 200;
    assert!(retries <= 45, "{retries} retries of 200 requests with a budget of 20 %");
    assert!(retries >= 10, "{retries} retries: the budget was there to be used");
}

#[tokio::test]
async fn a_grpc_status_is_tried_again() {
    let origin = Origin::start().await;
    let documents = small("grpc", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 2, grpcCodes: [UNAVAILABLE], methods: [POST] }");
    let mesh = Mesh::standalone(documents).await;
    let mut client = mesh.http2().await;
    let mut call = Call::open(&mut client, "catalog", "Refuse", &[], "now").await;
    assert_eq!(call.end().await.1, Some(14));
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn a_rehearsed_retry_is_not_made() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "mode: Observe\nretry: { attempts: 2, codes: [503] }");
    let mesh = Mesh::standalone(documents).await;
    origin.fail_next(1, 503);
    assert_eq!(mesh.send(get("catalog", "/")).await.status, 503);
    assert_eq!(origin.requests(), 1);
}
