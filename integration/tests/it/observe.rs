//! `mode: Observe` over a whole mesh: every policy decides and counts, and no caller can tell.

use futures_util::future::join_all;
use outrigger_integration::binaries;
use outrigger_integration::call::Call;
use outrigger_integration::client::{Client, get, post};
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

const ROUTE: &str = "{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }";
const SERVICE: &str = "{ group: \"\", kind: Service, name: catalog }";

fn policy(kind: &str, name: &str, target: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ targetRefs: [{target}], {spec} }}"
    )
}

#[tokio::test]
async fn a_closed_service_stays_closed_while_a_route_rehearses() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "mode: Observe\nfault: { abort: { status: 500 } }")
        .with(&policy("RoutePolicy", "closed", SERVICE, "directResponse: { status: 503, body: closed }"));
    let mut mesh = Mesh::standalone(documents).await;
    assert!(mesh.many("/", 5).await.iter().all(|reply| reply.status == 503 && reply.text() == "closed"));
    assert_eq!(origin.requests(), 0);
    assert_eq!(mesh.caller().metric("outrigger_observed_total", &["would=\"fault\""]).await, 5.0);
}

#[tokio::test]
async fn a_narrower_limit_is_rehearsed_beside_the_one_that_acts() {
    let origin = Origin::start().await;
    let limit = |mode: &str, requests: u32| {
        format!("mode: {mode}, rules: [{{ name: all, limit: {{ requests: {requests}, interval: 60s }} }}]")
    };
    let documents = small("http", &[origin.address()])
        .route("catalog", "- backendRefs: [{ name: catalog, port: 80 }]")
        .with(&policy("RateLimitPolicy", "now", ROUTE, &limit("Enforce", 6)))
        .with(&policy("RateLimitPolicy", "soon", ROUTE, &limit("Observe", 2)));
    let mut mesh = Mesh::standalone(documents).await;
    let statuses: Vec<_> = mesh.many("/", 10).await.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [[200; 5], [200, 429, 429, 429, 429]].concat());
    for (policy, mode, count) in [("now", "enforce", 4.0), ("soon", "observe", 8.0)] {
        let labels = [&*format!("policy=\"RateLimitPolicy shop/{policy}\""), &*format!("mode=\"{mode}\"")];
        assert_eq!(mesh.caller().metric("outrigger_rate_limited_total", &labels).await, count, "{policy}");
    }
}

#[tokio::test]
async fn retries_go_on_while_others_are_rehearsed() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "mode: Observe\nretry: { attempts: 1, codes: [500] }")
        .with(&policy("RoutePolicy", "wide", SERVICE, "retry: { attempts: 1, codes: [503] }"));
    let mut mesh = Mesh::standalone(documents).await;
    origin.fail_next(1, 503);
    assert_eq!(mesh.get("/").await.status, 200);
    origin.fail_next(1, 500);
    assert_eq!(mesh.get("/").await.status, 500);
    assert_eq!(origin.requests(), 3);
    assert_eq!(mesh.caller().metric("outrigger_observed_total", &["would=\"retry\""]).await, 1.0);
}

#[tokio::test]
async fn failing_workloads_are_left_out_while_a_stricter_policy_is_rehearsed() {
    let (good, bad) = (Origin::named("good").await, Origin::named("bad").await);
    let strict = "mode: Observe, outlierDetection: { consecutiveErrors: 2 }, limits: { maxRequests: 0 }";
    let documents = small("http", &[good.address(), bad.address()])
        .backend_policy(
            "catalog",
            "loadBalancing: { algorithm: RoundRobin }\noutlierDetection: { consecutiveErrors: 4 }",
        )
        .with(&policy("BackendPolicy", "strict", SERVICE, strict));
    bad.fail_with(500);
    let mut mesh = Mesh::standalone(documents).await;
    mesh.many("/", 20).await;
    assert_eq!(bad.requests(), 4, "as the policy that acts has it");
    for mode in ["enforce", "observe"] {
        let labels = [&*format!("mode=\"{mode}\""), "consecutive_errors"];
        assert_eq!(mesh.caller().metric("outrigger_ejections_total", &labels).await, 1.0, "{mode}");
    }
    for (would, count) in [("eject", 1.0), ("breaker", 20.0)] {
        let label = format!("would=\"{would}\"");
        assert_eq!(mesh.caller().metric("outrigger_observed_total", &[&label]).await, count, "{would}");
    }
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

#[tokio::test]
async fn a_status_in_trailers_is_counted_and_nothing_is_held_back_or_tried_again() {
    let origin = Origin::start().await;
    let policy = "mode: Observe\nretry: { attempts: 2, grpcCodes: [UNAVAILABLE, INTERNAL], methods: [POST] }";
    let mut mesh = Mesh::standalone(small("grpc", &[origin.address()]).route_policy("catalog", policy)).await;
    let mut client = mesh.http2().await;
    for (method, status, counted) in [("Fail", 14, 1.0), ("Late", 13, 1.0), ("Unary", 0, 1.0), ("Fail", 14, 2.0)] {
        let mut call = Call::open(&mut client, "catalog", method, &[], "now").await;
        assert_eq!(call.end().await.1, Some(status), "{method}");
        let would = "would=\"retry\"";
        assert_eq!(mesh.caller().metric("outrigger_observed_total", &[would]).await, counted, "{method}");
    }
    assert_eq!(origin.requests(), 4);
}

#[tokio::test]
async fn a_wider_cache_is_rehearsed_beside_the_one_that_acts() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .with(&policy("RoutePolicy", "now", SERVICE, "cache: { key: { headers: [x-tenant] } }"))
        .with(&policy("RoutePolicy", "soon", SERVICE, "mode: Observe, cache: {}"));
    let mut mesh = Mesh::standalone(documents).await;
    let path = "/with?cache-control=max-age=60";
    let mut said = Vec::new();
    for tenant in ["a", "b", "a"] {
        let reply = mesh.send(get("catalog", path).with("x-tenant", tenant)).await;
        said.push(reply.header("cache-status").expect("one that acts says what it did").contains("; hit"));
    }
    assert_eq!((said, origin.requests()), (vec![false, false, true], 2));
    let would =
        async |mesh: &mut Mesh| mesh.caller().metric("outrigger_observed_total", &["would=\"cache_hit\""]).await;
    assert_eq!(would(&mut mesh).await, 2.0, "one for all tenants");
    assert_eq!(mesh.send(post("catalog", path, "x")).await.status, 200);
    assert_eq!(mesh.send(get("catalog", path).with("x-tenant", "c")).await.status, 200);
    assert_eq!(would(&mut mesh).await, 2.0, "what was changed is forgotten here, too");
}

#[tokio::test]
async fn a_stricter_health_check_is_rehearsed_beside_the_one_that_acts() {
    let (good, bad) = (Origin::named("good").await, Origin::named("bad").await);
    bad.fail_with(500);
    let soon = "interval: 50ms, timeout: 500ms, unhealthyThreshold: 1";
    let documents = small("http", &[good.address(), bad.address()])
        .with(&policy("BackendPolicy", "now", SERVICE, &format!("healthCheck: {{ {soon}, tcp: {{}} }}")))
        .with(&policy(
            "BackendPolicy",
            "soon",
            SERVICE,
            &format!("mode: Observe, healthCheck: {{ {soon}, http: {{ path: / }} }}"),
        ));
    let mut mesh = Mesh::standalone(documents).await;
    wait::until("the turn to be counted", async || {
        let turns = ["to=\"failing\"", "mode=\"observe\""];
        (mesh.caller().metric("outrigger_health_check_turns_total", &turns).await == 1.0).then_some(())
    })
    .await;
    let turns = ["to=\"failing\"", "mode=\"enforce\""];
    assert_eq!(mesh.caller().metric("outrigger_health_check_turns_total", &turns).await, 0.0);
    assert_eq!(mesh.caller().metric("outrigger_endpoints", &["state=\"healthy\""]).await, 2.0);
}

#[tokio::test]
async fn another_admission_control_is_rehearsed_beside_the_one_that_acts() {
    let origin = Origin::start().await;
    let (failing, never) = ("outlierDetection: { mode: Observe }", "{ minRequestsPerSecond: 1000000 }");
    let documents = small("http", &[origin.address()])
        .with(&policy("BackendPolicy", "now", SERVICE, &format!("{failing}, admissionControl: {never}")))
        .with(&policy("BackendPolicy", "soon", SERVICE, "mode: Observe, admissionControl: { window: 10s }"));
    let mut mesh = Mesh::standalone(documents).await;
    origin.fail_with(500);
    let replies = mesh.many("/", 100).await;
    assert!(replies.iter().all(|reply| reply.status == 500 && reply.reason().is_none()));
    assert_eq!(origin.requests(), 100);
    let caller = mesh.caller();
    let would = caller.metric("outrigger_observed_total", &["would=\"admission_control\""]).await;
    assert!(would >= 30.0, "{would}");
    assert_eq!(caller.metric("outrigger_admission_rejected_total", &["mode=\"observe\""]).await, would);
    assert_eq!(caller.metric("outrigger_admission_rejected_total", &["mode=\"enforce\""]).await, 0.0);
}

#[tokio::test]
async fn a_stricter_adaptive_concurrency_is_rehearsed_beside_the_one_that_acts() {
    let origin = Origin::start().await;
    let limit = |most: u32| format!("adaptiveConcurrency: {{ minConcurrency: {most}, maxConcurrency: {most} }}");
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .with(&policy("RateLimitPolicy", "now", SERVICE, &limit(4)))
        .with(&policy("RateLimitPolicy", "soon", SERVICE, &format!("mode: Observe, {}", limit(1))));
    let mut mesh = Mesh::standalone_of(documents, "catalog-1").await;
    let address = mesh.documents().inbound("catalog-1");
    let ask = || async move { Client::http1(address).await.send(get("catalog", "/slow/500")).await };
    let replies = join_all((0..6).map(|_| ask())).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 4);
    let proxy = mesh.proxy("catalog-1");
    let refused = |mode: &'static str| ["outrigger_adaptive_refused_total", mode];
    for ([name, mode], times) in [(refused("mode=\"enforce\""), 2.0), (refused("mode=\"observe\""), 5.0)] {
        assert_eq!(proxy.metric(name, &[mode]).await, times, "{mode}");
    }
    assert_eq!(proxy.metric("outrigger_observed_total", &["would=\"adaptive_concurrency\""]).await, 5.0);
    assert_eq!(proxy.metric("outrigger_adaptive_limit", &["mode=\"enforce\""]).await, 4.0);
    assert_eq!(proxy.metric("outrigger_adaptive_limit", &["mode=\"observe\""]).await, 1.0);
    wait::until("every place to be free again", async || {
        let used = proxy.metric("outrigger_adaptive_limit_used", &["mode=\"observe\""]).await;
        (used == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_callers_wish_hides_no_rehearsal() {
    let origin = Origin::start().await;
    let base = small("http", &[origin.address()]).route("catalog", "- backendRefs: [{ name: catalog, port: 80 }]");
    let base = base.with(&policy("RoutePolicy", "soon", ROUTE, "mode: Observe, retry: { attempts: 1, codes: [503] }"));
    let never = policy("RoutePolicy", "now", ROUTE, "retry: { attempts: 0 }");
    for documents in [base.clone(), base.with(&never)] {
        let mut mesh = Mesh::standalone(documents).await;
        for (name, value, status, would) in [
            ("x-envoy-retry-on", "connect-failure", 503, 1.0),
            ("x-envoy-upstream-rq-timeout-ms", "9000", 503, 2.0),
            // What the wish does is not what the policy would do beyond it.
            ("x-envoy-retry-on", "5xx", 200, 2.0),
        ] {
            origin.fail_next(1, 503);
            assert_eq!(mesh.send(get("catalog", "/").with(name, value)).await.status, status, "{name}: {value}");
            let counted = mesh.caller().metric("outrigger_observed_total", &["would=\"retry\""]).await;
            assert_eq!(counted, would, "{name}: {value}");
        }
    }
    assert_eq!(origin.requests(), 8);
}

#[tokio::test]
async fn fields_of_answers_are_rehearsed_beside_other_conditions() {
    let origin = Origin::start().await;
    let again = "mode: Observe, retry: { headers: [{ name: x-again, value: please }] }";
    let documents = small("http", &[origin.address()])
        .route("catalog", "- backendRefs: [{ name: catalog, port: 80 }]")
        .with(&policy("RoutePolicy", "now", ROUTE, "retry: { codes: [503] }"))
        .with(&policy("RoutePolicy", "soon", ROUTE, again));
    let mut mesh = Mesh::standalone(documents).await;
    for (path, would) in [("/with?x-again=please", 1.0), ("/with?x-again=no", 1.0), ("/", 1.0)] {
        assert_eq!(mesh.get(path).await.status, 200);
        let counted = mesh.caller().metric("outrigger_observed_total", &["would=\"retry\""]).await;
        assert_eq!(counted, would, "{path}");
    }
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn a_hedge_at_a_percentile_is_rehearsed_beside_the_default() {
    let origin = Origin::start().await;
    let policy = "mode: Observe\nretry: { hedge: { percentile: 50 } }";
    let mut mesh = Mesh::standalone(small("http", &[origin.address()]).route_policy("catalog", policy)).await;
    mesh.many("/", 150).await;
    let counted = async |mesh: &mut Mesh| mesh.caller().metric("outrigger_observed_total", &["would=\"hedge\""]).await;
    let before = counted(&mut mesh).await;
    origin.delay(std::time::Duration::from_millis(500));
    assert_eq!(mesh.get("/").await.status, 200);
    assert_eq!((counted(&mut mesh).await - before, origin.requests()), (1.0, 151));
}
