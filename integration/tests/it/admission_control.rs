//! Of a destination that fails, callers ask only as much as it is likely to answer.

use outrigger_integration::client::get;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

/// The caller's proxy, and a service that answers what it is told to. It is not left out: it alone is tested.
async fn controlled(policy: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let policy = format!("outlierDetection: {{ mode: Observe }}\nadmissionControl: {{ {policy} }}");
    let documents = small("http", &[origin.address()]).backend_policy("catalog", &policy);
    (origin, Mesh::standalone(documents).await)
}

/// How many of so many requests were given up.
async fn given_up(mesh: &Mesh, count: usize) -> usize {
    let mut client = mesh.http1().await;
    let mut rejected = 0;
    for _ in 0..count {
        rejected += usize::from(client.send(get("catalog", "/")).await.reason() == Some("admission_control"));
    }
    rejected
}

#[tokio::test]
async fn a_service_that_fails_gets_less_and_one_that_is_well_gets_all() {
    let (origin, mut mesh) = controlled("window: 2s").await;
    assert_eq!(given_up(&mesh, 200).await, 0);
    origin.fail_with(500);
    let first = given_up(&mesh, 300).await;
    let before = origin.requests();
    let rejected = given_up(&mesh, 200).await;
    // By chance: some half of them, or more as what was well leaves the window.
    assert!((50..=195).contains(&rejected), "{rejected} of 200");
    assert_eq!(origin.requests() - before, 200 - rejected, "what is given up is not sent");
    let counted = mesh.caller().metric("outrigger_admission_rejected_total", &["mode=\"enforce\""]).await;
    assert_eq!(counted, (first + rejected) as f64);
    origin.fail_next(0, 500);
    wait::until("the service to be trusted again", async || (given_up(&mesh, 50).await == 0).then_some(())).await;
}

#[tokio::test]
async fn few_requests_are_never_given_up_and_observed_ones_neither() {
    let (origin, mesh) = controlled("window: 1s, minRequestsPerSecond: 1000000").await;
    origin.fail_with(500);
    assert_eq!(given_up(&mesh, 100).await, 0);
    let (origin, mut mesh) = controlled("mode: Observe, window: 10s").await;
    origin.fail_with(500);
    assert_eq!((given_up(&mesh, 100).await, origin.requests()), (0, 100));
    let labels = ["mode=\"observe\""];
    assert!(mesh.caller().metric("outrigger_admission_rejected_total", &labels).await >= 30.0);
    assert!(mesh.caller().metric("outrigger_observed_total", &["would=\"admission_control\""]).await >= 30.0);
}
