//! Envoy 1.40 takes its whole configuration from our control plane, over SotW and over delta, and serves it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use outrigger_integration::client::{Client, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::Process;
use outrigger_integration::{binaries, peers, ports, wait};

/// A running Envoy that knows nothing but who it is and where its control plane is.
fn start(envoy: &Path, folder: &Path, workload: &str, api_type: &str, xds: SocketAddr) -> Process {
    let bootstrap = format!(
        "
node: {{ id: shop/{workload}, cluster: {workload} }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{ envoy_grpc: {{ cluster_name: control-plane }} }}]
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
static_resources:
  clusters:
  - name: control-plane
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: control-plane
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]
",
        admin = ports::free().port(),
        port = xds.port(),
    );
    let file = folder.join("bootstrap.yaml");
    std::fs::write(&file, bootstrap).unwrap();
    let mut command = Command::new(envoy);
    command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
    Process::start("envoy", &mut command)
}

async fn answers(documents: &Documents, path: &str) -> Option<outrigger_integration::client::Reply> {
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
    let _envoy = start(&envoy, folder.path(), CALLER, api_type, control_plane.xds());

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
        let _envoy = start(&envoy, folder.path(), "gateway", api_type, control_plane.xds());
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
