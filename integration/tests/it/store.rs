//! The control plane's store: what was acknowledged is there after a kill -9, whenever it comes.

use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::small;
use outrigger_integration::origin::Origin;
use outrigger_integration::wire::Wire;

fn service(name: &str) -> String {
    Documents::bare().selecting(name, "http", &format!("app: {name}")).text().to_owned()
}

#[tokio::test]
async fn what_was_applied_survives_a_kill() {
    let origin = Origin::start().await;
    let mut control_plane = ControlPlane::start().await;
    control_plane.apply(small("http", &[origin.address()]).text()).await;
    let before = control_plane.get("/api/v1/documents").await.json();
    control_plane.kill();
    control_plane.up().await;
    assert_eq!(control_plane.get("/api/v1/documents").await.json(), before);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_a_kill_in_the_middle() {
    let mut control_plane = ControlPlane::start().await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        for turn in 0..10 {
            let name = format!("s-{round}-{turn}");
            control_plane.apply(&service(&name)).await;
            acknowledged.push(name);
        }
        // One more is under way when the kill comes; whether it stays is open, but it is whole or not there.
        let mut wire = Wire::connect(control_plane.api()).await;
        let last = service(&format!("s-{round}-torn"));
        let head = "POST /api/v1/apply HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/yaml";
        wire.send(format!("{head}\r\ncontent-length: {}\r\n\r\n{last}", last.len())).await;
        control_plane.kill();
        control_plane.up().await;
        for name in &acknowledged {
            let found = control_plane.get(&format!("/api/v1/documents/Service/shop/{name}")).await;
            assert_eq!(found.status, 200, "{name} was acknowledged and is gone");
        }
    }
}

#[tokio::test]
async fn a_deletion_survives_too() {
    let mut control_plane = ControlPlane::start().await;
    control_plane.apply(&service("cart")).await;
    assert_eq!(control_plane.delete("Service", "cart").await.status, 200);
    control_plane.kill();
    control_plane.up().await;
    assert_eq!(control_plane.get("/api/v1/documents/Service/shop/cart").await.status, 404);
}
