//! Envoy 1.40 takes its whole configuration from our control plane, over SotW and over delta, and serves it.

use outrigger_integration::client::{Client, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::{binaries, envoy, peers, ports, wait};

pub(crate) async fn answers(documents: &Documents, path: &str) -> Option<outrigger_integration::client::Reply> {
    tokio::net::TcpStream::connect(documents.outbound(CALLER)).await.ok()?;
    Some(Client::http1(documents.outbound(CALLER)).await.send(get("catalog", path)).await)
}

async fn is_steered(api_type: &str, transport: &str) {
    let Some(envoy) = peers::envoy() else { return };
    let (old, new) = (Origin::named("old").await, Origin::named("new").await);
    let documents = small("http", &[old.address()])
        .service("beta", "http", &[new.address()])
        .backend_policy(
            "catalog",
            "limits: { maxRequests: 100 }
outlierDetection: { consecutiveErrors: 5 }
sessionPersistence: { sessionName: shop, cookieConfig: { sameSite: Lax } }",
        )
        .backend_policy("beta", "loadBalancing: { algorithm: ClientSideWeightedRoundRobin }")
        .route_policy("catalog", "retry: { attempts: 2, codes: [503] }");
    let control_plane = ControlPlane::start().await;
    control_plane.apply(documents.text()).await;
    let folder = tempfile::tempdir().unwrap();
    let _envoy = envoy::start(&envoy, folder.path(), CALLER, api_type, control_plane.xds());

    let reply = wait::until("Envoy to serve", async || answers(&documents, "/").await).await;
    assert_eq!((reply.status, reply.header("x-origin")), (200, Some("old")));
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("shop=") && cookie.contains("SameSite=Lax"), "Envoy keeps sessions too: {cookie}");
    old.fail_next(2, 503);
    assert_eq!(answers(&documents, "/").await.unwrap().status, 200, "our retries are Envoy's");

    let route = Documents::bare().route("catalog", "- backendRefs: [{ name: beta, port: 80 }]");
    control_plane.apply(route.text()).await;
    wait::until("Envoy to follow a change", async || {
        (answers(&documents, "/").await?.header("x-origin") == Some("new")).then_some(())
    })
    .await;
    control_plane.synced(CALLER).await;
    let proxy = control_plane.proxy(CALLER).await.unwrap();
    assert_eq!((&proxy["client"], &proxy["transport"]), (&"envoy".into(), &transport.into()));
    refused_nothing(&proxy);
}

fn refused_nothing(proxy: &serde_json::Value) {
    let types = proxy["types"].as_object().unwrap();
    assert!(types.len() >= 4 && types.values().all(|kind| kind["nack"].is_null()), "{proxy}");
}

#[tokio::test]
async fn the_whole_shop_is_taken() {
    let Some(envoy) = peers::envoy() else { return };
    let shop = std::fs::read_to_string(binaries::root().join("examples/mesh/shop.yaml")).unwrap();
    // The gateway's own port is the only one that Envoy opens.
    let outbound = ports::free();
    let shop = shop.replace("{port: 8048}", &format!("{{port: {}}}", outbound.port()));
    for api_type in ["GRPC", "DELTA_GRPC"] {
        let control_plane = ControlPlane::start().await;
        control_plane.apply(&shop).await;
        let folder = tempfile::tempdir().unwrap();
        let _envoy = envoy::start(&envoy, folder.path(), "gateway", api_type, control_plane.xds());
        control_plane.synced("gateway").await;
        refused_nothing(&control_plane.proxy("gateway").await.unwrap());
        let host = "storefront";
        let reply = wait::until("Envoy to serve", async || {
            tokio::net::TcpStream::connect(outbound).await.ok()?;
            Some(Client::http1(outbound).await.send(get(host, "/")).await)
        })
        .await;
        assert_eq!(reply.status, 503, "{host} is routed; only nobody plays it here");
    }
}

#[tokio::test]
async fn over_sotw() {
    is_steered("GRPC", "sotw").await;
}

#[tokio::test]
async fn over_delta() {
    is_steered("DELTA_GRPC", "delta").await;
}

#[tokio::test]
async fn before_a_service_it_lets_in_what_our_policy_says() {
    let Some(envoy) = peers::envoy() else { return };
    let origin = Origin::start().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .rate_limit_policy("catalog", "adaptiveConcurrency: { minConcurrency: 4, maxConcurrency: 4 }");
    let control_plane = ControlPlane::start().await;
    control_plane.apply(documents.text()).await;
    let folder = tempfile::tempdir().unwrap();
    let _envoy = envoy::start(&envoy, folder.path(), "catalog-1", "DELTA_GRPC", control_plane.xds());
    let address = documents.inbound("catalog-1");
    wait::until("Envoy to serve", async || {
        tokio::net::TcpStream::connect(address).await.ok()?;
        (Client::http1(address).await.send(get("catalog", "/")).await.status == 200).then_some(())
    })
    .await;
    let ask = || async { Client::http1(address).await.send(get("catalog", "/slow/500")).await.status };
    let statuses = futures_util::future::join_all((0..10).map(|_| ask())).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 4, "{statuses:?}");
    refused_nothing(&control_plane.proxy("catalog-1").await.unwrap());
}
