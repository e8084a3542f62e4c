//! Limits are exact, over all workers, and a refusal names the one it met.

use std::collections::BTreeMap;
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

/// How often each status and reason was given: `200`, `503 breaker_requests`.
fn outcomes(replies: &[Reply]) -> BTreeMap<String, usize> {
    replies.iter().fold(BTreeMap::new(), |mut outcomes, reply| {
        let reason = reply.reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        *outcomes.entry(format!("{}{reason}", reply.status)).or_default() += 1;
        outcomes
    })
}

fn of<const N: usize>(outcomes: [(&str, usize); N]) -> BTreeMap<String, usize> {
    outcomes.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect()
}

#[tokio::test]
async fn requests_at_once_are_counted_exactly() {
    for protocol in ["http", "h2c"] {
        let (origin, mesh) = limited(protocol, "maxRequests: 5").await;
        let replies = at_once(&mesh, 20, "/slow/1500").await;
        assert_eq!(outcomes(&replies), of([("200", 5), ("503 breaker_requests", 15)]), "{protocol}");
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
    assert_eq!(outcomes(&replies), of([("200", 8)]), "waiting is not failing");
    assert!(origin.most_under_way() <= 2, "{} at once over two connections", origin.most_under_way());
    assert!(origin.most_connections() <= 2, "{} connections at once", origin.most_connections());
}

#[tokio::test]
async fn waiting_is_bounded_too() {
    let (_origin, mesh) = limited("http", "maxConnections: 1, maxPendingRequests: 2").await;
    let replies = at_once(&mesh, 8, "/slow/300").await;
    assert_eq!(outcomes(&replies), of([("200", 3), ("503 breaker_pending", 5)]));
}

#[tokio::test]
async fn a_rehearsed_limit_lets_all_pass_and_counts() {
    let (_origin, mut mesh) = limited("http", "mode: Observe, maxRequests: 2").await;
    let replies = at_once(&mesh, 6, "/slow/500").await;
    assert_eq!(outcomes(&replies), of([("200", 6)]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = mesh.caller().metric("outrigger_breaker_rejected_total", &["mode=\"observe\""]).await;
    assert_eq!(refused, 4.0, "what would have been refused is counted");
}

#[tokio::test]
async fn workers_take_turns_where_there_are_fewer_connections_than_workers() {
    let (origin, mesh) = limited("h2c", "maxConnections: 1").await;
    // On connections of their own, so that both workers have some, and busy all the time.
    let callers = (0..12).map(|_| async {
        let mut client = mesh.http2().await;
        let begun = std::time::Instant::now();
        let mut served = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            let reply = client.send(get("catalog", "/slow/20")).await;
            assert_eq!(reply.status, 200, "{:?}", reply.reason());
            served += 1;
        }
        served
    });
    let served = join_all(callers).await;
    assert!(served.iter().all(|served| *served >= 3), "{served:?}");
    assert_eq!(origin.most_connections(), 1);
}

#[tokio::test]
async fn each_workload_has_a_limit_of_its_own() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let documents = small("http", &[first.address(), second.address()])
        .backend_policy("catalog", "limits: { perEndpoint: { maxRequests: 3 } }");
    let mesh = Mesh::standalone(documents).await;
    let replies = at_once(&mesh, 20, "/slow/1500").await;
    assert_eq!(outcomes(&replies), of([("200", 6), ("503 breaker_requests", 14)]));
    assert_eq!((first.most_under_way(), second.most_under_way()), (3, 3));
}

#[tokio::test]
async fn connections_to_a_workload_are_bounded_and_the_rest_waits() {
    for protocol in ["http", "h2c"] {
        let (origin, mesh) = limited(protocol, "perEndpoint: { maxConnections: 2 }").await;
        let replies = at_once(&mesh, 8, "/slow/100").await;
        assert_eq!(outcomes(&replies), of([("200", 8)]), "{protocol}: waiting is not failing");
        assert!(origin.most_connections() <= 2, "{protocol}: {} connections at once", origin.most_connections());
    }
    let (_origin, mesh) = limited("http", "perEndpoint: { maxConnections: 0 }").await;
    assert_eq!(mesh.get("/").await.reason(), Some("breaker_connections"));
}

#[tokio::test]
async fn a_limit_of_no_retries_stops_them() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 2, codes: [503] }")
        .backend_policy("catalog", "limits: { maxRetries: 0 }");
    let mut mesh = Mesh::standalone(documents).await;
    origin.fail_with(503);
    assert_eq!(mesh.get("/").await.status, 503);
    assert_eq!(origin.requests(), 1);
    assert_eq!(mesh.caller().metric("outrigger_breaker_rejected_total", &["limit=\"retries\""]).await, 1.0);
}

#[tokio::test]
async fn a_worker_that_waits_does_not_take_a_connection_from_one_that_is_busy_for_long() {
    let (_origin, mesh) = limited("h2c", "maxConnections: 1").await;
    let mut first = mesh.http2().await;
    let held = first.start(get("catalog", "/stall")).await;
    // On connections of their own: some come to the other worker, which gets none while the stream goes on.
    let others = (0..6).map(|_| tokio::time::timeout(Duration::from_millis(500), mesh.get("/")));
    let others = join_all(others).await;
    for _ in 0..3 {
        let reply = tokio::time::timeout(Duration::from_secs(3), first.send(get("catalog", "/"))).await;
        assert_eq!(reply.expect("an answer in time").status, 200, "others: {}", others.len());
    }
    drop(held);
}

#[tokio::test]
async fn requests_of_priority_high_have_limits_of_their_own() {
    for protocol in ["http", "h2c"] {
        let origin = Origin::start().await;
        let rules = "
- name: pay
  matches: [{ path: { type: PathPrefix, value: /pay } }]
  filters:
  - { type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }
  backendRefs: [{ name: catalog, port: 80 }]
- name: all
  backendRefs: [{ name: catalog, port: 80 }]
";
        let policy = "
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: { name: pay, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog, sectionName: pay }]
  priority: High
";
        let limits = "limits: { maxRequests: 2, maxConnections: 2, high: { maxRequests: 3, maxConnections: 1 } }";
        let documents =
            small(protocol, &[origin.address()]).route("catalog", rules).with(policy).backend_policy("catalog", limits);
        let mut mesh = Mesh::standalone(documents).await;
        let (usual, high) = tokio::join!(at_once(&mesh, 6, "/slow/1500"), at_once(&mesh, 6, "/pay/slow/1500"));
        assert_eq!(outcomes(&usual), of([("200", 2), ("503 breaker_requests", 4)]), "{protocol}");
        assert_eq!(outcomes(&high), of([("200", 3), ("503 breaker_requests", 3)]), "{protocol}");
        assert!(origin.most_connections() <= 3, "{protocol}: {} connections", origin.most_connections());
        for (priority, refused) in [("default", 4.0), ("high", 3.0)] {
            let labels = [&format!("priority=\"{priority}\"")[..], "limit=\"requests\"", "mode=\"enforce\""];
            assert_eq!(mesh.caller().metric("outrigger_breaker_rejected_total", &labels).await, refused);
        }
    }
}

#[tokio::test]
async fn who_waited_in_line_and_then_is_not_answered_counts_against_its_workload() {
    let documents = |protocol: &str, origin: &Origin| {
        small(protocol, &[origin.address()])
            .route("catalog", "- { timeouts: { backendRequest: 1s }, backendRefs: [{ name: catalog, port: 80 }] }")
            .with(
                "
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: { name: catalog, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }]
  retry: { attempts: 0 }
",
            )
            .backend_policy("catalog", "limits: { maxConnections: 1 }")
    };
    let attempts = async |mesh: &mut Mesh, outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        mesh.caller().metric("outrigger_attempts_total", &[&outcome]).await
    };

    // The second waits for the first one's connection, and when that is gone finds nobody to connect to.
    let origin = Origin::start().await;
    let mut mesh = Mesh::standalone(documents("http", &origin)).await;
    let (mut first, mut second) = (mesh.http1().await, mesh.http1().await);
    let first = tokio::spawn(async move { first.send(get("catalog", "/slow/5000")).await });
    wait::holds("the first to arrive", || origin.under_way() == 1).await;
    let second = tokio::spawn(async move { second.send(get("catalog", "/")).await });
    let both = async || (mesh.caller().metric("outrigger_inflight_requests", &[]).await == 2.0).then_some(());
    wait::until("the second to wait", both).await;
    drop(origin);
    assert_eq!(first.await.unwrap().status, 503);
    assert_eq!(second.await.unwrap().reason(), Some("connection_refused"));
    assert_eq!((attempts(&mut mesh, "failure").await, attempts(&mut mesh, "aborted").await), (2.0, 0.0));

    // The second waits for the first to connect, and goes on the same connection.
    let origin = Origin::start().await;
    let mut mesh = Mesh::standalone(documents("h2c", &origin)).await;
    let mut client = mesh.http2().await;
    let (first, second) = (client.attempt(get("catalog", "/slow/5000")), client.attempt(get("catalog", "/slow/5000")));
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (read(first.unwrap()).await, read(second.unwrap()).await);
    assert_eq!(outcomes(&[first, second]), of([("504 http_response_timeout", 2)]));
    assert_eq!((attempts(&mut mesh, "failure").await, attempts(&mut mesh, "aborted").await), (2.0, 0.0));
}
