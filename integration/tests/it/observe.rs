//! `mode: Observe` over a whole mesh: every policy decides and counts, and no caller can tell.

use futures_util::future::join_all;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;

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
