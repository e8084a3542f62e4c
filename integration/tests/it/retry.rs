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
            "retryConstraint: { budget: { percent: 1 }, minRetryRate: { count: 0 }, minConcurrent: 0 }",
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

/// A service that answers with these bytes, and 200 to the second request.
async fn answering_once(bytes: &'static str) -> Script {
    Script::start(move |mut wire, index| async move {
        wire.request().await;
        let bytes = if index == 0 { bytes } else { "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" };
        wire.offer(bytes).await;
        wire.ended().await;
    })
    .await
}

#[tokio::test]
async fn an_answer_that_says_when_is_not_asked_sooner() {
    for (wait, status, at_least) in [("1", 200, 1000), ("60", 503, 0), ("soon", 200, 0)] {
        let bytes = format!("HTTP/1.1 503 No\r\nretry-after: {wait}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let script = answering_once(bytes.leak()).await;
        let documents = small("http", &[script.address()])
            .route_policy("catalog", "retry: { attempts: 1, codes: [503], retryAfter: { max: 2s } }");
        let mesh = Mesh::standalone(documents).await;
        let begun = Instant::now();
        assert_eq!(mesh.get("/").await.status, status, "{wait}");
        assert!(begun.elapsed() >= Duration::from_millis(at_least), "{wait}");
    }
}

#[tokio::test]
async fn nothing_is_tried_again_that_could_not_end_in_time() {
    let bytes = "HTTP/1.1 503 No\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let script = answering_once(bytes).await;
    let policy = "retry: { attempts: 1, codes: [503] }\ntimeouts: { request: 1s }";
    let mesh = Mesh::standalone(small("http", &[script.address()]).route_policy("catalog", policy)).await;
    let begun = Instant::now();
    assert_eq!(mesh.get("/").await.status, 503);
    assert!(begun.elapsed() < Duration::from_millis(900), "the answer is passed on at once");
    assert_eq!(script.connections(), 1);
}

#[tokio::test]
async fn what_a_rate_limit_answered_is_tried_again_only_if_asked_for() {
    let bytes = "HTTP/1.1 429 No\r\nx-envoy-ratelimited: true\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (on, status) in [("reset", 429), ("envoy-ratelimited", 200)] {
        let script = answering_once(bytes).await;
        let policy = format!("retry: {{ attempts: 1, codes: [429], on: [{on}] }}");
        let mesh = Mesh::standalone(small("http", &[script.address()]).route_policy("catalog", &policy)).await;
        assert_eq!(mesh.get("/").await.status, status, "{on}");
    }
}

#[tokio::test]
async fn a_grpc_status_in_trailers_is_tried_again_while_nothing_was_passed_on() {
    let origin = Origin::start().await;
    let documents = small("grpc", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 2, grpcCodes: [UNAVAILABLE, INTERNAL], methods: [POST] }");
    let mesh = Mesh::standalone(documents).await;
    let mut client = mesh.http2().await;
    let mut call = Call::open(&mut client, "catalog", "Fail", &[], "now").await;
    assert_eq!((call.end().await.1, origin.requests()), (Some(14), 3));
    // A message was passed on before this one failed.
    let mut call = Call::open(&mut client, "catalog", "Late", &[], "now").await;
    assert_eq!((call.end().await, origin.requests()), ((vec!["now".to_owned()], Some(13)), 4));
    // The head comes though nothing follows it, and the call goes on as it would.
    let mut call = Call::open(&mut client, "catalog", "Client", &[], "a").await;
    call.say("b").await;
    assert_eq!((call.end().await, origin.requests()), ((vec!["ab".to_owned()], Some(0)), 5));
}

#[tokio::test]
async fn every_attempt_goes_to_another_workload() {
    let mut origins = Vec::new();
    for index in 0..4 {
        origins.push(Origin::named(&format!("catalog-{index}")).await);
    }
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let documents = small("http", &addresses)
        .route_policy("catalog", "retry: { attempts: 3, codes: [503], backoff: { base: 1ms } }")
        .backend_policy("catalog", "outlierDetection: { mode: Observe }");
    let mesh = Mesh::standalone(documents).await;
    origins.iter().for_each(|origin| origin.fail_with(503));
    for round in 1..=5 {
        assert_eq!(mesh.get("/").await.status, 503);
        let each: Vec<_> = origins.iter().map(Origin::requests).collect();
        assert_eq!(each, [round; 4], "each was asked once");
    }
}

#[tokio::test]
async fn the_workload_can_wish_for_its_own_retries_and_nobody_else_can() {
    let origin = Origin::start().await;
    let documents = small("http", &[]).sidecar("catalog-1", "catalog", origin.address());
    let mesh = Mesh::steered(documents).await;
    origin.fail_with(503);
    let asks = |most: &str| get("catalog", "/").with("x-envoy-retry-on", "5xx").with("x-envoy-max-retries", most);
    for (most, attempts) in [("3", 4), ("0", 1)] {
        let before = origin.requests();
        assert_eq!(mesh.send(asks(most)).await.status, 503);
        assert_eq!(origin.requests() - before, attempts, "at most {most} more");
    }
    let seen = origin.seen().pop().expect("a request");
    assert!(!seen.headers.keys().any(|name| name.as_str().starts_with("x-envoy-")), "{:?}", seen.headers);
    // What comes in is another's: its wish ends at the proxy.
    let inbound = mesh.documents().inbound("catalog-1");
    let mut client = outrigger_integration::client::Client::http1(inbound).await;
    let before = origin.requests();
    assert_eq!(client.send(asks("3")).await.status, 503);
    assert_eq!(origin.requests() - before, 1);
    origin.fail_next(0, 503);
    let begun = Instant::now();
    let slow = || get("catalog", "/slow/3000").with("x-envoy-upstream-rq-timeout-ms", "200");
    let reply = mesh.send(slow()).await;
    assert!(reply.status == 504 && begun.elapsed() < Duration::from_secs(2));
    let reply = mesh.send(slow().with("x-envoy-upstream-rq-timeout-alt-response", "1")).await;
    assert_eq!((reply.status, reply.body.len(), reply.reason()), (204, 0, Some("http_response_timeout")));
}

#[tokio::test]
async fn on_a_socket_for_both_families_the_workload_is_known_as_well() {
    let (origin, port) = (Origin::start().await, outrigger_integration::ports::free().port());
    let documents = small("http", &[origin.address()]).with(&format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: both, namespace: shop, labels: {{ app: both }} }}
spec:
  address: 127.0.0.1
  outbound: [{{ port: {port}, address: '::' }}]"
    ));
    let _proxy = outrigger_integration::proxy::Start::standalone(&documents, "both").ready().await;
    origin.fail_with(503);
    // To the proxy the caller is ::ffff:127.0.0.1.
    let mut client = outrigger_integration::client::Client::http1(([127, 0, 0, 1], port).into()).await;
    let ask = get("catalog", "/").with("x-envoy-retry-on", "5xx").with("x-envoy-max-retries", "2");
    assert_eq!(client.send(ask).await.status, 503);
    assert_eq!(origin.requests(), 3);
}
