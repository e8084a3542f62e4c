//! `mode: Observe` over a whole mesh: every policy decides and counts, and no caller can tell.

use futures_util::future::join_all;
use outrigger_integration::binaries;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::Process;
use outrigger_integration::wait;

const RATE_LIMIT: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: { name: catalog, namespace: shop }
spec:
  mode: Observe
  targetRefs: [{ group: \"\", kind: Service, name: catalog }]
  rules: [{ name: all, limit: { requests: 1, interval: 60s } }]";

#[tokio::test]
async fn no_caller_can_tell_that_policies_are_rehearsed() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "mode: Observe\nretry: { attempts: 3, codes: [503] }")
        .backend_policy(
            "catalog",
            "mode: Observe\nlimits: { maxRequests: 1 }\noutlierDetection: { consecutiveErrors: 1 }",
        )
        .with(
            "
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: { name: catalog, namespace: shop }
spec:
  mode: Observe
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }]
  rules: [{ name: all, limit: { requests: 1, interval: 60s } }]",
        );
    let mesh = Mesh::standalone(documents).await;
    let replies = join_all((0..20).map(|_| mesh.get("/slow/50"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    origin.fail_with(503);
    assert!(mesh.many("/", 20).await.iter().all(|reply| reply.status == 503 && reply.reason().is_none()));
    assert_eq!(origin.requests(), 40, "each request was sent once");
}

#[tokio::test]
async fn what_would_have_been_done_is_in_the_graph_and_on_the_command_line() {
    let origin = Origin::start().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .caller(CALLER)
        .backend_policy("catalog", "mode: Observe\nlimits: { maxRequests: 1 }")
        .with(RATE_LIMIT);
    let mut mesh = Mesh::steered(documents).await;
    let replies = join_all((0..20).map(|_| mesh.get("/slow/50"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    let control_plane = mesh.control_plane();
    let observed = wait::until("what would have been done", async || {
        let graph = control_plane.get("/api/v1/graph").await.json();
        let edge = graph["edges"][0]["observed"]["breaker"].as_u64()?;
        let service = graph["services"][0]["observed"].clone();
        Some((edge, service["breaker"].as_u64()?, service["rate_limit"].as_u64()?))
    })
    .await;
    assert!(observed.0 > 0 && observed.0 == observed.1 && observed.2 == 19, "{observed:?}");
    let server = format!("http://{}", control_plane.api());
    for (command, words) in [("edges", "would breaker"), ("stat", "would rate_limit 19")] {
        let printed = Process::run(binaries::cli(), ["--server", &server, command, "--window", "60s"]).await;
        assert!(printed.lines.iter().any(|line| line.contains(words)), "{:#?}", printed.lines);
    }
    let printed = Process::run(binaries::cli(), ["--server", &server, "edges", "-o", "json"]).await;
    let edges: serde_json::Value = serde_json::from_str(&printed.lines.join("\n")).unwrap();
    assert_eq!(edges["edges"][0]["observed"]["breaker"], observed.0);
}
