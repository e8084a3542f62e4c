//! The admin port's laws: who may ask, what only a POST may do, and pages that can be read.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use outrigger_config::listener::Direction;
use outrigger_config::name::ObjectName;
use outrigger_config::{document, mesh::Mesh};
use tracing_subscriber::EnvFilter;

use super::{Admin, is_local};
use crate::discovery::status::{Source, Status};
use crate::drain::Drain;
use crate::exchange::Shared;
use crate::reason::Reason;
use crate::rls::LimitService;
use crate::snapshot::{Context, ResourceSet, Snapshots, compile};
use crate::telemetry::logging::{Format, init};
use crate::telemetry::{EdgeKey, RetryCause, Telemetry, Would};

const MESH: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: { name: catalog, namespace: shop }
spec: { selector: { app: catalog }, ports: [{ name: http, port: 80, appProtocol: http }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { name: catalog-1, namespace: shop, labels: { app: catalog, version: v1 } }
spec: { address: 127.0.0.1, ports: [{ name: http, port: 9001 }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { name: web, namespace: shop }
spec: { address: 127.0.0.1, outbound: [{ port: 15001 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: catalog, namespace: shop }
spec:
  parentRefs: [{ group: \"\", kind: Service, name: catalog }]
  rules:
  - matches: [{ path: { type: PathPrefix, value: /products }, method: GET }]
    timeouts: { request: 2s }
    backendRefs: [{ name: catalog, port: 80 }]
";

/// An admin port of a proxy that serves [`MESH`].
fn admin() -> Admin {
    let node = ObjectName::try_new("shop", "web").expect("a name");
    let (mesh, _) = Mesh::try_new(document::parse(MESH, "").expect("documents")).expect("a mesh");
    let set: ResourceSet = mesh.shared("shop").into_iter().chain(mesh.own(&node)).collect();
    let shared = Arc::new(Shared {
        snapshots: Snapshots::new(),
        telemetry: Arc::new(Telemetry::default()),
        caching: crate::cache::Caching::default(),
        workers: 1,
        limits: LimitService::default(),
        drain: Drain::new(),
        carried: Arc::default(),
        replay: Arc::default(),
        overload: Arc::default(),
    });
    shared.telemetry.metrics.set_workload(node);
    let metrics = Arc::clone(&shared.telemetry.metrics);
    let context = Context { workers: 1, metrics, seed: 1, now: Instant::now() };
    shared.snapshots.store(Arc::new(compile(&set, None, &context)));
    let status = Status::new(Source::File("mesh.yaml".into()));
    status.note(|standing| {
        standing.serving = true;
        standing.resources = Arc::new(set);
    });
    Admin { shared, status, filter: init(EnvFilter::new("info"), Format::Text), started: Instant::now() }
}

async fn ask(admin: &Admin, method: &str, target: &str, host: &str) -> (StatusCode, String, http::HeaderMap) {
    let request = Request::builder().method(method).uri(target).header("host", host).body(()).expect("a request");
    let (parts, body) = admin.answer(&request, Some(([127, 0, 0, 1], 15000).into())).into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (parts.status, String::from_utf8(body.to_vec()).expect("text"), parts.headers)
}

async fn status(admin: &Admin, method: &str, target: &str) -> u16 {
    ask(admin, method, target, "localhost:15000").await.0.as_u16()
}

async fn page(admin: &Admin, target: &str) -> String {
    let (status, page, _) = ask(admin, "GET", target, "127.0.0.1:15000").await;
    assert_eq!(status, StatusCode::OK, "{target}: {page}");
    page
}

#[tokio::test]
async fn only_a_post_changes_anything() {
    let admin = admin();
    for (method, target, expected) in [
        ("GET", "/drain", 405),
        ("GET", "/logging?filter=debug", 405),
        ("HEAD", "/drain", 405),
        ("POST", "/ready", 405),
        ("POST", "/config_dump", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/nothing", 404),
        ("POST", "/logging", 400),
        ("POST", "/logging?filter=%5B%5Bnonsense", 400),
        ("GET", "/clusters?format=xml", 400),
        ("GET", "/", 200),
        ("GET", "/ready", 200),
        ("HEAD", "/live", 200),
    ] {
        assert_eq!(status(&admin, method, target).await, expected, "{method} {target}");
    }
    assert_eq!(status(&admin, "POST", "/logging?filter=debug").await, 200);
    assert!(!admin.shared.drain.is_draining());
    assert_eq!(status(&admin, "POST", "/drain").await, 200);
    assert!(admin.shared.drain.is_draining());
    assert_eq!(status(&admin, "GET", "/ready").await, 503);
    assert_eq!(status(&admin, "GET", "/live").await, 200);
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused() {
    let admin = admin();
    for host in ["evil.example", "evil.example:15000", "10.0.0.1:15000", "localhost.evil.example", ""] {
        assert_eq!(ask(&admin, "POST", "/drain", host).await.0, StatusCode::FORBIDDEN, "{host:?}");
    }
    assert!(!admin.shared.drain.is_draining());
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:15000", "[::1]:15000", "[::1]"] {
        assert!(is_local(host, None), "{host}");
    }
    assert!(is_local("10.0.0.1:15000", Some(([10, 0, 0, 1], 15000).into())));
    let (_, _, headers) = ask(&admin, "GET", "/ready", "localhost").await;
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn the_configuration_is_shown_in_the_words_of_the_documents() {
    let admin = admin();
    let mut dump: serde_json::Value =
        serde_json::from_str(&page(&admin, "/config_dump?resource=shop").await).expect("JSON");
    dump["source"] = "mesh.yaml".into();
    insta::assert_snapshot!(format!("{dump:#}"));
    let dump = page(&admin, "/config_dump?resource=outbound%2Fshop%2Fweb").await;
    assert!(dump.contains("127.0.0.1:15001") && !dump.contains("127.0.0.1:9001"), "{dump}");
}

#[tokio::test]
async fn destinations_are_shown_as_they_are_now() {
    let admin = admin();
    insta::assert_snapshot!(page(&admin, "/clusters").await);
    let json: serde_json::Value = serde_json::from_str(&page(&admin, "/clusters?format=json").await).expect("JSON");
    assert_eq!(json["clusters"][0]["endpoints"][0]["state"], "healthy");
}

/// Every counter that there is, moved once.
fn move_counters(admin: &Admin) {
    let metrics = &admin.shared.telemetry.metrics;
    let key = EdgeKey {
        direction: Direction::Outbound,
        dst_service: "catalog".into(),
        dst_namespace: "shop".into(),
        dst_version: "v1".into(),
        route: "HTTPRoute shop/catalog/rule-0".into(),
    };
    let edge = metrics.edge(&key);
    edge.record(200, None, None, Would::RATE_LIMIT, Duration::from_millis(3));
    edge.record(503, None, Some(Reason::ConnectionRefused), Would::default(), Duration::from_millis(1));
    edge.record(200, Some(14), None, Would::default(), Duration::from_secs(20));
    edge.retry(RetryCause::Status(503));
    metrics.unrouted(Direction::Outbound, 404, Some(Reason::DestinationNotFound), Duration::from_micros(80));
    metrics.rate_limited(&outrigger_config::policy::Origin::default_policy(), outrigger_config::policy::Mode::Observe);
    metrics.detection.known(http::Version::HTTP_2, Duration::from_millis(2));
    metrics.detection.timed_out();
    let snapshot = admin.shared.snapshots.load_full();
    for cluster in snapshot.clusters() {
        cluster.traffic.attempt(Some(crate::cluster::Outcome::Success));
        let waited = futures_util::FutureExt::now_or_never(cluster.traffic.waiting(std::future::ready(())));
        assert_eq!(waited, Some(()));
    }
    metrics.discovery.note(|state| {
        state.updates.insert(("CDS", "rejected"), 1);
        state.updated = Some(Instant::now());
        state.applied = Some((1, Duration::from_micros(300)));
    });
}

#[tokio::test]
async fn metrics_say_what_was_counted() {
    let admin = admin();
    move_counters(&admin);
    let page = page(&admin, "/metrics").await;
    let edge = "direction=\"outbound\",src_workload=\"web\",src_namespace=\"shop\",dst_service=\"catalog\",\
                dst_namespace=\"shop\",dst_version=\"v1\",route=\"HTTPRoute shop/catalog/rule-0\"";
    let catalog = "cluster=\"shop/catalog/http\",dst_service=\"catalog\",dst_namespace=\"shop\"";
    for line in [
        format!("outrigger_requests_total{{{edge},code=\"200\"}} 1"),
        format!("outrigger_requests_total{{{edge},code=\"503\",reason=\"connection_refused\"}} 1"),
        format!("outrigger_requests_total{{{edge},code=\"200\",grpc_code=\"UNAVAILABLE\"}} 1"),
        format!("outrigger_request_duration_seconds_bucket{{{edge},le=\"0.001\"}} 1"),
        format!("outrigger_request_duration_seconds_bucket{{{edge},le=\"10\"}} 2"),
        format!("outrigger_request_duration_seconds_bucket{{{edge},le=\"+Inf\"}} 3"),
        format!("outrigger_request_duration_seconds_count{{{edge}}} 3"),
        format!("outrigger_retries_total{{{edge},cause=\"code_503\"}} 1"),
        format!("outrigger_observed_total{{{edge},would=\"rate_limit\"}} 1"),
        "outrigger_requests_total{direction=\"outbound\",src_workload=\"web\",src_namespace=\"shop\",code=\"404\",\
         reason=\"destination_not_found\"} 1"
            .to_owned(),
        "outrigger_rate_limited_total{policy=\"default\",mode=\"observe\"} 1".to_owned(),
        "outrigger_endpoints{cluster=\"shop/catalog/http\",dst_service=\"catalog\",dst_namespace=\"shop\",\
         state=\"healthy\"} 1"
            .to_owned(),
        "outrigger_xds_updates_total{type=\"CDS\",result=\"rejected\"} 1".to_owned(),
        "outrigger_ready 1".to_owned(),
        "outrigger_detect_seconds_bucket{protocol=\"http2\",le=\"0.0025\"} 1".to_owned(),
        "outrigger_detect_timeouts_total 1".to_owned(),
        format!("outrigger_attempts_total{{{catalog},outcome=\"success\"}} 1"),
        format!("outrigger_pool_wait_seconds_count{{{catalog}}} 1"),
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is missing:\n{page}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let admin = admin();
    move_counters(&admin);
    let page = page(&admin, "/metrics").await;
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = checked else {
        // The whole test run says which peers were missing; here it is one line.
        std::io::Write::write_all(&mut std::io::stderr(), b"skipped: promtool is not installed\n").expect("stderr");
        return;
    };
    std::io::Write::write_all(&mut promtool.stdin.take().expect("a pipe"), page.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{page}");
}
