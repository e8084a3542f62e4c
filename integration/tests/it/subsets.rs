//! Subsets: a Service is divided by labels of its workloads, routes pick the parts, and nobody else gets what is meant
//! for one.

use std::collections::BTreeMap;

use outrigger_config::record::Record;
use outrigger_integration::client::{Ask, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, SERVICE};
use outrigger_integration::origin::Origin;
use outrigger_integration::{envoy, peers, wait};

use super::peers_envoy::answers;

/// `catalog` with a workload of each version, divided by `subsets`.
fn documents(origins: &[(&str, &Origin)], subsets: &str, rules: &str) -> Documents {
    balanced("RoundRobin", origins, subsets, rules)
}

fn balanced(algorithm: &str, origins: &[(&str, &Origin)], subsets: &str, rules: &str) -> Documents {
    let policy = format!("loadBalancing: {{ algorithm: {algorithm}, subsets: {{ {subsets} }} }}");
    let mut documents = Documents::new()
        .selecting(SERVICE, "http", "app: catalog")
        .caller(CALLER)
        .backend_policy(SERVICE, &policy)
        .route(SERVICE, rules);
    for (number, (version, origin)) in origins.iter().enumerate() {
        let labels = format!("app: catalog, version: {version}");
        documents = documents.workload(&format!("catalog-{number}"), &labels, origin.address());
    }
    documents
}

const BY_VERSION: &str = "selectors: [{ keys: [version] }]";

/// Backends of these versions and weights.
fn split(of: &[(&str, u32)]) -> String {
    let backend = |(version, weight): &(&str, u32)| {
        format!("{{ name: catalog, port: 80, weight: {weight}, subset: {{ version: {version} }} }}")
    };
    format!("- backendRefs: [{}]", of.iter().map(backend).collect::<Vec<_>>().join(", "))
}

/// Who answered, and how often.
async fn shares(mesh: &Mesh, count: usize) -> BTreeMap<String, usize> {
    mesh.many("/", count).await.iter().fold(BTreeMap::new(), |mut shares, reply| {
        assert_eq!(reply.status, 200, "{}", reply.text());
        *shares.entry(reply.header("x-origin").unwrap().to_owned()).or_default() += 1;
        shares
    })
}

#[tokio::test]
async fn a_canary_of_one_service_gets_its_share_and_grows() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let documents = documents(&[("v1", &v1), ("v2", &v2)], BY_VERSION, &split(&[("v1", 90), ("v2", 10)]));
    let mut mesh = Mesh::steered(documents).await;
    let shared = shares(&mesh, 1000).await;
    // Six standard deviations.
    assert!((43..=157).contains(&shared["v2"]), "{shared:?}");
    let labels = ["dst_service=\"catalog\"", "dst_version=\"v2\""];
    let counted = mesh.caller().metric("outrigger_requests_total", &labels).await;
    assert_eq!(counted as usize, shared["v2"], "each version has counts of its own");
    mesh.apply(Documents::bare().route(SERVICE, &split(&[("v1", 0), ("v2", 1)])).text()).await;
    assert_eq!(shares(&mesh, 50).await, BTreeMap::from([("v2".into(), 50)]));
}

#[tokio::test]
async fn a_service_is_divided_and_made_whole_again_without_a_failed_request() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let plain = || Documents::new().selecting(SERVICE, "http", "app: catalog");
    let documents = [("v1", &v1), ("v2", &v2)].into_iter().fold(plain(), |documents, (version, origin)| {
        documents.workload(
            &format!("catalog-{version}"),
            &format!("app: catalog, version: {version}"),
            origin.address(),
        )
    });
    let mut mesh = Mesh::steered(documents.caller(CALLER)).await;
    let address = mesh.address();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watch = std::sync::Arc::clone(&over);
    let asking = tokio::spawn(async move {
        let (mut client, mut asked) = (outrigger_integration::client::Client::http1(address).await, 0);
        while !watch.load(std::sync::atomic::Ordering::Relaxed) {
            let reply = client.send(get(SERVICE, "/")).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            asked += 1;
        }
        asked
    });
    let policy = format!("loadBalancing: {{ algorithm: RoundRobin, subsets: {{ {BY_VERSION} }} }}");
    let divided = Documents::bare().backend_policy(SERVICE, &policy).route(SERVICE, &split(&[("v2", 1)]));
    mesh.apply(divided.text()).await;
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("v2".into(), 20)]));
    mesh.apply(Documents::bare().route(SERVICE, "- backendRefs: [{ name: catalog, port: 80 }]").text()).await;
    mesh.apply(Documents::bare().backend_policy(SERVICE, "loadBalancing: { algorithm: RoundRobin }").text()).await;
    let before = v1.requests();
    mesh.many("/", 50).await;
    assert!(v1.requests() > before, "v1 is back");
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(asking.await.unwrap() > 0);
}

#[tokio::test]
async fn whoever_is_labelled_anew_moves_with_its_connections() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let documents = documents(&[("v1", &v1), ("v2", &v2)], BY_VERSION, &split(&[("v2", 1)]));
    let mut mesh = Mesh::steered(documents).await;
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("v2".into(), 20)]));
    let joined = Documents::bare().workload("catalog-0", "app: catalog, version: v2", v1.address());
    mesh.apply(joined.text()).await;
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("v1".into(), 10), ("v2".into(), 10)]));
}

#[tokio::test]
async fn a_subset_that_nobody_is_in_fails_and_says_why_or_falls_back_and_says_so() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let asking = || get(SERVICE, "/").with("x-outrigger-explain", "1");
    let subset = |reply: &outrigger_integration::client::Reply| {
        let record = Record::read(reply.header("x-outrigger-explain").unwrap().as_bytes()).unwrap();
        let subset = record.destination.unwrap().subset.unwrap();
        (subset.asked, subset.led, subset.because)
    };
    let text = |asked: &str, led: &str| (asked.to_owned(), led.to_owned(), "no endpoint has what is asked".to_owned());
    let mut mesh = Mesh::standalone(documents(&[("v1", &v1), ("v2", &v2)], BY_VERSION, &split(&[("v3", 1)]))).await;
    let reply = mesh.send(asking()).await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("proxy-status").unwrap().contains("no_healthy_endpoint"), "{reply:?}");
    assert!(reply.text().contains("no endpoint for version=v3"), "{}", reply.text());
    assert_eq!(subset(&reply), text("version=v3", "nobody"));
    let fallbacks = "outrigger_subset_fallbacks_total";
    assert_eq!(mesh.caller().metric(fallbacks, &["to=\"nobody\""]).await, 1.0);
    assert_eq!((v1.requests(), v2.requests()), (0, 0), "nobody else gets what is meant for one");

    let to_v1 = "selectors: [{ keys: [version], fallback: DefaultSubset }], defaultSubset: { version: v1 }";
    let mut mesh = Mesh::standalone(documents(&[("v1", &v1), ("v2", &v2)], to_v1, &split(&[("v3", 1)]))).await;
    let reply = mesh.send(asking()).await;
    assert_eq!((reply.status, reply.header("x-origin")), (200, Some("v1")));
    assert_eq!(subset(&reply), text("version=v3", "version=v1"));
    assert_eq!(mesh.caller().metric(fallbacks, &["to=\"default_subset\""]).await, 1.0);
    let page = mesh.caller().admin("/clusters").await.text();
    assert!(page.contains("subset version=v3 leads to version=v1: no endpoint has what is asked"), "{page}");
}

#[tokio::test]
async fn a_policy_picks_for_a_rule_and_whoever_picks_nothing_goes_anywhere() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let rules = "- name: beta\n  matches: [{ headers: [{ name: x-beta, value: \"yes\" }] }]\n  backendRefs: [{ name: catalog, port: 80 }]\n- name: all\n  backendRefs: [{ name: catalog, port: 80 }]";
    let documents = documents(&[("v1", &v1), ("v2", &v2)], BY_VERSION, rules).with(
        "
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: { name: beta, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog, sectionName: beta }]
  subset: { version: v2 }",
    );
    let mesh = Mesh::steered(documents).await;
    let beta = |ask: Ask| ask.with("x-beta", "yes");
    for _ in 0..10 {
        assert_eq!(mesh.send(beta(get(SERVICE, "/"))).await.header("x-origin"), Some("v2"));
    }
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("v1".into(), 10), ("v2".into(), 10)]));
}

#[tokio::test]
async fn a_copy_goes_to_its_own_version_and_to_no_other() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let copied = |version: &str| {
        format!(
            "- filters: [{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: catalog, port: 80, subset: {{ version: {version} }} }} }} }}]
  backendRefs: [{{ name: catalog, port: 80, subset: {{ version: v1 }} }}]"
        )
    };
    let mut mesh = Mesh::steered(documents(&[("v1", &v1), ("v2", &v2)], BY_VERSION, &copied("v2"))).await;
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("v1".into(), 20)]));
    wait::holds("the copies to come", || v2.requests() == 20).await;
    let counted = mesh.caller().metric("outrigger_requests_total", &["route=\"HTTPRoute shop/catalog/rule-0/mirror\""]);
    assert_eq!(counted.await, 20.0);
    // Where nobody is yet there is no copy, and nobody else gets one.
    mesh.apply(Documents::bare().route(SERVICE, &copied("v3")).text()).await;
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("v1".into(), 20)]));
    wait::until("the copies to be counted", async || {
        let missed = mesh.caller().metric("outrigger_subset_fallbacks_total", &["to=\"nobody\""]).await;
        (missed == 20.0).then_some(())
    })
    .await;
    assert_eq!((v1.requests(), v2.requests()), (40, 20));
}

#[tokio::test]
async fn an_ejected_canary_is_not_replaced_by_another_version() {
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let documents = documents(&[("v1", &v1), ("v2", &v2)], BY_VERSION, &split(&[("v2", 1)]))
        .policy_of_route(SERVICE, "retry: { attempts: 1, codes: [503] }");
    let mesh = Mesh::standalone(documents).await;
    v2.fail_with(503);
    let replies = mesh.many("/", 20).await;
    assert!(replies.iter().all(|reply| reply.status == 503), "its failures are seen");
    assert_eq!(v1.requests(), 0);
}

#[tokio::test]
async fn what_no_selector_is_for_is_refused_before_it_does_harm() {
    let v1 = Origin::named("v1").await;
    let control_plane = ControlPlane::start().await;
    let good = documents(&[("v1", &v1)], BY_VERSION, &split(&[("v1", 1)]));
    control_plane.apply(good.text()).await;
    let rules = "- backendRefs: [{ name: catalog, port: 80, subset: { stage: prod } }]";
    let reply = control_plane.try_apply(Documents::bare().route(SERVICE, rules).text()).await;
    assert!(reply.status >= 400, "{}", reply.status);
    for words in ["ORG007", "spec.rules[0].backendRefs[0].subset", "exactly the keys stage"] {
        assert!(reply.text().contains(words), "{words}: {}", reply.text());
    }
    let reply = control_plane.try_apply(Documents::bare().route(SERVICE, &split(&[("v9", 1)])).text()).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("ORG014"), "nobody is in it yet: {}", reply.text());
}

#[tokio::test]
async fn an_envoy_divides_by_the_same_documents() {
    let Some(envoy) = peers::envoy() else { return };
    let (v1, v2) = (Origin::named("v1").await, Origin::named("v2").await);
    let rules = "- name: nobody\n  matches: [{ path: { value: /v3 } }]\n  backendRefs: [{ name: catalog, port: 80, subset: { version: v3 } }]\n- name: one\n  matches: [{ path: { value: /v2 } }]\n  backendRefs: [{ name: catalog, port: 80, subset: { version: v2 } }]\n- name: anyone\n  backendRefs: [{ name: catalog, port: 80 }]";
    for algorithm in ["RoundRobin", "ClientSideWeightedRoundRobin"] {
        let documents = balanced(algorithm, &[("v1", &v1), ("v2", &v2)], BY_VERSION, rules);
        let control_plane = ControlPlane::start().await;
        control_plane.apply(documents.text()).await;
        let folder = tempfile::tempdir().unwrap();
        let _envoy = envoy::start(&envoy, folder.path(), CALLER, "DELTA_GRPC", control_plane.xds());
        wait::until("Envoy to serve", async || {
            answers(&documents, "/").await.filter(|reply| reply.status == 200).map(drop)
        })
        .await;
        let mut seen = BTreeMap::new();
        for path in ["/v2", "/", "/v3"] {
            for _ in 0..10 {
                let reply = answers(&documents, path).await.unwrap();
                let who = reply.header("x-origin").unwrap_or("nobody").to_owned();
                *seen.entry((path, reply.status, who)).or_insert(0) += 1;
            }
        }
        let expected = [("/", 200, "v1", 5), ("/", 200, "v2", 5), ("/v2", 200, "v2", 10), ("/v3", 503, "nobody", 10)];
        let expected = expected.map(|(path, status, who, count)| ((path, status, who.to_owned()), count));
        assert_eq!(seen, BTreeMap::from(expected), "{algorithm}");
    }
}
