//! Hedges: another attempt beside one that takes too long.

use std::time::{Duration, Instant};

use outrigger_integration::call::Call;
use outrigger_integration::client::post;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;
use outrigger_integration::wire::Script;

/// `catalog` with two workloads, the first of them slow, and these words of a RoutePolicy.
async fn with_a_slow_one(protocol: &str, policy: &str) -> (Origin, Origin, Mesh) {
    let (slow, quick) = (Origin::named("slow").await, Origin::named("quick").await);
    slow.delay(Duration::from_secs(3));
    let documents = small(protocol, &[slow.address(), quick.address()])
        .route_policy("catalog", policy)
        .backend_policy("catalog", "loadBalancing: { algorithm: RoundRobin }\noutlierDetection: { mode: Observe }");
    (slow, quick, Mesh::standalone(documents).await)
}

#[tokio::test]
async fn a_slow_attempt_gets_another_beside_it_and_the_first_answer_counts() {
    let (slow, quick, mut mesh) = with_a_slow_one("http", "retry: { hedge: { delay: 50ms } }").await;
    for _ in 0..6 {
        let begun = Instant::now();
        let reply = mesh.get("/").await;
        assert_eq!((reply.status, reply.header("x-origin")), (200, Some("quick")));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    assert!((3..=6).contains(&slow.requests()), "{}", slow.requests());
    assert_eq!(quick.requests(), 6);
    wait::holds("the losers to be cancelled", || slow.given_up() == slow.requests()).await;
    let proxy = mesh.caller();
    assert_eq!(proxy.metric("outrigger_retries_total", &["cause=\"hedge\""]).await, slow.requests() as f64);
    let free = async || (proxy.metric("outrigger_inflight_requests", &[]).await == 0.0).then_some(());
    wait::until("every place to be free", free).await;
}

#[tokio::test]
async fn only_what_may_be_repeated_is_hedged_and_with_its_whole_body() {
    let policy = "retry: { hedge: { delay: 50ms } }";
    let (slow, quick, mesh) = with_a_slow_one("http", policy).await;
    for _ in 0..2 {
        assert_eq!(mesh.send(post("catalog", "/echo", "order")).await.text(), "order");
    }
    assert_eq!((slow.requests(), quick.requests()), (1, 1), "a POST may not be repeated");
    let (_slow, _quick, mesh) = with_a_slow_one("http", "retry: { hedge: { delay: 50ms }, methods: [\"*\"] }").await;
    for _ in 0..2 {
        let reply = mesh.send(post("catalog", "/echo", "order")).await;
        assert_eq!((reply.text().as_str(), reply.header("x-origin")), ("order", Some("quick")));
    }
}

#[tokio::test]
async fn an_empty_budget_allows_no_hedge() {
    let origin = Origin::start().await;
    origin.delay(Duration::from_millis(300));
    let documents =
        small("http", &[origin.address()]).route_policy("catalog", "retry: { hedge: { delay: 20ms } }").backend_policy(
            "catalog",
            "retryConstraint: { budget: { percent: 1 }, minRetryRate: { count: 0 }, minConcurrent: 0 }",
        );
    let mut mesh = Mesh::standalone(documents).await;
    assert_eq!(mesh.get("/").await.status, 200);
    assert_eq!(origin.requests(), 1);
    assert_eq!(mesh.caller().metric("outrigger_retry_budget_exhausted_total", &[]).await, 1.0, "one request, once");
}

#[tokio::test]
async fn an_answer_that_asks_for_no_other_attempt_stops_hedges_too() {
    let bytes = "HTTP/1.1 503 No\r\ngrpc-retry-pushback-ms: -1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (slow, wary) = (Origin::start().await, Script::saying(bytes).await);
    slow.delay(Duration::from_secs(1));
    let documents = small("http", &[slow.address(), wary.address()])
        .route_policy("catalog", "retry: { attempts: 5, codes: [503], hedge: { delay: 50ms } }")
        .backend_policy("catalog", "loadBalancing: { algorithm: RoundRobin }\noutlierDetection: { mode: Observe }");
    let mesh = Mesh::standalone(documents).await;
    // Whichever of the two is asked first.
    for _ in 0..2 {
        let before = (slow.requests(), wary.connections());
        let status = mesh.get("/").await.status;
        let sent = (slow.requests() - before.0, wary.connections() - before.1);
        assert!(matches!((status, sent), (200, (1, 1)) | (503, (0, 1))), "{status} {sent:?}");
    }
    assert!(slow.requests() >= 1);
}

#[tokio::test]
async fn what_fails_gives_its_place_to_the_next_attempt() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 1, codes: [503], hedge: { delay: 5s }, backoff: { base: 50ms } }")
        .backend_policy("catalog", "limits: { maxRequests: 1 }");
    let mesh = Mesh::standalone(documents).await;
    for _ in 0..5 {
        origin.fail_next(1, 503);
        let reply = mesh.get("/").await;
        assert_eq!((reply.status, reply.reason()), (200, None));
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_while_others_are_under_way() {
    let policy = "retry: { attempts: 3, codes: [503], hedge: { delay: 50ms }, backoff: { base: 1ms } }";
    let (slow, quick, mesh) = with_a_slow_one("http", policy).await;
    quick.fail_next(1, 503);
    let begun = Instant::now();
    assert_eq!(mesh.get("/").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(slow.requests() + quick.requests() >= 2);
}

#[tokio::test]
async fn a_hedge_comes_when_an_answer_takes_longer_than_most_did() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", "retry: { hedge: { percentile: 95 } }");
    let mesh = Mesh::standalone(documents).await;
    mesh.many("/", 60).await;
    let before = origin.requests();
    origin.delay(Duration::from_millis(500));
    assert_eq!(mesh.get("/").await.status, 200);
    assert!(origin.requests() - before >= 2, "{} of {before}", origin.requests());
}

#[tokio::test]
async fn a_rehearsed_hedge_is_only_counted() {
    let (slow, quick, mut mesh) = with_a_slow_one("http", "mode: Observe\nretry: { hedge: { delay: 50ms } }").await;
    slow.delay(Duration::from_millis(300));
    for _ in 0..2 {
        assert_eq!(mesh.get("/").await.status, 200);
    }
    assert_eq!((slow.requests(), quick.requests()), (1, 1));
    assert_eq!(mesh.caller().metric("outrigger_observed_total", &["would=\"hedge\""]).await, 1.0);
}

#[tokio::test]
async fn a_grpc_call_that_loses_is_reset() {
    let policy = "retry: { hedge: { delay: 50ms }, methods: [POST] }";
    let (slow, quick, mesh) = with_a_slow_one("grpc", policy).await;
    let mut client = mesh.http2().await;
    for _ in 0..2 {
        // A call whose messages are not all here is not hedged; this one's first message ends it.
        let mut call = Call::whole(&mut client, "catalog", "Unary", "once").await;
        assert_eq!(call.end().await, (vec!["once".to_owned()], Some(0)));
    }
    assert!(slow.requests() >= 1 && quick.requests() == 2);
    wait::holds("the losers to be reset", || slow.given_up() == slow.requests()).await;
}
