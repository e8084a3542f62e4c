//! How a request was decided can be asked for: in its own answer, at the admin port and on the command line.

use outrigger_config::record::Record;
use outrigger_integration::binaries;
use outrigger_integration::client::{Ask, Client, get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::ports;
use outrigger_integration::process::Process;
use outrigger_integration::proxy::Start;
use outrigger_integration::wait;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const FIELD: &str = "x-outrigger-explain";

fn traced(path: &str) -> Ask {
    get("catalog", path).with("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-00"))
}

fn read(text: &str) -> Record {
    Record::read(text.as_bytes()).expect("a record")
}

/// A route with a near miss, a split and retries, whose first endpoint is not there.
fn documents(origin: &Origin) -> Documents {
    small("http", &[ports::free(), origin.address()])
        .route(
            "catalog",
            "- name: beta\n  matches: [{ headers: [{ name: x-beta, value: \"yes\" }] }]\n  backendRefs: [{ name: catalog, port: 80 }]\n- name: all\n  backendRefs: [{ name: catalog, port: 80 }]",
        )
        .backend_policy("catalog", "loadBalancing: { algorithm: RoundRobin }\nlimits: { maxRequests: 9 }")
}

#[tokio::test]
async fn a_retried_request_is_explained_on_the_command_line_though_nobody_samples_it() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(documents(&origin)).await;
    // In turn: one of two begins with the endpoint that is not there.
    for _ in 0..2 {
        assert_eq!(mesh.send(traced("/items?secret=1")).await.status, 200);
    }
    let server = format!("http://{}", mesh.control_plane().api());
    let printed = wait::until("the record", async || {
        let printed = Process::run(binaries::cli(), ["--server", &server, "explain", TRACE]).await;
        printed.lines.first().is_some_and(|line| line.starts_with("GET")).then_some(printed.lines.join("\n"))
    })
    .await;
    let expected =
        ["because: retried", "wants field x-beta=yes", "connection_refused", " of 9", "chosen by round robin"];
    for words in expected {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert!(!printed.contains("secret"), "{printed}");
    let printed = Process::run(binaries::cli(), ["--server", &server, "explain", TRACE, "-o", "json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&printed.lines.join("\n")).unwrap();
    let record: Record = serde_json::from_value(answer["records"][0].clone()).unwrap();
    assert_eq!((record.attempts.len(), record.attempts[1].status, record.answer.status), (2, 200, 200));
    assert_eq!(record.destination.expect("a destination").endpoints.len(), 2, "the candidates of the second attempt");
    let listed = Process::run(binaries::cli(), ["--server", &server, "explain"]).await;
    assert!(listed.lines.iter().any(|line| line.contains(TRACE)), "{:#?}", listed.lines);
}

#[tokio::test]
async fn the_workload_beside_the_proxy_asks_in_band_and_nobody_behind_it_hears() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::standalone(small("http", &[origin.address()])).await;
    let plain = mesh.send(traced("/")).await;
    assert!(plain.header(FIELD).is_none());
    let reply = mesh.send(traced("/").with(FIELD, "1")).await;
    let record = read(reply.header(FIELD).expect("a record"));
    assert_eq!((record.trace.as_str(), record.kept, record.attempts.len()), (TRACE, vec!["asked".to_owned()], 1));
    assert_eq!(record.destination.expect("a destination").endpoints[0].address, origin.address().to_string());
    assert!(origin.seen().iter().all(|seen| !seen.headers.contains_key(FIELD)));
    let missed = mesh.send(get("nothing", "/").with(FIELD, "1")).await;
    let record = read(missed.header(FIELD).expect("a record"));
    assert_eq!((missed.status, record.missed[0].because.as_str()), (404, "is another host"));
    let found = mesh.caller().admin_json(&format!("/explain?trace={TRACE}")).await;
    assert_eq!(found.as_array().map(Vec::len), Some(1), "only what was asked about is kept: {found:#}");
    assert!(mesh.caller().admin("/explain").await.text().contains("destination_not_found"));
    assert_eq!(mesh.caller().admin("/explain?trace=x").await.status, 400);
}

#[tokio::test]
async fn with_a_token_only_whoever_says_it_is_answered() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let documents = small("http", &[origin.address()]);
    let _proxy = Start::standalone(&documents, CALLER).arg("--explain-token").arg(&file).ready().await;
    let address = documents.outbound(CALLER);
    for (said, heard) in [("1", false), ("0123456789abcdeX", false), ("0123456789abcdef", true)] {
        let mut client = outrigger_integration::client::Client::http1(address).await;
        let reply = client.send(traced("/").with(FIELD, said)).await;
        assert_eq!(reply.header(FIELD).is_some(), heard, "{said}");
    }
    assert!(origin.seen().iter().all(|seen| !seen.headers.contains_key(FIELD)), "the token stays here");
}

#[tokio::test]
async fn what_is_asked_from_outside_is_neither_answered_nor_passed_on() {
    let origin = Origin::start().await;
    let documents =
        Documents::new().selecting("catalog", "http", "app: catalog").sidecar("catalog-1", "catalog", origin.address());
    let mesh = Mesh::standalone_of(documents, "catalog-1").await;
    let address = mesh.documents().inbound("catalog-1");
    let mut client = outrigger_integration::client::Client::http1(address).await;
    let reply = client.send(traced("/").with(FIELD, "1")).await;
    assert_eq!((reply.status, reply.header(FIELD)), (200, None));
    assert!(!origin.seen()[0].headers.contains_key(FIELD));
}

#[tokio::test]
async fn what_checks_found_and_who_lost_to_a_hedge_is_recorded() {
    let (slow, quick) = (Origin::named("slow").await, Origin::named("quick").await);
    slow.delay(std::time::Duration::from_secs(3));
    let documents = small("http", &[ports::free(), slow.address(), quick.address()])
        .route_policy("catalog", "retry: { hedge: { delay: 50ms } }")
        .backend_policy(
            "catalog",
            "loadBalancing: { algorithm: RoundRobin }\nhealthCheck: { interval: 50ms, timeout: 500ms, unhealthyThreshold: 1, tcp: {} }",
        );
    let mut mesh = Mesh::standalone(documents).await;
    wait::until("the checks to find out", async || {
        (mesh.caller().metric("outrigger_endpoints", &["state=\"failing\""]).await == 1.0).then_some(())
    })
    .await;
    let asked = || get("catalog", "/").with(FIELD, "1");
    let record = wait::until("a hedge", async || {
        let reply = mesh.send(asked()).await;
        let record = read(reply.header(FIELD).expect("the record"));
        (record.attempts.len() == 2).then_some(record)
    })
    .await;
    assert_eq!((record.attempts[0].lost, record.attempts[1].lost), (true, false), "{record:#?}");
    assert_eq!(record.attempts[1].cause.as_deref(), Some("hedge"));
    let candidates = record.destination.expect("a destination").endpoints;
    assert_eq!(candidates[0].state, "failing", "{candidates:?}");
    assert!(candidates[0].check.as_ref().is_some_and(|why| why.contains("connection_refused")), "{candidates:?}");
    let says = |about: &str| record.policies.iter().find(|one| one.about == about).map(|one| one.says.clone());
    assert!(
        says("retry").is_some_and(|says| says.contains("another beside one that takes 50ms")),
        "{:?}",
        record.policies
    );
    assert!(says("health check").is_some_and(|says| says.contains("a connection every 50ms")), "{:?}", record.policies);
}

#[tokio::test]
async fn what_was_wished_for_withheld_and_rehearsed_is_recorded() {
    let origin = Origin::start().await;
    let policy = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
             targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }}]\n  {spec}"
        )
    };
    let documents = small("http", &[origin.address()])
        .route_policy("catalog", "retry: { codes: [503] }")
        .with(&policy("RoutePolicy", "soon", "mode: Observe\n  retry: { attempts: 4, codes: [500] }"))
        .with(&policy("RateLimitPolicy", "calls", "rules: [{ name: all, limit: { requests: 9, interval: 60s } }]"));
    let mesh = Mesh::standalone(documents).await;
    origin.fail_with(503);
    let ask = post("catalog", "/", "x").with("x-envoy-max-retries", "3").with("x-envoy-upstream-rq-timeout-ms", "7000");
    let reply = mesh.send(ask.with(FIELD, "1")).await;
    let record = read(reply.header(FIELD).expect("the record"));
    assert_eq!(record.withheld.as_deref(), Some("method"), "{record:#?}");
    assert_eq!((record.buckets[0].rule.as_str(), record.buckets[0].left, record.buckets[0].of), ("all", 8, 9));
    let of = |about: &str| record.policies.iter().filter(|one| one.about == about).collect::<Vec<_>>();
    let retries = of("retry");
    assert_eq!(retries[0].origin, "x-envoy-* of the caller, over RoutePolicy shop/catalog");
    assert!(retries[0].says.starts_with("at most 3 on"), "{retries:#?}");
    assert_eq!((retries[1].origin.as_str(), retries[1].observe), ("RoutePolicy shop/soon", true), "{retries:#?}");
    assert!(of("timeouts")[0].says.contains("request 7s"), "{:#?}", record.policies);
    assert!(of("timeouts")[0].origin.starts_with("x-envoy-* of the caller"), "{:#?}", record.policies);
    let plain = mesh.send(get("catalog", "/").with(FIELD, "1")).await;
    let record = read(plain.header(FIELD).expect("the record"));
    assert!(record.policies.iter().any(|one| one.about == "retry" && one.origin == "RoutePolicy shop/catalog"));
}

#[tokio::test]
async fn what_a_service_bears_is_recorded() {
    let origin = Origin::start().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .rate_limit_policy("catalog", "adaptiveConcurrency: { minConcurrency: 4, maxConcurrency: 4 }");
    let mut mesh = Mesh::standalone_of(documents, "catalog-1").await;
    origin.fail_with(500);
    let mut client = Client::http1(mesh.documents().inbound("catalog-1")).await;
    assert_eq!(client.send(traced("/")).await.status, 500);
    let found = wait::until("the record", async || {
        let found = mesh.proxy("catalog-1").admin_json(&format!("/explain?trace={TRACE}")).await;
        found.get(0).cloned()
    })
    .await;
    let record: Record = serde_json::from_value(found).unwrap();
    assert_eq!((record.concurrency[0].max, record.concurrency[0].observe), (4, false), "{record:#?}");
    let policy = record.policies.iter().find(|one| one.about == "adaptive concurrency").expect("the policy");
    assert_eq!(policy.origin, "RateLimitPolicy shop/catalog");
}
