//! Outlier detection: a workload that keeps failing is left out, comes back, and is never the last to go.

use outrigger_integration::client::get;
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
    mesh.many("/", 8).await;
    assert_eq!(bad.requests(), 4);
    // The default goes on beside it.
    mesh.many("/", 20).await;
    assert_eq!(bad.requests(), 5);
    assert!(mesh.caller().metric("outrigger_ejections_total", &["mode=\"observe\""]).await >= 1.0);
}

#[tokio::test]
async fn errors_of_a_gateway_have_a_row_of_their_own() {
    let (_good, bad, mut mesh) = one_failing("consecutiveErrors: 50, consecutiveGatewayErrors: 2").await;
    mesh.many("/", 8).await;
    assert_eq!(bad.requests(), 4, "a 500 is none of them");
    bad.fail_with(503);
    mesh.many("/", 20).await;
    assert_eq!(bad.requests(), 6);
    let ejected = mesh.caller().metric("outrigger_ejections_total", &["consecutive_gateway_errors"]).await;
    assert_eq!(ejected, 1.0);
}

#[tokio::test]
async fn no_answer_has_a_row_of_its_own() {
    let good = Origin::named("good").await;
    let nobody = outrigger_integration::ports::free();
    let documents = small("http", &[good.address(), nobody])
        .route_policy("catalog", "retry: { attempts: 0 }")
        .backend_policy(
            "catalog",
            "loadBalancing: { algorithm: RoundRobin }\noutlierDetection: { consecutiveErrors: 1, consecutiveLocalErrors: 3 }",
        );
    let mut mesh = Mesh::standalone(documents).await;
    let refused = mesh.many("/", 20).await.iter().filter(|reply| reply.reason() == Some("connection_refused")).count();
    assert_eq!(refused, 3, "one would be enough if it counted as an error");
    let ejected = mesh.caller().metric("outrigger_ejections_total", &["consecutive_local_errors"]).await;
    assert_eq!(ejected, 1.0);
}

#[tokio::test]
async fn a_workload_that_succeeds_less_often_is_left_out() {
    let (_good, bad, mut mesh) = one_failing(
        "consecutiveErrors: 1000, interval: 100ms, ejection: { base: 60s, maxPercent: 50 }, \
         failurePercentage: { threshold: 20, minRequests: 10, minEndpoints: 2 }",
    )
    .await;
    mesh.many("/", 30).await;
    wait::until("the workload to be left out", async || {
        mesh.many("/", 30).await;
        let before = bad.requests();
        mesh.many("/", 10).await;
        (bad.requests() == before).then_some(())
    })
    .await;
    let ejected = mesh.caller().metric("outrigger_ejections_total", &["failure_percentage"]).await;
    assert_eq!(ejected, 1.0);
}

#[tokio::test]
async fn a_slow_workload_is_told_and_left_in() {
    let (_good, bad, mut mesh) =
        one_failing("interval: 100ms, latency: { minRequests: 10, minEndpoints: 2, factor: 2 }").await;
    bad.fail_next(0, 200);
    bad.delay(std::time::Duration::from_millis(30));
    wait::until("the slow workload to be told", async || {
        mesh.many("/", 30).await;
        let labels = ["cause=\"latency\"", "mode=\"observe\""];
        (mesh.caller().metric("outrigger_ejections_total", &labels).await >= 1.0).then_some(())
    })
    .await;
    let before = bad.requests();
    mesh.many("/", 10).await;
    assert_eq!(bad.requests(), before + 5, "and it gets its part");
}

#[tokio::test]
async fn with_too_few_in_all_take_part_again() {
    let (_good, bad, mut mesh) = one_failing("consecutiveErrors: 1, ejection: { base: 60s }").await;
    mesh.many("/", 10).await;
    assert_eq!(bad.requests(), 1, "one of two is enough by default");
    let (_good, bad, mut strict) = {
        let (good, bad) = (Origin::named("good").await, Origin::named("bad").await);
        let documents = small("http", &[good.address(), bad.address()]).backend_policy(
            "catalog",
            "loadBalancing: { algorithm: RoundRobin, panicThreshold: 60 }\noutlierDetection: { consecutiveErrors: 1 }",
        );
        bad.fail_with(500);
        (good, bad, Mesh::standalone(documents).await)
    };
    strict.many("/", 10).await;
    assert!(bad.requests() >= 4, "{}", bad.requests());
    assert_eq!(strict.caller().metric("outrigger_balancer_panic", &[]).await, 1.0);
    assert!(strict.caller().metric("outrigger_balancer_panics_total", &[]).await >= 4.0);
    assert_eq!(mesh.caller().metric("outrigger_balancer_panic", &[]).await, 0.0);
}

#[tokio::test]
async fn a_stream_does_not_keep_its_workload_on_probation() {
    let (_good, bad, mesh) =
        one_failing("consecutiveErrors: 3, interval: 100ms, ejection: { base: 300ms, max: 300ms }").await;
    mesh.many("/", 20).await;
    bad.fail_next(0, 200);
    // The probe is a response without an end.
    let mut client = mesh.http1().await;
    let probe = wait::until("a stream to be the probe", async || {
        let mut client = mesh.http1().await;
        let response = client.start(get("catalog", "/stall")).await;
        (response.headers()["x-origin"] == "bad").then_some((client, response))
    })
    .await;
    wait::until("the workload to be asked beside it", async || {
        (client.send(get("catalog", "/")).await.header("x-origin") == Some("bad")).then_some(())
    })
    .await;
    drop(probe);
}

#[tokio::test]
async fn waiting_for_a_limit_of_ours_is_no_failure_of_the_workload() {
    let (first, second) = (Origin::named("first").await, Origin::named("second").await);
    let documents = small("http", &[first.address(), second.address()])
        .route(
            "catalog",
            "- matches: [{ path: { value: /slow } }]\n  backendRefs: [{ name: catalog, port: 80 }]\n\
             - timeouts: { request: 200ms }\n  backendRefs: [{ name: catalog, port: 80 }]",
        )
        .backend_policy(
            "catalog",
            "loadBalancing: { algorithm: RoundRobin }\n\
             limits: { perEndpoint: { maxConnections: 1 } }\n\
             outlierDetection: { consecutiveErrors: 3, ejection: { base: 60s } }",
        );
    let mut mesh = Mesh::standalone(documents).await;
    let others = async {
        wait::holds("both connections to be taken", || first.under_way() == 1 && second.under_way() == 1).await;
        futures_util::future::join_all((0..20).map(|_| mesh.get("/"))).await
    };
    let (held, _also_held, others) = tokio::join!(mesh.get("/slow/3000"), mesh.get("/slow/3000"), others);
    assert_eq!(held.status, 200);
    assert!(others.iter().all(|reply| reply.status == 504), "they waited in vain");
    assert_eq!(mesh.caller().metric("outrigger_ejections_total", &[]).await, 0.0);
}
