//! Global rate limits: one count for all proxies, kept by the control plane, in its memory or in Redis; and what is done
//! while nobody counts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_config::cluster::Discovery;
use outrigger_config::endpoint::{Assignment, Endpoint};
use outrigger_config::name::ResourceName;
use outrigger_config::policy::rate_limit::OnError;
use outrigger_config::resource::{ClientKind, Resource, ResourceType};
use outrigger_config::xds;
use outrigger_integration::ads::{Ads, Sets, resources};
use outrigger_integration::client::{Client, Reply, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::Start;
use outrigger_integration::redis::Redis;
use outrigger_integration::wire::Script;
use outrigger_integration::{envoy, peers, wait};

/// Two callers of `catalog`, whose route has a policy.
fn documents(origin: &Origin, spec: &str) -> Documents {
    Documents::new()
        .service("catalog", "http", &[origin.address()])
        .caller("web")
        .caller("batch")
        .route("catalog", "- backendRefs: [{ name: catalog, port: 80 }]")
        .with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{ name: catalog, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }}]
  {spec}"
        ))
}

/// A limit on all proxies together.
fn all(requests: u32) -> String {
    format!("rules: [{{ name: all, scope: Global, limit: {{ requests: {requests}, interval: 600s }} }}]")
}

async fn ask(documents: &Documents, caller: &str) -> Reply {
    Client::http1(documents.outbound(caller)).await.send(get("catalog", "/")).await
}

/// How many of so many requests of each of the two callers get in.
async fn let_in(documents: &Documents, count: usize) -> usize {
    let mut good = 0;
    for caller in ["web", "batch"].into_iter().cycle().take(2 * count) {
        let reply = ask(documents, caller).await;
        assert!(matches!(reply.status, 200 | 429), "{reply:?}");
        good += usize::from(reply.status == 200);
    }
    good
}

#[tokio::test]
async fn all_proxies_together_keep_to_one_limit() {
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 5s, onError: Deny }}\n  {}", all(7)));
    let mut mesh = Mesh::steered(documents.clone()).await;
    assert_eq!(let_in(&documents, 10).await, 7);
    assert_eq!(origin.requests(), 7);
    let reply = ask(&documents, "web").await;
    assert_eq!((reply.reason(), reply.header("x-envoy-ratelimited")), (Some("rate_limited"), Some("true")));
    assert!(reply.header("retry-after").is_some() && reply.header("ratelimit").is_some());
    assert!(mesh.caller().metric("outrigger_rate_limit_service_total", &["outcome=\"over\""]).await >= 3.0);
}

#[tokio::test]
async fn each_value_of_a_header_has_one_limit_everywhere() {
    let origin = Origin::start().await;
    let rules =
        "rules: [{ name: user, scope: Global, per: Header, header: x-user, limit: { requests: 1, interval: 600s } }]";
    let documents = documents(&origin, &format!("global: {{ timeout: 5s, onError: Deny }}\n  {rules}"));
    let _mesh = Mesh::steered(documents.clone()).await;
    let mut statuses = Vec::new();
    for (caller, user) in [("web", "alice"), ("batch", "alice"), ("batch", "bob"), ("web", "bob")] {
        let mut client = Client::http1(documents.outbound(caller)).await;
        statuses.push(client.send(get("catalog", "/").with("x-user", user)).await.status);
    }
    assert_eq!(statuses, [200, 429, 200, 429]);
}

#[tokio::test]
async fn a_rehearsed_global_limit_is_counted_and_changes_nothing() {
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("mode: Observe\n  global: {{ timeout: 5s }}\n  {}", all(2)));
    let mut mesh = Mesh::steered(documents.clone()).await;
    assert_eq!(let_in(&documents, 3).await, 6);
    wait::until("the limit to be counted", async || {
        let web = mesh.caller().metric("outrigger_rate_limited_total", &["mode=\"observe\""]).await;
        let batch = mesh.proxy("batch").metric("outrigger_rate_limited_total", &["mode=\"observe\""]).await;
        (web + batch == 4.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stock_envoy_keeps_to_the_same_limit() {
    let Some(program) = peers::envoy() else { return };
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 5s, onError: Deny }}\n  {}", all(6)));
    let control_plane = ControlPlane::start().await;
    control_plane.apply(documents.text()).await;
    let folder = tempfile::tempdir().unwrap();
    let _envoy = envoy::start(&program, folder.path(), "web", "GRPC", control_plane.xds());
    let _batch = Start::steered(control_plane.xds(), "batch").ready().await;
    wait::until("Envoy to refuse", async || {
        tokio::net::TcpStream::connect(documents.outbound("web")).await.ok()?;
        let status = ask(&documents, "web").await.status;
        (status == 429).then_some(())
    })
    .await;
    // It may have let some pass that nobody answered about in its 20 ms.
    assert!(origin.requests() >= 6, "Envoy took all there were");
    assert_eq!(ask(&documents, "batch").await.status, 429);
}

/// Another cluster, `control-plane`, whose one endpoint is `service`.
fn leading_to(service: SocketAddr, cluster: &[u8]) -> Bytes {
    let Resource::Cluster(mut cluster) = xds::decode(ResourceType::Cluster, cluster).unwrap() else { panic!() };
    cluster.name = ResourceName::try_new("control-plane").unwrap();
    cluster.discovery = Discovery::Static(Assignment {
        name: cluster.name.clone(),
        endpoints: vec![Endpoint::at(service)],
        overprovisioning: Assignment::DEFAULT_OVERPROVISIONING,
        weights: Vec::new(),
    });
    xds::encode(&Resource::Cluster(cluster), ClientKind::Envoy).unwrap()
}

/// What a control plane of another make would say of these documents: the words that our own has for Envoy, and `service`
/// where they look for whom to ask.
fn in_standard_words(documents: &Documents, service: SocketAddr) -> Sets {
    let mut sets = resources(documents, "web");
    let whole = |resource: &mut Resource| {
        if let Resource::Listener(listener) = resource {
            // Envoy's 20 ms are little on a machine that is busy.
            let asks = listener.limits.iter_mut();
            asks.for_each(|asks| (asks.timeout, asks.on_error) = (Duration::from_secs(5), OnError::Deny));
        }
    };
    for kind in [ResourceType::Listener, ResourceType::Table] {
        for (_, value) in sets.get_mut(&kind).unwrap() {
            let ours = xds::decode(kind, value).unwrap();
            let bytes = xds::encode(&ours, ClientKind::Envoy).unwrap();
            let mut read = xds::decode(kind, &bytes).unwrap();
            whole(&mut read);
            *value = xds::encode(&read, ClientKind::Envoy).unwrap();
        }
    }
    let clusters = sets.get_mut(&ResourceType::Cluster).unwrap();
    let bytes = leading_to(service, &clusters[0].1);
    clusters.push(("control-plane".into(), bytes));
    sets
}

#[tokio::test]
async fn our_proxy_asks_whom_another_control_plane_names() {
    let origin = Origin::start().await;
    let documents = documents(&origin, &all(4));
    let mut control_plane = ControlPlane::start().await;
    control_plane.apply(documents.text()).await;
    let ads = Ads::start(in_standard_words(&documents, control_plane.xds())).await;
    let proxy = Start::steered(ads.address(), "web").ready().await;
    let mut replies = Vec::new();
    for _ in 0..6 {
        replies.push(ask(&documents, "web").await);
    }
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    let last = replies.last().unwrap();
    assert_eq!((last.reason(), last.header("x-envoy-ratelimited")), (Some("rate_limited"), Some("true")));
    assert!(last.header("retry-after").is_some());
    assert_eq!(proxy.metric("outrigger_rate_limit_service_total", &["outcome=\"over\""]).await, 2.0);
    control_plane.kill();
    let reply = ask(&documents, "web").await;
    assert_eq!((reply.status, reply.reason()), (500, Some("rate_limit_unavailable")), "as the filter says");
}

#[tokio::test]
async fn a_connection_that_lasts_asks_whoever_is_named_now() {
    let origin = Origin::start().await;
    let documents = documents(&origin, &all(40));
    let (mut one, other) = (ControlPlane::start().await, ControlPlane::start().await);
    one.apply(documents.text()).await;
    other.apply(documents.text()).await;
    let ads = Ads::start(in_standard_words(&documents, one.xds())).await;
    let _proxy = Start::steered(ads.address(), "web").ready().await;
    let mut client = Client::http1(documents.outbound("web")).await;
    assert_eq!(client.send(get("catalog", "/")).await.status, 200);
    let version = ads.change(|sets| {
        let clusters = sets.get_mut(&ResourceType::Cluster).unwrap();
        let named = clusters.iter_mut().find(|(name, _)| name == "control-plane").unwrap();
        named.1 = leading_to(other.xds(), &named.1);
    });
    assert_eq!(ads.verdict(ResourceType::Cluster, version).await.error, None);
    one.kill();
    wait::until("the other to be asked", async || (client.send(get("catalog", "/")).await.status == 200).then_some(()))
        .await;
}

/// Two control planes with one Redis, and a caller at each.
async fn shared(
    documents: &Documents,
    redis: &str,
    timeout: &str,
) -> (Vec<ControlPlane>, Vec<outrigger_integration::proxy::Proxy>) {
    let (mut planes, mut proxies) = (Vec::new(), Vec::new());
    for caller in ["web", "batch"] {
        let mut plane = ControlPlane::down();
        plane.arguments(&["--redis", redis, "--redis-timeout", timeout]);
        plane.up().await;
        plane.apply(documents.text()).await;
        proxies.push(Start::steered(plane.xds(), caller).ready().await);
        planes.push(plane);
    }
    (planes, proxies)
}

#[tokio::test]
async fn control_planes_share_a_limit_in_redis() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 5s, onError: Deny }}\n  {}", all(9)));
    let _mesh = shared(&documents, &redis.url(), "1s").await;
    assert_eq!(let_in(&documents, 10).await, 9);
}

#[tokio::test]
async fn a_redis_whose_clock_goes_back_holds_nobody_up_for_longer_than_the_limit_says() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let rules = "rules: [{ name: all, scope: Global, limit: { requests: 2, interval: 2s } }]";
    let documents = documents(&origin, &format!("global: {{ timeout: 5s, onError: Deny }}\n  {rules}"));
    let _mesh = shared(&documents, &redis.url(), "1s").await;
    assert_eq!(ask(&documents, "web").await.status, 200);
    // As if a replica whose clock is an hour behind had taken over.
    redis
        .eval(
            "local time = redis.call('TIME')
for _, key in ipairs(redis.call('KEYS', 'outrigger:limit:*')) do
  redis.call('SET', key, string.format('%.0f', (time[1] + 3600) * 1000000), 'PX', 4000000)
end
return 1",
        )
        .await;
    assert_eq!(ask(&documents, "web").await.status, 429, "nothing is known of the last two seconds");
    wait::until("the limit to let in again", async || (ask(&documents, "batch").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_redis_that_hangs_or_goes_is_no_answer() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 5s, onError: Deny }}\n  {}", all(100)));
    let (planes, _proxies) = shared(&documents, &redis.url(), "50ms").await;
    assert_eq!(ask(&documents, "web").await.status, 200);
    redis.signal("STOP");
    wait::until("the first question without an answer", async || {
        (ask(&documents, "web").await.status == 503).then_some(())
    })
    .await;
    let start = Instant::now();
    for _ in 0..3 {
        let reply = ask(&documents, "web").await;
        assert_eq!((reply.status, reply.reason()), (503, Some("rate_limit_unavailable")));
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    redis.signal("CONT");
    wait::until("the count to go on", async || (ask(&documents, "web").await.status == 200).then_some(())).await;
    redis.kill();
    assert_eq!(ask(&documents, "batch").await.status, 503);
    let page = planes[0].get("/metrics").await.text();
    let failures = page.lines().find(|line| line.starts_with("outrigger_redis_failures_total"));
    assert!(failures.is_some_and(|line| !line.ends_with(" 0")), "{failures:?}");
}

#[tokio::test]
async fn a_redis_that_talks_nonsense_is_no_answer() {
    let nonsense = Script::saying("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 2s }}\n  {}", all(1)));
    let (_planes, _proxies) = shared(&documents, &format!("redis://{}", nonsense.address()), "50ms").await;
    for _ in 0..4 {
        assert_eq!(ask(&documents, "web").await.status, 200, "onError is Allow unless said otherwise");
    }
}

#[tokio::test]
async fn a_control_plane_that_hangs_costs_five_timeouts_and_then_none() {
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 300ms }}\n  {}", all(1)));
    let mut mesh = Mesh::steered(documents.clone()).await;
    wait::until("the limit to hold", async || (ask(&documents, "web").await.status == 429).then_some(())).await;
    mesh.control_plane().signal("STOP");
    // A signal takes its time.
    wait::until("the first question without an answer", async || {
        (ask(&documents, "web").await.status == 200).then_some(())
    })
    .await;
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(&documents, "web").await.status, 200);
    }
    // Four more wait, and one a second that finds out whether it is back; the others go on at once.
    assert!((4 * 300..4_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    let counted = ["outcome=\"away\""];
    assert!(mesh.caller().metric("outrigger_rate_limit_service_total", &counted).await >= 10.0);
    mesh.control_plane().signal("CONT");
    wait::until("the limit to hold again", async || (ask(&documents, "web").await.status == 429).then_some(())).await;
}

#[tokio::test]
async fn a_control_plane_that_is_gone_is_no_answer() {
    let origin = Origin::start().await;
    let documents = documents(&origin, &format!("global: {{ timeout: 1s, onError: Deny }}\n  {}", all(100)));
    let mut mesh = Mesh::steered(documents.clone()).await;
    wait::until("a count", async || (ask(&documents, "web").await.status == 200).then_some(())).await;
    mesh.control_plane().kill();
    let start = Instant::now();
    for _ in 0..10 {
        let reply = ask(&documents, "web").await;
        assert_eq!((reply.status, reply.reason()), (503, Some("rate_limit_unavailable")));
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    mesh.control_plane().up().await;
    wait::until("a count again", async || (ask(&documents, "web").await.status == 200).then_some(())).await;
}
