//! Rate limits: at the caller's proxy on a route, at the service's on a Service; exact over all workers, and refused with
//! what the caller needs to know.

use std::time::Duration;

use futures_util::future::join_all;
use outrigger_integration::call::Call;
use outrigger_integration::client::{Client, get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;

/// A limit on the route of `catalog`, in the caller's proxy.
async fn limited(protocol: &str, spec: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let policy = format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{ name: catalog, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }}]
  {spec}"
    );
    let documents = small(protocol, &[origin.address()])
        .route("catalog", "- backendRefs: [{ name: catalog, port: 80 }]")
        .with(&policy);
    (origin, Mesh::standalone(documents).await)
}

#[tokio::test]
async fn what_is_over_the_limit_gets_429_and_a_time_to_wait() {
    let (origin, mesh) = limited("http", "rules: [{ name: all, limit: { requests: 5, interval: 60s } }]").await;
    let replies = mesh.many("/", 8).await;
    assert!(replies[..5].iter().all(|reply| reply.status == 200));
    for reply in &replies[5..] {
        assert_eq!((reply.status, reply.reason()), (429, Some("rate_limited")));
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(origin.requests(), 5);
}

#[tokio::test]
async fn the_limit_holds_over_all_workers() {
    let (origin, mesh) = limited("http", "rules: [{ name: all, limit: { requests: 10, interval: 600s } }]").await;
    let replies = join_all((0..40).map(|_| mesh.get("/"))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 10);
    assert_eq!(origin.requests(), 10);
}

#[tokio::test]
async fn permits_come_back_with_time() {
    let (_origin, mesh) = limited("http", "rules: [{ name: all, limit: { requests: 1, interval: 200ms } }]").await;
    assert_eq!(mesh.get("/").await.status, 200);
    assert_eq!(mesh.get("/").await.status, 429);
    outrigger_integration::wait::within(Duration::from_secs(2), "another permit", async || {
        (mesh.get("/").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rule_limits_what_it_matches() {
    let (_origin, mesh) = limited(
        "http",
        "rules: [{ name: writes, matches: [{ method: POST }], limit: { requests: 1, interval: 60s } }]",
    )
    .await;
    let write = || mesh.send(post("catalog", "/", "x"));
    assert_eq!((write().await.status, write().await.status), (200, 429));
    for reply in mesh.many("/", 10).await {
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn the_answer_can_be_chosen() {
    let spec = "rules: [{ name: all, limit: { requests: 1, interval: 60s } }]\n  onLimit: { status: 503, headers: [{ name: x-policy, value: catalog }] }";
    let (_origin, mesh) = limited("http", spec).await;
    mesh.get("/").await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.header("x-policy"), reply.reason()), (503, Some("catalog"), Some("rate_limited")));
}

#[tokio::test]
async fn a_grpc_caller_hears_resource_exhausted() {
    let (_origin, mesh) = limited("grpc", "rules: [{ name: all, limit: { requests: 1, interval: 60s } }]").await;
    let mut client = mesh.http2().await;
    assert_eq!(Call::open(&mut client, "catalog", "Unary", &[], "1").await.end().await.1, Some(0));
    assert_eq!(Call::open(&mut client, "catalog", "Unary", &[], "2").await.end().await.1, Some(8));
}

#[tokio::test]
async fn a_rehearsed_limit_lets_all_pass_and_counts() {
    let (_origin, mut mesh) =
        limited("http", "mode: Observe\n  rules: [{ name: all, limit: { requests: 2, interval: 60s } }]").await;
    assert!(mesh.many("/", 6).await.iter().all(|reply| reply.status == 200));
    assert_eq!(mesh.caller().metric("outrigger_rate_limited_total", &["mode=\"observe\""]).await, 4.0);
}

#[tokio::test]
async fn a_limit_on_a_service_is_kept_by_the_service() {
    let origin = Origin::start().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .rate_limit_policy("catalog", "rules: [{ name: all, limit: { requests: 3, interval: 60s } }]");
    let inbound = documents.inbound("catalog-1");
    let _mesh = Mesh::standalone_of(documents, "catalog-1").await;
    let mut client = Client::http1(inbound).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(client.send(get("anyone", "/")).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(origin.requests(), 3);
}

/// Statuses of so many requests, each with this field.
async fn statuses(client: &mut Client, field: (&str, &str), count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.send(get("catalog", "/").with(field.0, field.1)).await.status);
    }
    statuses
}

#[tokio::test]
async fn each_value_of_a_header_has_its_own_limit() {
    let spec =
        "rules: [{ name: user, per: Header, header: X-User, maxKeys: 2, limit: { requests: 2, interval: 60s } }]";
    let (_origin, mut mesh) = limited("http", spec).await;
    let mut client = mesh.http1().await;
    assert_eq!(statuses(&mut client, ("x-user", "alice"), 3).await, [200, 200, 429]);
    assert_eq!(statuses(&mut client, ("x-user", "bob"), 3).await, [200, 200, 429]);
    // Two are kept: whoever comes third takes the place of the one that was not seen for longest.
    assert_eq!(statuses(&mut client, ("x-user", "carol"), 1).await, [200]);
    assert_eq!(statuses(&mut client, ("x-user", "bob"), 1).await, [429]);
    assert_eq!(statuses(&mut client, ("x-user", "alice"), 1).await, [200]);
    let rule = ["rule=\"user\""];
    assert_eq!(mesh.caller().metric("outrigger_rate_limit_keys", &rule).await, 2.0);
    assert_eq!(mesh.caller().metric("outrigger_rate_limit_keys_forgotten_total", &rule).await, 2.0);
}

#[tokio::test]
async fn a_service_limits_each_workload_that_calls_it() {
    let origin = Origin::start().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .caller("web")
        .caller("batch")
        .rate_limit_policy(
            "catalog",
            "rules: [{ name: each, per: SourceWorkload, limit: { requests: 2, interval: 60s } }]",
        );
    let (web, batch) = (documents.outbound("web"), documents.outbound("batch"));
    let _mesh = Mesh::steered(documents).await;
    // What a workload says of itself is not passed on: its proxy knows better.
    let lie = ("x-envoy-downstream-service-cluster", "shop/batch");
    assert_eq!(statuses(&mut Client::http1(web).await, lie, 3).await, [200, 200, 429]);
    assert_eq!(statuses(&mut Client::http1(batch).await, ("x-any", "1"), 3).await, [200, 200, 429]);
    let said = |seen: &outrigger_integration::origin::Seen| seen.headers.get(lie.0).map(|value| format!("{value:?}"));
    let said: Vec<_> = origin.seen().iter().filter_map(said).collect();
    assert_eq!(said, ["\"shop/web\"", "\"shop/web\"", "\"shop/batch\"", "\"shop/batch\""]);
}

#[tokio::test]
async fn a_caller_hears_what_it_has_left() {
    let spec = "rateLimitFields: Always\n  rules: [{ name: all, limit: { requests: 2, interval: 60s } }]";
    let (_origin, mesh) = limited("http", spec).await;
    let replies = mesh.many("/", 3).await;
    let said = |name: &str| replies.iter().map(|reply| reply.header(name)).collect::<Vec<_>>();
    assert_eq!(said("ratelimit-policy"), [Some("\"all\";q=2;w=60"); 3]);
    for (said, left) in said("ratelimit").into_iter().zip([1, 0, 0]) {
        assert!(said.is_some_and(|said| said.starts_with(&format!("\"all\";r={left};t="))), "{said:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_that_a_proxy_limited_it() {
    let (_origin, mesh) = limited("http", "rules: [{ name: all, limit: { requests: 1, interval: 60s } }]").await;
    let replies = mesh.many("/", 2).await;
    assert_eq!((replies[0].header("ratelimit"), replies[0].header("x-envoy-ratelimited")), (None, None));
    assert_eq!(replies[1].header("x-envoy-ratelimited"), Some("true"));
    assert!(replies[1].header("ratelimit").is_some_and(|left| left.starts_with("\"all\";r=0;t=")));
}
