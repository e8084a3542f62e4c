//! A stock gRPC client (Python's grpcio) resolves `xds:///pricing` through our control plane and calls it, without any
//! proxy.

use std::process::Command;

use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::origin::Origin;
use outrigger_integration::peers;
use outrigger_integration::process::Process;
use serde_json::json;

async fn calls(target: &str, count: usize) -> Option<(Vec<String>, [Origin; 2], ControlPlane)> {
    let python = peers::python_grpc()?;
    let origins = [Origin::named("a").await, Origin::named("b").await];
    let documents = Documents::new().service("pricing", "grpc", &[origins[0].address(), origins[1].address()]);
    let control_plane = ControlPlane::start().await;
    control_plane.apply(documents.text()).await;
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": control_plane.xds().to_string(),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": { "id": "shop/web-1", "metadata": { "NAMESPACE": "shop" } },
    });
    let mut command = Command::new(python);
    command.arg(peers::script("grpc_client.py")).args([target, "/test.Echo/Unary", "sku-1", &count.to_string()]);
    command.env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string());
    let ended = Process::start("grpcio", &mut command).ended().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.lines);
    Some((ended.lines, origins, control_plane))
}

#[tokio::test]
async fn grpcio_calls_a_service_by_its_name() {
    for target in ["xds:///pricing", "xds:///pricing.shop.svc.cluster.local:80"] {
        let Some((lines, _origins, _control_plane)) = calls(target, 1).await else { return };
        assert_eq!(lines, [r#"{"code": "OK", "reply": "sku-1"}"#], "{target}");
    }
}

#[tokio::test]
async fn grpcio_uses_every_workload() {
    let Some((_lines, origins, _control_plane)) = calls("xds:///pricing.shop", 40).await else { return };
    assert_eq!(origins[0].requests() + origins[1].requests(), 40);
    assert!(
        origins.iter().all(|origin| origin.requests() >= 10),
        "{} and {}",
        origins[0].requests(),
        origins[1].requests()
    );
}
