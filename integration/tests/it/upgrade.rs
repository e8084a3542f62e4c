//! WebSocket and other upgrades: after a 101 the proxy is a pipe, whatever is said through it.

use outrigger_integration::mesh::{CALLER, Mesh};
use outrigger_integration::wait;
use outrigger_integration::wire::{Script, Wire};

const WEBSOCKET: &str = "GET /live HTTP/1.1\r\nhost: catalog\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A service that takes any upgrade and then sends everything back until the caller has finished.
async fn echoing(mut wire: Wire, _: usize) {
    let head = wire.request().await;
    let protocol = head.get("upgrade").unwrap_or("none").to_owned();
    let key = head.get("sec-websocket-key").map(|key| format!("x-key: {key}\r\n")).unwrap_or_default();
    wire.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n{key}\r\nhello"
    ))
    .await;
    let (said, _) = wire.read_to_end().await;
    wire.offer(said).await;
}

#[tokio::test]
async fn a_websocket_passes_bytes_both_ways() {
    let script = Script::start(echoing).await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send(WEBSOCKET).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.head.get("upgrade")), (101, Some("websocket")));
    assert_eq!(response.head.get("x-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(wire.read_exactly(5).await, b"hello", "what the service says at once is not lost");
    wire.send("\x00\x01 anything \r\n\r\n at all").await;
    wire.finish().await;
    let (back, _) = wire.read_to_end().await;
    assert_eq!(back, b"\x00\x01 anything \r\n\r\n at all", "the end of one way does not end the other");
}

#[tokio::test]
async fn any_protocol_can_be_upgraded_to() {
    let script = Script::start(echoing).await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET / HTTP/1.1\r\nhost: catalog\r\nconnection: upgrade\r\nupgrade: chat/2\r\n\r\n").await;
    assert_eq!(wire.response().await.head.get("upgrade"), Some("chat/2"));
}

#[tokio::test]
async fn a_megabyte_passes_through_the_pipe_unharmed() {
    let script = Script::start(echoing).await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send(WEBSOCKET).await;
    wire.response().await;
    wire.read_exactly(5).await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    wire.send(&sent).await;
    wire.finish().await;
    let (back, _) = wire.read_to_end().await;
    assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
}

#[tokio::test]
async fn a_refused_upgrade_is_a_response() {
    let script = Script::saying(
        "HTTP/1.1 426 Upgrade Required\r\nupgrade: other\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno",
    )
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send(WEBSOCKET).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (426, "no"));
}

#[tokio::test]
async fn a_pipe_ends_with_either_side() {
    let script = Script::start(|mut wire: Wire, _| async move {
        wire.request().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
        wire.read_exactly(3).await;
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send(WEBSOCKET).await;
    wire.response().await;
    wire.send("bye").await;
    wire.ended().await;
}

#[tokio::test]
async fn a_tunnel_is_one_of_the_callers_connections() {
    let script = Script::start(echoing).await;
    let mut mesh = Mesh::of("http", &[script.address()]).await;
    let proxy = mesh.take(CALLER);
    let mut wire = mesh.wire().await;
    wire.send(WEBSOCKET).await;
    wire.response().await;
    wire.read_exactly(5).await;
    assert_eq!(proxy.metric("outrigger_downstream_connections", &[]).await, 1.0);
    wire.finish().await;
    wire.read_to_end().await;
    wait::until("the tunnel to be over", async || {
        (proxy.metric("outrigger_downstream_connections", &[]).await == 0.0).then_some(())
    })
    .await;
}
