//! Header fields that a route adds, sets and takes out, on the way there and on the way back.

use outrigger_integration::client::{get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;

const REQUEST: &str = "
- filters:
  - type: RequestHeaderModifier
    requestHeaderModifier:
      set: [{ name: X-Set, value: route }]
      add: [{ name: x-add, value: \"50% more\" }]
      remove: [x-gone]
  - type: ResponseHeaderModifier
    responseHeaderModifier:
      set: [{ name: x-origin, value: hidden }]
      add: [{ name: x-added, value: back }]
  backendRefs: [{ name: catalog, port: 80 }]";

#[tokio::test]
async fn a_rule_changes_request_and_response_in_both_protocols() {
    let origin = Origin::start().await;
    for protocol in ["http", "kubernetes.io/h2c"] {
        let mesh = Mesh::standalone(small(protocol, &[origin.address()]).route("catalog", REQUEST)).await;
        for mut client in [mesh.http1().await, mesh.http2().await] {
            let ask = get(SERVICE, "/").with("x-set", "mine").with("x-set", "twice").with("x-add", "mine");
            let reply = client.send(ask.with("x-gone", "1").with("x-kept", "1")).await;
            assert_eq!((reply.header("x-origin"), reply.header("x-added")), (Some("hidden"), Some("back")));
            let seen = origin.seen().pop().expect("a request came").headers;
            let values = |name: &str| seen.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!(values("x-set"), ["route"]);
            assert_eq!(values("x-add"), ["mine", "50% more"]);
            assert_eq!((values("x-gone").len(), values("x-kept").len()), (0, 1));
        }
    }
}

#[tokio::test]
async fn a_backends_changes_hold_on_its_way_alone_and_over_the_rules() {
    let (first, second) = (Origin::named("v1").await, Origin::named("v2").await);
    let rules = "
- filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-way, value: rule }] } }]
  backendRefs:
  - { name: catalog, port: 80 }
  - name: beta
    port: 80
    filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-way, value: beta }] } }]";
    let documents =
        small("http", &[first.address()]).service("beta", "http", &[second.address()]).route("catalog", rules);
    // Over xDS: what the control plane says is what holds.
    let mesh = Mesh::steered(documents).await;
    mesh.many("/", 100).await;
    for (origin, way) in [(&first, "rule"), (&second, "beta")] {
        let seen = origin.seen();
        assert!(!seen.is_empty() && seen.iter().all(|one| one.headers["x-way"] == way), "{way}");
    }
}

#[tokio::test]
async fn every_attempt_is_changed_alike_and_once() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .route("catalog", REQUEST)
        .policy_of_route(SERVICE, "retry: { attempts: 2, codes: [503], methods: [\"*\"] }");
    let mesh = Mesh::standalone(documents).await;
    origin.fail_next(2, 503);
    let reply = mesh.send(post(SERVICE, "/echo", "body").with("x-add", "mine")).await;
    assert_eq!((reply.status, reply.body.as_ref()), (200, &b"body"[..]));
    let seen = origin.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|one| one.headers.get_all("x-add").iter().count() == 2));
}

#[tokio::test]
async fn what_the_proxy_answers_itself_is_not_changed() {
    let documents = Documents::new().service("catalog", "http", &[]).caller(CALLER).route("catalog", REQUEST);
    let reply = Mesh::standalone(documents).await.get("/").await;
    assert_eq!((reply.reason(), reply.header("x-added")), (Some("no_healthy_endpoint"), None));
}
