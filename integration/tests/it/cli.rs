//! The command line against a real mesh: what it prints for programs, and its exit codes.

use outrigger_integration::binaries;
use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::{Ended, Process};
use outrigger_integration::wait;

async fn outrigger(control_plane: &ControlPlane, line: &str) -> Ended {
    let server = format!("http://{}", control_plane.api());
    let arguments = ["--server", &server].into_iter().chain(line.split(' ')).map(str::to_owned);
    Process::run(binaries::cli(), arguments.collect::<Vec<_>>()).await
}

fn file(documents: &Documents) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), documents.text()).unwrap();
    file
}

#[tokio::test]
async fn documents_are_applied_read_and_deleted() {
    let control_plane = ControlPlane::start().await;
    let file = file(&Documents::bare().selecting("cart", "http", "app: cart"));
    let applied = outrigger(&control_plane, &format!("apply -f {}", file.path().display())).await;
    assert_eq!(applied.code, Some(0), "{:?}", applied.lines);
    let got = outrigger(&control_plane, "get service shop/cart -o json").await;
    assert_eq!(got.code, Some(0), "{:?}", got.lines);
    let document: serde_json::Value = serde_json::from_str(&got.lines.join("\n")).unwrap();
    assert!(document.to_string().contains("\"cart\""), "{document}");
    assert_eq!(outrigger(&control_plane, "delete service shop/cart").await.code, Some(0));
    assert_eq!(outrigger(&control_plane, "get service shop/cart").await.code, Some(1));
}

#[tokio::test]
async fn what_is_wrong_is_found_offline_with_its_place_and_code() {
    let control_plane = ControlPlane::down();
    let wrong = file(&small("http", &[]).route("catalog", "- backendRefs: [{ name: nobody, port: 80 }]"));
    let ended = outrigger(&control_plane, &format!("analyze -f {}", wrong.path().display())).await;
    assert_eq!(ended.code, Some(1), "{:?}", ended.lines);
    let said = ended.lines.join("\n");
    assert!(said.contains("ORG007") && said.contains("nobody"), "{said}");
    let right = file(&small("http", &[]));
    assert_eq!(outrigger(&control_plane, &format!("analyze -f {}", right.path().display())).await.code, Some(0));
}

#[tokio::test]
async fn a_mesh_is_looked_at() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    mesh.many("/", 20).await;
    let control_plane = mesh.control_plane();
    assert_eq!(outrigger(control_plane, "wait --for=applied --proxies 1").await.code, Some(0));
    let proxies = outrigger(control_plane, "proxies").await;
    assert!(proxies.lines.iter().any(|line| line.contains("shop/web")), "{:?}", proxies.lines);
    wait::until("the edge", async || {
        let edges = outrigger(control_plane, "edges --window 60s").await;
        edges.lines.iter().any(|line| line.contains("web") && line.contains("catalog")).then_some(())
    })
    .await;
    wait::until("a trace", async || {
        let traces = outrigger(control_plane, "traces").await;
        traces.lines.iter().any(|line| line.contains("web")).then_some(())
    })
    .await;
    let stat = outrigger(control_plane, "stat --window 60s").await;
    assert!(stat.lines.iter().all(|line| !line.contains('\u{1b}')), "no colours outside a terminal");
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_named() {
    let control_plane = ControlPlane::down();
    let ended = outrigger(&control_plane, "proxies").await;
    assert_eq!((ended.code, ended.lines.len()), (Some(2), 1), "{:?}", ended.lines);
    assert!(ended.lines[0].contains(&control_plane.api().to_string()), "{:?}", ended.lines);
}
