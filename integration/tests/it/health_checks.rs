//! Active health checks: the proxy itself asks endpoints, leaves out those that fail and brings back those that recover.

use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::{ports, wait};

/// As fast as a test wants it.
const SOON: &str = "interval: 50ms, timeout: 500ms, unhealthyThreshold: 1, healthyThreshold: 1";

fn policy(check: &str) -> String {
    format!("loadBalancing: {{ algorithm: RoundRobin }}\nhealthCheck: {{ {SOON}, {check} }}")
}

#[tokio::test]
async fn an_endpoint_that_is_gone_gets_nothing_until_it_is_back() {
    let (good, away) = (Origin::named("good").await, ports::free());
    let documents = small("http", &[good.address(), away])
        .backend_policy("catalog", &policy("http: { path: /health }"))
        .route_policy("catalog", "retry: { attempts: 0 }");
    let mut mesh = Mesh::standalone(documents).await;
    let failing = ["state=\"failing\""];
    wait::until("the checks to find out", async || {
        (mesh.caller().metric("outrigger_endpoints", &failing).await == 1.0).then_some(())
    })
    .await;
    let page = mesh.caller().admin("/clusters").await.text();
    assert!(page.contains("failing") && page.contains("connection_refused"), "/clusters says why: {page}");
    assert!(mesh.many("/", 20).await.iter().all(|reply| reply.status == 200));
    let _back = Origin::at(away, "back").await;
    wait::until("requests for whoever is back", async || {
        mesh.get("/").await.header("x-origin").is_some_and(|name| name == "back").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_check_asks_as_it_is_told() {
    let origin = Origin::start().await;
    let documents =
        small("h2c", &[origin.address()]).backend_policy("catalog", &policy("http: { path: /up?x=1, host: me.test }"));
    let _mesh = Mesh::standalone(documents).await;
    let seen = wait::until("a check", async || origin.seen().into_iter().next()).await;
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/up?x=1"));
    assert!(seen.headers["user-agent"].to_str().unwrap().starts_with("outrigger-health-check/"));
}

#[tokio::test]
async fn where_every_check_fails_everybody_is_asked() {
    let origin = Origin::start().await;
    let documents =
        small("http", &[origin.address()]).backend_policy("catalog", &policy("http: { path: /status/503 }"));
    let mut mesh = Mesh::standalone(documents).await;
    wait::until("the check to fail", async || {
        (mesh.caller().metric("outrigger_health_checks_total", &["result=\"failed\""]).await >= 2.0).then_some(())
    })
    .await;
    assert!(mesh.many("/", 5).await.iter().all(|reply| reply.status == 200));
    assert_eq!(mesh.caller().metric("outrigger_balancer_panic", &[]).await, 1.0);
}

#[tokio::test]
async fn a_rehearsed_check_leaves_everybody_in_and_counts() {
    let (good, bad) = (Origin::named("good").await, ports::free());
    let documents = small("http", &[good.address(), bad])
        .backend_policy("catalog", &policy("mode: Observe, tcp: {}"))
        .route_policy("catalog", "retry: { attempts: 0 }");
    let mut mesh = Mesh::standalone(documents).await;
    wait::until("the turn to be counted", async || {
        let turns = ["to=\"failing\"", "mode=\"observe\""];
        (mesh.caller().metric("outrigger_health_check_turns_total", &turns).await == 1.0).then_some(())
    })
    .await;
    let refused = mesh.many("/", 10).await.iter().filter(|reply| reply.reason() == Some("connection_refused")).count();
    assert_eq!(refused, 5, "it is in as before");
}
