//! A proxy that runs short keeps itself alive: it says so, sheds, and can always be asked how it is.

use outrigger_integration::client::{Client, get};
use outrigger_integration::mesh::{CALLER, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::{Proxy, Start};
use outrigger_integration::wait;
use outrigger_integration::wire::Wire;

/// A proxy that has long had more than it may, and is ready.
async fn short(arguments: &[&str]) -> (Origin, std::net::SocketAddr, Proxy) {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let start = Start::standalone(&documents, CALLER).arg("--memory-limit").arg("1MiB");
    let proxy = arguments.iter().fold(start, Start::arg).ready().await;
    wait::until("the proxy to notice", async || {
        (proxy.metric("outrigger_overload_stage", &[]).await == 4.0).then_some(())
    })
    .await;
    (origin, documents.outbound(CALLER), proxy)
}

#[tokio::test]
async fn without_any_memory_left_admin_still_answers() {
    let (origin, address, proxy) = short(&[]).await;
    // What a worker was waiting for already is shed; the others wait in the kernel.
    let mut callers = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::connect(address).await;
        wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        callers.push(wire);
    }
    assert_eq!(proxy.admin("/ready").await.status, 200);
    assert!(proxy.metric("outrigger_overload_pressure", &["resource=\"memory\""]).await > 1.0);
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn observed_only_it_serves_and_counts() {
    let (_origin, address, proxy) = short(&["--overload", "observe"]).await;
    let mut client = Client::http1(address).await;
    for _ in 0..3 {
        let reply = client.send(get("catalog", "/")).await;
        assert_eq!((reply.status, reply.header("connection")), (200, None));
    }
    assert_eq!(client.send(get("catalog", "/healthz")).await.status, 200);
    wait::until("the requests to be over", async || {
        (proxy.metric("outrigger_observed_total", &["would=\"shed\""]).await == 3.0).then_some(())
    })
    .await;
    let labels = ["priority=\"default\"", "mode=\"observe\""];
    assert_eq!(proxy.metric("outrigger_overload_shed_total", &labels).await, 3.0);
}
