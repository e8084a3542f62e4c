//! Spans: one SERVER inbound, one CLIENT for every attempt outbound, joined to what the caller began, and named after the
//! workload and not after the proxy.

use outrigger_integration::client::{Ask, get};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::otlp::{Receiver, Span};
use outrigger_integration::wait;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A caller and a service with a sidecar each, every span sent to the receiver.
async fn traced(documents: Documents) -> (Receiver, Mesh) {
    traced_with(documents, &[]).await
}

/// The same, with more variables.
async fn traced_with(documents: Documents, more: &[(&str, &str)]) -> (Receiver, Mesh) {
    let receiver = Receiver::start().await;
    let endpoint = receiver.endpoint();
    let mesh = Mesh::steered_with(documents, |start| {
        let start = start.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "200");
        more.iter().fold(start, |start, (name, value)| start.env(name, value))
    })
    .await;
    (receiver, mesh)
}

fn pair(origin: &Origin) -> Documents {
    Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .caller(CALLER)
}

fn joined(path: &str) -> Ask {
    get("catalog", path).with("traceparent", &format!("00-{TRACE}-{PARENT}-01"))
}

fn of_kind<'a>(spans: &'a [Span], kind: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[tokio::test]
async fn a_hop_is_a_client_and_a_server_span() {
    let origin = Origin::start().await;
    let (receiver, mesh) = traced(pair(&origin)).await;
    assert_eq!(mesh.send(joined("/request")).await.status, 200);
    let spans = receiver.trace(TRACE, 2).await;
    let (client, server) = (of_kind(&spans, "CLIENT")[0], of_kind(&spans, "SERVER")[0]);
    assert_eq!((client.parent.as_str(), server.parent.as_str()), (PARENT, client.id.as_str()));
    assert_eq!((client.service.as_str(), server.service.as_str()), ("web", "catalog"));
    assert_eq!((client.get("outrigger.hop"), server.get("outrigger.hop")), ("outbound", "inbound"));
    assert_eq!(server.resource["telemetry.distro.name"], "outrigger");
    for span in [client, server] {
        assert_eq!((span.get("http.request.method"), span.get("url.path")), ("GET", "/request"));
        assert_eq!((span.get("http.response.status_code"), span.error), ("200", false));
        assert!(span.name.starts_with("GET"), "{}", span.name);
    }
    let passed_on = origin.seen()[0].headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(passed_on, format!("00-{TRACE}-{}-01", server.id), "the app's spans hang below ours");
}

#[tokio::test]
async fn every_attempt_is_a_span_of_its_own() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", "retry: { attempts: 2, codes: [503] }");
    let (receiver, mesh) = traced(documents).await;
    origin.fail_next(1, 503);
    assert_eq!(mesh.send(joined("/")).await.status, 200);
    let spans = receiver.trace(TRACE, 2).await;
    let mut attempts = of_kind(&spans, "CLIENT");
    attempts.sort_by_key(|span| span.get("http.request.resend_count").to_owned());
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|span| span.parent == PARENT), "siblings, not nested");
    assert_eq!((attempts[0].get("http.response.status_code"), attempts[0].error), ("503", true));
    assert_eq!((attempts[1].get("http.response.status_code"), attempts[1].error), ("200", false));
    assert_eq!(attempts[1].get("http.request.resend_count"), "1");
    assert!(!attempts[1].get("outrigger.retry.reason").is_empty());
}

#[tokio::test]
async fn a_trace_that_begins_here_is_one_trace() {
    let origin = Origin::start().await;
    let (receiver, mesh) = traced(pair(&origin)).await;
    mesh.get("/").await;
    let spans = wait::until("two spans", async || Some(receiver.spans()).filter(|spans| spans.len() >= 2)).await;
    assert!(spans.iter().all(|span| span.trace == spans[0].trace), "{spans:#?}");
    let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    assert_eq!((roots.len(), roots[0].kind.as_str()), (1, "CLIENT"), "a lone attempt is the root");
}

#[tokio::test]
async fn several_attempts_of_a_trace_that_begins_here_have_one_root() {
    for hedge in ["", ", hedge: { delay: 5s }"] {
        let origin = Origin::start().await;
        let policy = format!("retry: {{ attempts: 2, codes: [503], backoff: {{ base: 100ms }}{hedge} }}");
        let documents = small("http", &[origin.address()]).route_policy("catalog", &policy);
        let (receiver, mesh) = traced(documents).await;
        origin.fail_next(1, 503);
        assert_eq!(mesh.get("/").await.status, 200);
        let spans = wait::until("three spans", async || Some(receiver.spans()).filter(|spans| spans.len() >= 3)).await;
        assert!(spans.iter().all(|span| span.trace == spans[0].trace), "{spans:#?}");
        let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
        assert_eq!((roots.len(), roots[0].kind.as_str()), (1, "INTERNAL"), "{policy}");
    }
}

#[tokio::test]
async fn b3_is_read() {
    let origin = Origin::start().await;
    let (receiver, mesh) = traced(pair(&origin)).await;
    mesh.send(get("catalog", "/").with("b3", &format!("{TRACE}-{PARENT}-1"))).await;
    let spans = receiver.trace(TRACE, 2).await;
    assert_eq!(of_kind(&spans, "CLIENT")[0].parent, PARENT);
}

#[tokio::test]
async fn b3_in_several_fields_is_read_and_told_in_them() {
    let origin = Origin::start().await;
    let (receiver, mesh) = traced(pair(&origin)).await;
    let ask = get("catalog", "/").with("x-b3-traceid", TRACE).with("x-b3-spanid", PARENT).with("x-b3-sampled", "1");
    mesh.send(ask).await;
    let spans = receiver.trace(TRACE, 2).await;
    let server = of_kind(&spans, "SERVER")[0];
    assert_eq!(of_kind(&spans, "CLIENT")[0].parent, PARENT);
    let seen = &origin.seen()[0].headers;
    assert_eq!((&seen["x-b3-traceid"], &seen["x-b3-sampled"]), (&TRACE.parse().unwrap(), &"1".parse().unwrap()));
    assert_eq!(seen["x-b3-spanid"].to_str().unwrap(), server.id, "a reader of B3 alone finds its parent");
    assert_eq!(seen["traceparent"].to_str().unwrap(), format!("00-{TRACE}-{}-01", server.id));
}

#[tokio::test]
async fn what_vendors_and_applications_carry_arrives_as_it_was_sent() {
    let origin = Origin::start().await;
    let (_receiver, mesh) = traced(pair(&origin)).await;
    let carried = [("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa"), ("baggage", "user=ada;meta=1, tier=g%20old")];
    let ask = carried.iter().fold(joined("/"), |ask, (name, value)| ask.with(name, value));
    mesh.send(ask).await;
    mesh.get("/").await;
    let seen = origin.seen();
    for (name, value) in carried {
        assert_eq!(seen[0].headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        assert!(!seen[1].headers.contains_key(name), "{name} is made up");
    }
}

#[tokio::test]
async fn a_callers_decision_not_to_sample_is_kept() {
    let origin = Origin::start().await;
    let (receiver, mesh) = traced(pair(&origin)).await;
    mesh.send(get("catalog", "/").with("traceparent", &format!("00-{TRACE}-{PARENT}-00"))).await;
    let other = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    mesh.send(get("catalog", "/").with("traceparent", &format!("00-{other}-{PARENT}-01"))).await;
    receiver.trace(other, 2).await;
    assert!(receiver.spans().iter().all(|span| span.trace != TRACE));
    let passed_on = origin.seen()[0].headers["traceparent"].to_str().unwrap().to_owned();
    assert!(passed_on.starts_with(&format!("00-{TRACE}-")) && passed_on.ends_with("-00"), "{passed_on}");
}

#[tokio::test]
async fn the_environments_sampler_counts_before_the_policy() {
    let origin = Origin::start().await;
    // The policy of these documents keeps every trace that begins in the mesh.
    let (receiver, mut mesh) = traced_with(pair(&origin), &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    mesh.get("/").await;
    mesh.send(joined("/")).await;
    receiver.trace(TRACE, 2).await;
    assert!(receiver.spans().iter().all(|span| span.trace == TRACE), "no trace begins here");
    assert!(mesh.caller().process().said("what callers decided, else 0 %"), "the log says whose word counts");

    let (receiver, mesh) = traced_with(pair(&origin), &[("OTEL_TRACES_SAMPLER", "always_on")]).await;
    mesh.send(get("catalog", "/").with("traceparent", &format!("00-{TRACE}-{PARENT}-00"))).await;
    receiver.trace(TRACE, 2).await;
    let told = origin.seen().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01"), "{told}");
}

#[tokio::test]
async fn the_workload_counts_before_the_environment_and_the_environment_before_nothing() {
    let origin = Origin::start().await;
    let said = [
        ("OTEL_SERVICE_NAME", "of-the-environment"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=an-attribute,deployment.environment.name=test"),
    ];
    let (receiver, mesh) = traced_with(pair(&origin), &said).await;
    mesh.send(joined("/")).await;
    let spans = receiver.trace(TRACE, 2).await;
    let mut names: Vec<_> = spans.iter().map(|span| span.service.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["catalog", "web"]);
    assert!(spans.iter().all(|span| span.resource["deployment.environment.name"] == "test"), "{spans:#?}");
}

#[tokio::test]
async fn a_refusal_says_its_reason_in_the_span() {
    let (receiver, mesh) = traced(small("http", &[outrigger_integration::ports::free()])).await;
    assert_eq!(mesh.send(joined("/")).await.status, 503);
    let spans = receiver.trace(TRACE, 1).await;
    assert!(spans.iter().any(|span| span.error && span.get("error.type") == "connection_refused"), "{spans:#?}");
}

#[tokio::test]
async fn each_request_is_a_line_of_json_where_that_is_asked_for() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).with(
        "
apiVersion: outrigger.dev/v1alpha1
kind: MeshPolicy
metadata: { name: default, namespace: shop }
spec: { accessLog: {} }",
    );
    let mut mesh = Mesh::standalone(documents).await;
    mesh.get("/status/404").await;
    let line = wait::until("the line", async || {
        let lines = mesh.caller().process().lines();
        lines.iter().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
    })
    .await;
    let text = line.to_string();
    assert!(text.contains("404") && text.contains("/status/404") && text.contains("GET"), "{text}");
}

#[tokio::test]
async fn the_control_plane_keeps_the_traces_and_the_graph() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(pair(&origin)).await;
    mesh.many("/", 20).await;
    mesh.send(joined("/")).await;
    let trace = wait::until("the trace", async || {
        let reply = mesh.control_plane().get(&format!("/api/v1/traces/{TRACE}")).await;
        (reply.status == 200 && reply.json()["spans"].as_array()?.len() >= 2).then(|| reply.json())
    })
    .await;
    assert_eq!(trace["trace_id"], TRACE);
    let edge = wait::until("the edge", async || {
        let graph = mesh.control_plane().get("/api/v1/graph").await.json();
        let edges = graph["edges"].as_array()?;
        edges.iter().find(|edge| edge["source"] == "web" && edge["destination"] == "catalog").cloned()
    })
    .await;
    assert!(edge["windows"]["60s"]["requests"].as_f64().unwrap() >= 1.0, "{edge}");
}
