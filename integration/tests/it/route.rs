//! Which request goes where: hosts, and Gateway API's matches and precedence.

use outrigger_config::record::Record;
use outrigger_integration::client::{get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;

/// `catalog` and `beta`, and an HTTPRoute on `catalog` with these rules.
async fn routed(rules: &str) -> ([Origin; 2], Mesh) {
    let origins = [Origin::named("catalog").await, Origin::named("beta").await];
    let documents =
        small("http", &[origins[0].address()]).service("beta", "http", &[origins[1].address()]).route("catalog", rules);
    (origins, Mesh::standalone(documents).await)
}

const BETA: &str = "backendRefs: [{ name: beta, port: 80 }]";

#[tokio::test]
async fn a_service_answers_to_all_its_names() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    for host in ["catalog", "catalog:80", "catalog.shop", "catalog.shop.svc.cluster.local", "CATALOG.shop:80"] {
        assert_eq!(mesh.send(get(host, "/")).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_not_found_and_says_so() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let reply = mesh.send(get("nowhere", "/")).await;
    assert_eq!((reply.status, reply.reason()), (404, Some("destination_not_found")));
}

#[tokio::test]
async fn a_bound_listener_takes_any_host() {
    let origin = Origin::start().await;
    let documents = Documents::new().service("catalog", "http", &[origin.address()]).bound(CALLER, "catalog");
    let mesh = Mesh::standalone(documents).await;
    assert_eq!(mesh.send(get("whatever.example", "/")).await.status, 200);
}

#[tokio::test]
async fn a_service_without_workloads_is_unavailable_at_once_and_says_so() {
    let mut mesh = Mesh::of("http", &[]).await;
    let reply = mesh.send(get("catalog", "/").with("x-outrigger-explain", "1")).await;
    assert_eq!((reply.status, reply.reason()), (503, Some("no_healthy_endpoint")));
    // Nobody is there to try again, as in Envoy.
    let record = Record::read(reply.header("x-outrigger-explain").unwrap().as_bytes()).unwrap();
    assert_eq!(record.kept, ["failed", "asked"]);
    assert_eq!(mesh.caller().metric("outrigger_retries_total", &[]).await, 0.0);
}

#[tokio::test]
async fn each_kind_of_match_decides() {
    let cases = [
        ("path: { type: Exact, value: /a }", "/a", "/a/b"),
        ("path: { type: PathPrefix, value: /a }", "/a/b", "/ab"),
        ("path: { type: RegularExpression, value: \"/v[0-9]+/.*\" }", "/v12/x", "/vx/x"),
        ("queryParams: [{ name: beta, value: \"1\" }]", "/?x=2&beta=1", "/?beta=2"),
    ];
    for (one, hit, miss) in cases {
        let rules = format!("- {{ matches: [{{ {one} }}], {BETA} }}\n- backendRefs: [{{ name: catalog, port: 80 }}]");
        let (_origins, mesh) = routed(&rules).await;
        assert_eq!(mesh.get(hit).await.header("x-origin"), Some("beta"), "{one} on {hit}");
        assert_eq!(mesh.get(miss).await.header("x-origin"), Some("catalog"), "{one} on {miss}");
    }
}

#[tokio::test]
async fn headers_and_methods_decide() {
    let rules = format!(
        "- {{ matches: [{{ method: POST }}, {{ headers: [{{ name: x-group, value: beta }}] }}], {BETA} }}\n- backendRefs: [{{ name: catalog, port: 80 }}]"
    );
    let (_origins, mesh) = routed(&rules).await;
    assert_eq!(mesh.send(post("catalog", "/", "x")).await.header("x-origin"), Some("beta"));
    assert_eq!(mesh.send(get("catalog", "/").with("X-Group", "beta")).await.header("x-origin"), Some("beta"));
    assert_eq!(mesh.send(get("catalog", "/").with("x-group", "alpha")).await.header("x-origin"), Some("catalog"));
}

#[tokio::test]
async fn the_longer_path_wins_whatever_the_order() {
    let rules = format!(
        "- {{ matches: [{{ path: {{ value: / }} }}], backendRefs: [{{ name: catalog, port: 80 }}] }}\n- {{ matches: [{{ path: {{ value: /deep/er }} }}], {BETA} }}"
    );
    let (_origins, mesh) = routed(&rules).await;
    assert_eq!(mesh.get("/deep/er/still").await.header("x-origin"), Some("beta"));
    assert_eq!(mesh.get("/deep").await.header("x-origin"), Some("catalog"));
}

#[tokio::test]
async fn what_no_rule_takes_is_not_found() {
    let (_origins, mesh) = routed(&format!("- {{ matches: [{{ path: {{ value: /beta }} }}], {BETA} }}")).await;
    let reply = mesh.get("/other").await;
    assert_eq!((reply.status, reply.reason()), (404, Some("destination_not_found")));
}

const COOKIES: &str = "
- matches: [{ cookies: [{ name: user, value: ada }] }, { path: { type: PathTemplate, value: \"/users/{id}/beta\" } }]
  backendRefs: [{ name: beta, port: 80 }]
- matches: [{ path: { value: /users } }, {}]
  backendRefs: [{ name: catalog, port: 80 }]";

#[tokio::test]
async fn cookies_and_templates_decide() {
    let (_origins, mesh) = routed(COOKIES).await;
    for (path, cookies, service) in [
        ("/", &["user=ada"][..], "beta"),
        ("/", &["a=b; user=ada"], "beta"),
        ("/", &["a=b", "user=ada"], "beta"),
        ("/", &["user=adam"], "catalog"),
        ("/", &[], "catalog"),
        ("/users/7/beta", &[], "beta"),
        ("/users/7/8/beta", &[], "catalog"),
        ("/users//beta", &[], "catalog"),
    ] {
        for mut client in [mesh.http1().await, mesh.http2().await] {
            let ask = cookies.iter().fold(get("catalog", path), |ask, cookie| ask.with("cookie", cookie));
            assert_eq!(client.send(ask).await.header("x-origin"), Some(service), "{path} {cookies:?}");
        }
    }
}
