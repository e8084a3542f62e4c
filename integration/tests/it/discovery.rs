//! Discovery: configuration arrives over delta and over SotW, and what was good stays when what comes is bad or nothing
//! comes at all.

use std::time::{Duration, Instant};

use outrigger_integration::client::{Client, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::Start;
use outrigger_integration::wait;

/// A rule that sends everything of `catalog` to `service`.
fn to(service: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: catalog, namespace: shop }}
spec:
  parentRefs: [{{ group: \"\", kind: Service, name: catalog }}]
  rules: [{{ backendRefs: [{{ name: {service}, port: 80 }}] }}]"
    )
}

#[tokio::test]
async fn both_variants_of_the_protocol_carry_changes() {
    for mode in ["delta", "sotw"] {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        let documents = small("http", &[old.address()]).service("beta", "http", &[new.address()]);
        let mut mesh = Mesh::steered_with(documents, |start| start.arg("--xds-mode").arg(mode)).await;
        assert_eq!(mesh.get("/").await.header("x-origin"), Some("old"), "{mode}");
        mesh.apply(&to("beta")).await;
        assert_eq!(mesh.get("/").await.header("x-origin"), Some("new"), "{mode}");
        let proxy = mesh.control_plane().proxy(CALLER).await.unwrap();
        assert_eq!((&proxy["transport"], &proxy["client"]), (&mode.into(), &"outrigger".into()));
        mesh.control_plane().delete("HTTPRoute", "catalog").await;
        mesh.control_plane().synced(CALLER).await;
        assert_eq!(mesh.get("/").await.header("x-origin"), Some("old"), "{mode}: a deleted route is gone");
    }
}

#[tokio::test]
async fn traffic_goes_on_without_the_control_plane_and_it_is_heard_again() {
    let (old, new) = (Origin::named("old").await, Origin::named("new").await);
    let documents = small("http", &[old.address()]).service("beta", "http", &[new.address()]);
    let mut mesh = Mesh::steered(documents).await;
    mesh.control_plane().kill();
    for reply in mesh.many("/", 50).await {
        assert_eq!(reply.status, 200);
    }
    assert!(mesh.caller().is_ready().await, "what serves is ready");
    mesh.control_plane().up().await;
    mesh.apply(&to("beta")).await;
    assert_eq!(mesh.get("/").await.header("x-origin"), Some("new"));
}

#[tokio::test]
async fn a_first_start_waits_for_the_control_plane() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let mut control_plane = ControlPlane::down();
    std::fs::write(control_plane.documents().join("mesh.yaml"), documents.text()).unwrap();
    let mut proxy = Start::steered(control_plane.xds(), CALLER).start();
    wait::until("the admin port", async || {
        tokio::net::TcpStream::connect(proxy.admin_address()).await.is_ok().then_some(())
    })
    .await;
    // Long enough for its waits between attempts to have grown as far as they may.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!proxy.is_ready().await);
    assert_eq!(proxy.admin("/ready").await.status, 503);
    assert_eq!(proxy.admin("/live").await.status, 200);
    assert!(proxy.process().lines().iter().any(|line| line.contains(&control_plane.xds().to_string())), "it says so");
    control_plane.up().await;
    let appeared = Instant::now();
    proxy.until_ready().await;
    assert!(appeared.elapsed() < Duration::from_secs(1), "it took {:?}", appeared.elapsed());
    let mut client = Client::http1(documents.outbound(CALLER)).await;
    assert_eq!(client.send(get("catalog", "/")).await.status, 200);
}

#[tokio::test]
async fn a_refused_document_changes_nothing() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    let generation = mesh.control_plane().get("/api/v1/proxies").await.json()["generation"].clone();
    let reply = mesh.control_plane().try_apply(&to("nobody")).await;
    assert_eq!(reply.status, 422);
    let problem = &reply.json()["problems"][0];
    assert_eq!(problem["object"], "HTTPRoute shop/catalog");
    assert!(problem["path"].as_str().unwrap().contains("backendRefs"), "{problem}");
    assert_eq!(mesh.control_plane().get("/api/v1/proxies").await.json()["generation"], generation);
    assert_eq!(mesh.get("/").await.status, 200);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_does_not_do_it() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    let reply = mesh.control_plane().post("/api/v1/apply?dryRun=true", &to("catalog")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["applied"][0]["result"], "created");
    let found = mesh.control_plane().get("/api/v1/documents/HTTPRoute/shop/catalog").await;
    assert_eq!(found.status, 404);
}

#[tokio::test]
async fn a_changed_file_is_taken_up() {
    let (old, new) = (Origin::named("old").await, Origin::named("new").await);
    let documents = small("http", &[old.address()]).service("beta", "http", &[new.address()]);
    let mut mesh = Mesh::steered(documents).await;
    let folder = mesh.control_plane().documents();
    std::fs::write(folder.join("route.yaml"), to("beta")).unwrap();
    wait::until("the file to be taken up", async || {
        (mesh.get("/").await.header("x-origin") == Some("new")).then_some(())
    })
    .await;
    std::fs::remove_file(folder.join("route.yaml")).unwrap();
    wait::until("the removal to be taken up", async || {
        (mesh.get("/").await.header("x-origin") == Some("old")).then_some(())
    })
    .await;
}
