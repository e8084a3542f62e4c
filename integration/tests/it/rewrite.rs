//! Rewritten hosts and paths, redirects, and routes that answer by themselves.

use outrigger_integration::call::Call;
use outrigger_integration::client::{get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;

/// A rule of `/old` with this filter, and whether it leads to `catalog`.
fn rule(filter: &str, leads: bool) -> String {
    let backends = if leads { "\n  backendRefs: [{ name: catalog, port: 80 }]" } else { "" };
    format!("- matches: [{{ path: {{ value: /old }} }}]\n  filters: [{{ {filter} }}]{backends}")
}

#[tokio::test]
async fn path_and_host_are_rewritten_and_the_query_stays() {
    let origin = Origin::start().await;
    let filter = "type: URLRewrite, urlRewrite: { hostname: inner.example, path: { type: ReplacePrefixMatch, replacePrefixMatch: /request } }";
    for protocol in ["http", "kubernetes.io/h2c"] {
        let mesh = Mesh::standalone(small(protocol, &[origin.address()]).route("catalog", &rule(filter, true))).await;
        for mut client in [mesh.http1().await, mesh.http2().await] {
            let reply = client.send(get(SERVICE, "/old//a/../b/?c=/../d")).await;
            let head: serde_json::Value = serde_json::from_slice(&reply.body).expect("the request's head");
            assert_eq!((&head["path"], &head["host"]), (&"/request/b/?c=/../d".into(), &"inner.example".into()));
        }
    }
}

#[tokio::test]
async fn no_request_leaves_the_subtree_it_is_rewritten_to() {
    let origin = Origin::start().await;
    let filter = "type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /public } }";
    let mesh = Mesh::standalone(small("http", &[origin.address()]).route("catalog", &rule(filter, true))).await;
    // Dots are resolved before anything is matched: the rule does not take what leaves it.
    for path in ["/old/../secret", "/old/a/../../secret", "/old/%2e%2E/secret"] {
        let reply = mesh.get(path).await;
        assert_eq!((reply.status, reply.reason()), (404, Some("destination_not_found")), "{path}");
    }
    let reply = mesh.get("/old/..%2fsecret").await;
    assert_eq!((reply.status, reply.reason()), (400, Some("http_request_denied")));
    assert_eq!(origin.requests(), 0);
    assert_eq!(mesh.get("/old/a/../b").await.status, 200);
    assert_eq!(origin.seen()[0].path, "/public/b");
}

#[tokio::test]
async fn a_redirect_says_where_to_ask_again() {
    let cases = [
        ("hostname: new.example", 302, "http://new.example/old/a?b=c"),
        ("scheme: https, statusCode: 301", 301, "https://catalog/old/a?b=c"),
        ("port: 8443, scheme: https, statusCode: 308", 308, "https://catalog:8443/old/a?b=c"),
        ("path: { type: ReplacePrefixMatch, replacePrefixMatch: / }", 302, "http://catalog/a?b=c"),
        ("path: { type: ReplaceFullPath, replaceFullPath: /one }, statusCode: 307", 307, "http://catalog/one?b=c"),
    ];
    for (fields, status, location) in cases {
        let filter = format!("type: RequestRedirect, requestRedirect: {{ {fields} }}");
        let documents = Documents::new().service("catalog", "http", &[]).caller(CALLER);
        let mesh = Mesh::standalone(documents.route("catalog", &rule(&filter, false))).await;
        let reply = mesh.send(post(SERVICE, "/old/a?b=c", "a body that nobody reads")).await;
        assert_eq!((reply.status, reply.header("location")), (status, Some(location)), "{fields}");
    }
}

#[tokio::test]
async fn a_redirect_without_a_place_to_go_is_none() {
    let filter = "type: RequestRedirect, requestRedirect: { hostname: new.example }";
    let documents = Documents::new().service("catalog", "http", &[]).caller(CALLER);
    let mesh = Mesh::standalone(documents.route("catalog", &rule(filter, false))).await;
    let mut wire = mesh.wire().await;
    // A query that no header field can say.
    wire.send("GET /old/a?b=\u{7f} HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    let response = wire.response().await;
    assert_eq!((response.status, response.reason()), (400, Some("http_request_denied")));
}

#[tokio::test]
async fn a_reset_has_no_body() {
    let documents = Documents::new()
        .service("catalog", "http", &[])
        .caller(CALLER)
        .route_policy("catalog", "directResponse: { status: 205 }");
    let mesh = Mesh::standalone(documents).await;
    let mut wire = mesh.wire().await;
    for _ in 0..2 {
        wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        let response = wire.response().await;
        // RFC 9110, 15.3.6: it must say that nothing comes, or the caller would wait.
        assert_eq!((response.status, response.head.get("content-length"), response.body.len()), (205, Some("0"), 0));
    }
}

const CLOSED: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: { name: closed, namespace: shop }
spec:
  targetRefs: [{ group: \"\", kind: Service, name: catalog }]
  directResponse: { status: 503, body: \"back at nine\" }";

#[tokio::test]
async fn a_policy_closes_a_service_and_opens_it_again() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    assert_eq!(mesh.get("/").await.status, 200);
    mesh.apply(CLOSED).await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.body.as_ref(), reply.reason()), (503, &b"back at nine"[..], None));
    let head = mesh.send(outrigger_integration::client::ask(
        http::Method::HEAD,
        SERVICE,
        "/",
        outrigger_integration::behaviour::empty(),
    ));
    assert_eq!(head.await.body.len(), 0);
    mesh.control_plane().delete("RoutePolicy", "closed").await;
    mesh.control_plane().synced(CALLER).await;
    assert_eq!((mesh.get("/").await.status, origin.requests()), (200, 2));
}

#[tokio::test]
async fn a_grpc_caller_gets_a_status_of_its_own() {
    let mesh = Mesh::standalone(small("kubernetes.io/h2c", &[]).with(CLOSED)).await;
    let mut call = Call::open(&mut mesh.http2().await, SERVICE, "Unary", &[], "a").await;
    assert_eq!(call.end().await, (Vec::new(), Some(14)));
}
