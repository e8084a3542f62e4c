//! Injected faults: delays, aborts and throttles, on either side of the retries.

use std::time::{Duration, Instant};

use outrigger_integration::call::Call;
use outrigger_integration::client::get;
use outrigger_integration::mesh::{Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;

/// `catalog` with one workload and a RoutePolicy that says this.
async fn faulty(protocol: &str, policy: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let mesh = Mesh::standalone(small(protocol, &[origin.address()]).route_policy("catalog", policy)).await;
    (origin, mesh)
}

#[tokio::test]
async fn a_share_of_requests_is_aborted_and_says_so() {
    let (origin, mesh) = faulty("http", "fault: { abort: { status: 418, percent: 50 } }").await;
    let replies = mesh.many("/", 400).await;
    let aborted = replies.iter().filter(|reply| reply.status == 418).count();
    // Six standard deviations.
    assert!((140..=260).contains(&aborted), "{aborted} of 400");
    assert_eq!(origin.requests(), 400 - aborted);
    assert!(replies.iter().all(|reply| (reply.status == 418) == (reply.reason() == Some("fault_injected"))));
}

#[tokio::test]
async fn a_grpc_caller_gets_a_grpc_status() {
    for (abort, status) in [("grpcStatus: RESOURCE_EXHAUSTED", 8), ("status: 503", 14)] {
        let (_origin, mesh) = faulty("kubernetes.io/h2c", &format!("fault: {{ abort: {{ {abort} }} }}")).await;
        let mut call = Call::open(&mut mesh.http2().await, SERVICE, "Unary", &[], "a").await;
        assert_eq!(call.end().await, (Vec::new(), Some(status)), "{abort}");
    }
}

#[tokio::test]
async fn a_grpc_caller_waits_no_longer_for_a_delay_than_it_said() {
    let (origin, mesh) = faulty("kubernetes.io/h2c", "fault: { delay: { fixed: 60s } }").await;
    let start = Instant::now();
    let headers = [("grpc-timeout", "200m")];
    let mut call = Call::open(&mut mesh.http2().await, SERVICE, "Unary", &headers, "a").await;
    assert_eq!(call.end().await, (Vec::new(), Some(4)));
    assert!(start.elapsed() < Duration::from_secs(10) && origin.requests() == 0);
}

#[tokio::test]
async fn only_requests_with_the_field_are_delayed() {
    let fault = "fault: { headers: [{ name: x-chaos, value: slow }], delay: { fixed: 300ms } }";
    let (_origin, mesh) = faulty("http", fault).await;
    let start = Instant::now();
    assert_eq!(mesh.send(get(SERVICE, "/").with("x-chaos", "slow")).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(mesh.send(get(SERVICE, "/").with("x-chaos", "none")).await.status, 200);
    assert!(start.elapsed() < Duration::from_millis(300));
}

#[tokio::test]
async fn a_request_asks_for_its_own_fault() {
    let (_origin, mesh) = faulty("http", "fault: { abort: { fromHeader: true } }").await;
    assert_eq!(mesh.get("/").await.status, 200);
    assert_eq!(mesh.send(get(SERVICE, "/").with("x-envoy-fault-abort-request", "502")).await.status, 502);
}

const RETRY: &str = "retry: { attempts: 3, codes: [503], perTryTimeout: 200ms }";

#[tokio::test]
async fn a_fault_of_the_request_is_not_retried() {
    let (origin, mesh) = faulty("http", &format!("fault: {{ abort: {{ status: 503 }} }}\n{RETRY}")).await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.reason(), origin.requests()), (503, Some("fault_injected"), 0));
}

#[tokio::test]
async fn a_fault_of_an_attempt_is_retried_as_an_answer_would_be() {
    let fault = "fault: { scope: Attempt, abort: { status: 503, percent: 50 } }";
    let (origin, mesh) = faulty("http", &format!("{fault}\n{RETRY}")).await;
    let replies = mesh.many("/", 100).await;
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    // One of 16 meets four faults in a row.
    assert!(served >= 75, "{served} of 100");
    assert_eq!(origin.requests(), served);
    let (origin, mesh) =
        faulty("http", "fault: { scope: Attempt, abort: { status: 503 } }\nretry: { attempts: 0 }").await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.reason(), origin.requests()), (503, Some("fault_injected"), 0));
}

#[tokio::test]
async fn a_delay_of_an_attempt_runs_into_the_per_try_timeout() {
    let fault =
        "fault: { scope: Attempt, delay: { fixed: 60s } }\nretry: { attempts: 1, codes: [503], perTryTimeout: 50ms }";
    let (origin, mesh) = faulty("http", fault).await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.reason(), origin.requests()), (504, Some("http_response_timeout"), 0));
}

#[tokio::test]
async fn a_delay_ends_with_the_request_s_timeout() {
    let (origin, mesh) = faulty("http", "timeouts: { request: 100ms }\nfault: { delay: { fixed: 60s } }").await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.reason(), origin.requests()), (504, Some("http_response_timeout"), 0));
}

#[tokio::test]
async fn a_rehearsed_fault_is_counted_and_nothing_else() {
    let (origin, mut mesh) =
        faulty("http", "mode: Observe\nfault: { delay: { fixed: 60s }, abort: { status: 503 } }").await;
    assert!(mesh.many("/", 10).await.iter().all(|reply| reply.status == 200));
    assert_eq!(origin.requests(), 10);
    assert_eq!(mesh.caller().metric("outrigger_observed_total", &["would=\"fault\""]).await, 10.0);
}

#[tokio::test]
async fn a_throttled_answer_comes_slowly_and_whole() {
    for (fault, asks) in [
        ("throttle: { kibPerSecond: 10 }", ""),
        ("scope: Attempt, throttle: { kibPerSecond: 10 }", ""),
        ("throttle: { fromHeader: true }", "10"),
    ] {
        let (_origin, mesh) = faulty("http", &format!("fault: {{ {fault} }}")).await;
        let start = Instant::now();
        let mut request = get(SERVICE, "/bytes/10240");
        if !asks.is_empty() {
            request = request.with("x-envoy-fault-throughput-response", asks);
        }
        let reply = mesh.send(request).await;
        assert_eq!((reply.status, reply.body.len()), (200, 10240), "{fault}");
        // A second, but for what passes at once.
        assert!(start.elapsed() >= Duration::from_millis(900), "{fault}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_throttled_answer_ends_with_the_request_s_timeout() {
    let (_origin, mesh) =
        faulty("http", "timeouts: { request: 300ms }\nfault: { throttle: { kibPerSecond: 1 } }").await;
    let start = Instant::now();
    let reply = mesh.send(get(SERVICE, "/bytes/1000000")).await;
    assert!(!reply.complete && start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
