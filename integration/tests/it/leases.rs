//! A limit that the control plane divides among proxies by what comes to them: together they keep to it, and no request is
//! asked about.

use std::time::{Duration, Instant};

use outrigger_integration::client::{Client, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::{Proxy, Start};
use outrigger_integration::redis::Redis;
use outrigger_integration::wait;

/// Requests a second, and at once.
const RATE: f64 = 60.0;
const BURST: f64 = 12.0;
const CALLERS: [&str; 3] = ["web", "batch", "mobile"];

fn documents(origin: &Origin, more: &str) -> Documents {
    CALLERS
        .iter()
        .fold(Documents::new().service("catalog", "http", &[origin.address()]), |all, one| all.caller(one))
        .route("catalog", "- backendRefs: [{ name: catalog, port: 80 }]")
        .with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{ name: catalog, namespace: shop }}
spec:
  {more}
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }}]
  rules:
  - {{ name: all, scope: Global, sharing: Lease, limit: {{ requests: {RATE}, interval: 1s, burst: {BURST} }} }}"
        ))
}

/// What a proxy may let in of the limit.
async fn share(mesh: &mut Mesh, caller: &str) -> f64 {
    mesh.proxy(caller).metric("outrigger_rate_limit_share", &["rule=\"all\""]).await
}

async fn divided(mesh: &mut Mesh) {
    wait::until("every proxy to have a share", async || {
        for caller in CALLERS {
            if share(mesh, caller).await < 1.0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Up to a hundred requests a second of each of the callers, for so long: how many got in.
async fn storm(documents: &Documents, callers: &[&str], time: Duration) -> usize {
    let one = |caller: &str| {
        let address = documents.outbound(caller);
        tokio::spawn(async move {
            let (mut client, mut good, end) = (Client::http1(address).await, 0, Instant::now() + time);
            while Instant::now() < end {
                let reply = client.send(get("catalog", "/")).await;
                assert!(matches!(reply.status, 200 | 429), "{reply:?}");
                good += usize::from(reply.status == 200);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            good
        })
    };
    let tasks: Vec<_> = callers.iter().map(|caller| one(caller)).collect();
    let mut all = 0;
    for task in tasks {
        all += task.await.unwrap();
    }
    all
}

#[tokio::test]
async fn three_proxies_together_keep_to_a_limit_that_is_divided() {
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny }");
    let mut mesh = Mesh::steered(documents.clone()).await;
    divided(&mut mesh).await;
    let begun = Instant::now();
    let good = storm(&documents, &CALLERS, Duration::from_secs(5)).await as f64;
    // What waited for them was the burst, and one token for each.
    let most = RATE * begun.elapsed().as_secs_f64() + BURST + 3.0;
    assert!(good <= most && good > RATE * 5.0 * 0.6, "{good} of {most}");
    assert_eq!(origin.requests() as f64, good);
    let asked = mesh.caller().metric("outrigger_rate_limit_service_total", &[]).await;
    assert_eq!(asked, 0.0, "no request was asked about");
}

#[tokio::test]
async fn a_divided_limit_follows_demand() {
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny }");
    let mut mesh = Mesh::steered(documents.clone()).await;
    divided(&mut mesh).await;
    for busy in ["web", "mobile"] {
        let good = storm(&documents, &[busy], Duration::from_secs(4)).await as f64;
        assert!(good > RATE * 4.0 * 0.5, "{good} of {}", RATE * 4.0);
        assert!(share(&mut mesh, busy).await > RATE * 0.7);
    }
    let refused = mesh.caller().metric("outrigger_rate_limited_total", &["mode=\"enforce\""]).await;
    assert!(refused > 0.0);
}

#[tokio::test]
async fn a_divided_limit_holds_with_the_control_plane_away() {
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny, fallback: 50 }");
    let mut mesh = Mesh::steered(documents.clone()).await;
    divided(&mut mesh).await;
    mesh.control_plane().kill();
    let begun = Instant::now();
    let good = storm(&documents, &CALLERS, Duration::from_secs(4)).await as f64;
    let most = RATE * begun.elapsed().as_secs_f64() + BURST + 3.0;
    assert!(good <= most && good > RATE * 4.0 * 0.5, "{good} of {most}");
    mesh.control_plane().up().await;
    wait::until("the limit to be divided again", async || {
        let page = mesh.control_plane().get("/metrics").await.text();
        let holders = page.lines().find(|line| line.starts_with("outrigger_rate_limit_lease_holders"));
        holders.is_some_and(|line| line.ends_with(" 3")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_processes_of_one_workload_hold_two_shares() {
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny }");
    let mut mesh = Mesh::steered(documents.clone()).await;
    divided(&mut mesh).await;
    let xds = mesh.control_plane().xds();
    // Its ports are taken: it serves nobody, and counts all the same.
    let second = Start::steered(xds, "web").start();
    let admin = second.admin_address();
    wait::until("the second to run", async || tokio::net::TcpStream::connect(admin).await.ok()).await;
    wait::until("all four to have a share of the one limit", async || {
        let mut shares = vec![second.metric("outrigger_rate_limit_share", &["rule=\"all\""]).await];
        for caller in CALLERS {
            shares.push(share(&mut mesh, caller).await);
        }
        let all: f64 = shares.iter().sum();
        (shares.iter().all(|one| *one >= 1.0) && all <= RATE * 1.01).then_some(())
    })
    .await;
    let page = mesh.control_plane().get("/metrics").await.text();
    assert!(page.lines().any(|line| line.starts_with("outrigger_rate_limit_lease_holders") && line.ends_with(" 4")));
}

#[tokio::test]
async fn a_divided_limit_that_is_rehearsed_refuses_nobody() {
    let origin = Origin::start().await;
    let documents = documents(&origin, "mode: Observe");
    let mut mesh = Mesh::steered(documents.clone()).await;
    divided(&mut mesh).await;
    let begun = Instant::now();
    let good = storm(&documents, &CALLERS, Duration::from_secs(2)).await;
    assert!(good as f64 > RATE * begun.elapsed().as_secs_f64(), "more than the limit: {good}");
    let mut would = 0.0;
    for caller in CALLERS {
        would += mesh.proxy(caller).metric("outrigger_rate_limited_total", &["mode=\"observe\""]).await;
    }
    assert!(would > 0.0);
}

/// Two control planes that share a Redis; one has two callers, and the other the third.
async fn two(documents: &Documents, redis: &Redis) -> (Vec<ControlPlane>, Vec<Proxy>) {
    let (mut planes, mut proxies) = (Vec::new(), Vec::new());
    for callers in [&CALLERS[..2], &CALLERS[2..]] {
        let mut plane = ControlPlane::down();
        plane.arguments(&["--redis", &redis.url()]);
        plane.up().await;
        plane.apply(documents.text()).await;
        for caller in callers {
            proxies.push(Start::steered(plane.xds(), caller).ready().await);
        }
        planes.push(plane);
    }
    wait::until("both to know of each other, and every proxy to have a share", async || {
        let known = number(&planes[0], "outrigger_rate_limit_lease_replicas").await;
        let shares = shares(&proxies).await;
        (known == 2.0 && shares.iter().all(|share| *share >= 1.0)).then_some(())
    })
    .await;
    (planes, proxies)
}

async fn shares(proxies: &[Proxy]) -> Vec<f64> {
    let mut shares = Vec::new();
    for proxy in proxies {
        shares.push(proxy.metric("outrigger_rate_limit_share", &["rule=\"all\""]).await);
    }
    shares
}

/// A number of a control plane's.
async fn number(plane: &ControlPlane, metric: &str) -> f64 {
    let page = plane.get("/metrics").await.text();
    let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {metric}"))
}

#[tokio::test]
async fn two_control_planes_with_one_redis_divide_one_limit() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny }");
    let (_planes, proxies) = two(&documents, &redis).await;
    let begun = Instant::now();
    let good = storm(&documents, &CALLERS, Duration::from_secs(6)).await as f64;
    let most = RATE * begun.elapsed().as_secs_f64() + BURST + 3.0;
    assert!(good <= most && good > RATE * 6.0 * 0.6, "{good} of {most}");
    // What both divide follows demand from one to the other.
    for busy in ["web", "mobile"] {
        let good = storm(&documents, &[busy], Duration::from_secs(5)).await as f64;
        assert!(good > RATE * 5.0 * 0.5, "{good} of {}", RATE * 5.0);
    }
    let all: f64 = shares(&proxies).await.iter().sum();
    assert!(all <= RATE * 1.01, "{all}");
}

#[tokio::test]
async fn without_redis_control_planes_go_on_with_what_they_had() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny }");
    let (planes, proxies) = two(&documents, &redis).await;
    redis.kill();
    let begun = Instant::now();
    let good = storm(&documents, &CALLERS, Duration::from_secs(8)).await as f64;
    let most = RATE * begun.elapsed().as_secs_f64() + BURST + 3.0;
    assert!(good <= most && good > RATE * 8.0 * 0.5, "{good} of {most}");
    let all: f64 = shares(&proxies).await.iter().sum();
    assert!(all <= RATE * 1.01, "{all}");
    for plane in &planes {
        wait::until("it to say so", async || {
            let up = number(plane, "outrigger_rate_limit_lease_redis_up").await;
            let said = plane.lines().iter().any(|line| line.contains("it goes on with what it had"));
            (up == 0.0 && said && number(plane, "outrigger_rate_limit_lease_failures_total").await > 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_control_plane_that_starts_anew_has_what_its_proxies_bring() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let documents = documents(&origin, "global: { onError: Deny }");
    let (mut planes, proxies) = two(&documents, &redis).await;
    let begun = Instant::now();
    let mut good = storm(&documents, &CALLERS, Duration::from_secs(2)).await;
    planes[0].kill();
    planes[0].up().await;
    let again = storm(&documents, &CALLERS, Duration::from_secs(5)).await;
    good += again;
    let most = RATE * begun.elapsed().as_secs_f64() + BURST + 3.0;
    assert!(good as f64 <= most && again as f64 > RATE * 5.0 * 0.5, "{good} of {most}, {again} of them last");
    let all: f64 = shares(&proxies).await.iter().sum();
    assert!(all <= RATE * 1.01, "{all}");
}
