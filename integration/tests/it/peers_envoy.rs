//! Envoy 1.40 takes its whole configuration from our control plane, over SotW and over delta, and serves it.

use std::process::Command;

use outrigger_integration::client::{Client, get};
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::Process;
use outrigger_integration::{peers, ports, wait};

/// A running Envoy that knows nothing but where its control plane is.
fn start(envoy: &std::path::Path, folder: &std::path::Path, api_type: &str, xds: std::net::SocketAddr) -> Process {
    let bootstrap = format!(
        "
node: {{ id: shop/{CALLER}, cluster: {CALLER} }}
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
        .backend_policy("catalog", "limits: { maxRequests: 100 }\noutlierDetection: { consecutiveErrors: 5 }")
        .route_policy("catalog", "retry: { attempts: 2, codes: [503] }");
    let control_plane = ControlPlane::start().await;
    control_plane.apply(documents.text()).await;
    let folder = tempfile::tempdir().unwrap();
    let _envoy = start(&envoy, folder.path(), api_type, control_plane.xds());

    let reply = wait::until("Envoy to serve", async || answers(&documents, "/").await).await;
    assert_eq!((reply.status, reply.header("x-origin")), (200, Some("old")));
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
    assert!(proxy["types"].as_object().unwrap().values().all(|kind| kind["nack"].is_null()), "{proxy}");
}

#[tokio::test]
async fn over_sotw() {
    is_steered("GRPC", "sotw").await;
}

#[tokio::test]
async fn over_delta() {
    is_steered("DELTA_GRPC", "delta").await;
}
