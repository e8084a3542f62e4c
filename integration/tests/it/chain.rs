//! A chain of three services that all try again: only one of them does.

use outrigger_integration::client::get;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::ports;
use outrigger_integration::relay::Relay;

/// `web` calls `front`, that `middle`, that `catalog`, which always fails; each call may be tried twice again, and no
/// budget is in the way. The workloads pass on the fields called `passes`. Gives the attempts that `catalog` saw.
async fn attempts_at_the_end(retry: &str, passes: &[&'static str]) -> usize {
    let origin = Origin::start().await;
    origin.fail_with(503);
    let apps = [ports::free(), ports::free()];
    let mut documents = Documents::new()
        .caller("web")
        .selecting("front", "http", "app: front")
        .sidecar("front-1", "front", apps[0])
        .selecting("middle", "http", "app: middle")
        .sidecar("middle-1", "middle", apps[1])
        .service("catalog", "http", &[origin.address()]);
    for service in ["front", "middle", "catalog"] {
        let open = "
            outlierDetection: { mode: Observe }
            retryConstraint: { budget: { percent: 100 }, minRetryRate: { count: 1000 } }";
        documents = documents
            .route_policy(service, &format!("retry: {{ attempts: 2, codes: [503], backoff: {{ base: 1ms }}{retry} }}"))
            .backend_policy(service, open);
    }
    let outbound = |workload: &str| documents.outbound(workload);
    let _front = Relay::start(apps[0], outbound("front-1"), "middle", passes).await;
    let _middle = Relay::start(apps[1], outbound("middle-1"), "catalog", passes).await;
    let mesh = Mesh::steered(documents).await;
    let mut client = mesh.http1().await;
    let reply = client.send(get("front", "/")).await;
    assert_eq!(reply.status, 503);
    origin.requests()
}

#[tokio::test]
async fn one_layer_of_a_chain_tries_again() {
    assert_eq!(attempts_at_the_end("", &["traceparent"]).await, 3, "the trace is enough");
    assert_eq!(attempts_at_the_end("", &["x-outrigger-attempt"]).await, 3, "and so is the field");
}

#[tokio::test]
async fn layers_that_are_told_to_or_know_no_better_multiply() {
    assert_eq!(attempts_at_the_end(", nested: true", &["traceparent"]).await, 27);
    assert_eq!(attempts_at_the_end("", &[]).await, 27, "nothing ties the calls together");
}

#[tokio::test]
async fn what_a_layer_leaves_to_the_one_above_is_said() {
    let origin = Origin::start().await;
    origin.fail_with(503);
    let documents = small("http", &[origin.address()]).route_policy("catalog", "retry: { attempts: 2, codes: [503] }");
    let mut mesh = Mesh::standalone(documents).await;
    let marked = get("catalog", "/").with("x-outrigger-attempt", "1");
    assert_eq!(mesh.send(marked).await.status, 503);
    assert_eq!(origin.requests(), 1);
    let withheld = mesh.caller().metric("outrigger_retries_withheld_total", &["cause=\"carried\""]).await;
    assert_eq!(withheld, 1.0);
}
