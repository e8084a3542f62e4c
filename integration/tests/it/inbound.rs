//! Two sidecars, one call: what the caller's proxy does and what the service's adds, and that neither repeats the other.

use std::time::Duration;

use outrigger_integration::call::Call;
use outrigger_integration::client::{Client, get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh};
use outrigger_integration::origin::Origin;
use outrigger_integration::{ports, wait};

fn pair(protocol: &str, origin: &Origin) -> Documents {
    Documents::new()
        .selecting("catalog", protocol, "app: catalog")
        .sidecar("catalog-1", "catalog", origin.address())
        .caller(CALLER)
}

#[tokio::test]
async fn requests_and_bodies_pass_two_proxies() {
    for protocol in ["http", "h2c", ""] {
        let origin = Origin::start().await;
        let mesh = Mesh::steered(pair(protocol, &origin)).await;
        for mut client in [mesh.http1().await, mesh.http2().await] {
            let reply = client.send(post("catalog", "/echo", vec![b'x'; 1_000_000])).await;
            assert_eq!((reply.status, reply.body.len()), (200, 1_000_000), "{protocol}");
            let reply = client.send(get("catalog", "/trailers").with("te", "trailers")).await;
            assert_eq!(reply.trailer("x-checksum"), Some("c0ffee"), "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_messages_passes_two_proxies() {
    let origin = Origin::start().await;
    let mesh = Mesh::steered(pair("grpc", &origin)).await;
    let mut client = mesh.http2().await;
    let mut call = Call::open(&mut client, "catalog", "Bidi", &[], "0").await;
    for turn in 1..10 {
        assert_eq!(call.hear().await, Some((turn - 1).to_string()));
        call.say(&turn.to_string()).await;
    }
    assert_eq!(call.end().await.1, Some(0));
}

#[tokio::test]
async fn a_refusal_of_the_service_is_passed_on_as_it_is() {
    let origin = Origin::start().await;
    let documents = pair("http", &origin)
        .rate_limit_policy("catalog", "rules: [{ name: all, limit: { requests: 1, interval: 60s } }]");
    let mesh = Mesh::steered(documents).await;
    assert_eq!(mesh.get("/").await.status, 200);
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.reason()), (429, Some("rate_limited")));
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test]
async fn an_app_that_is_not_there_is_the_services_own_failure() {
    let app = ports::free();
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", app)
        .caller(CALLER);
    let mesh = Mesh::steered(documents).await;
    let reply = mesh.get("/").await;
    assert_eq!((reply.status, reply.reason()), (503, Some("connection_refused")));
    let _origin = Origin::at(app, "late").await;
    wait::until("the app to be used once it is there", async || (mesh.get("/").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_through_both() {
    let origin = Origin::start().await;
    let mesh = Mesh::steered(pair("http", &origin)).await;
    let mut wire = mesh.wire().await;
    wire.send("GET /slow/60000 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    wait::holds("the request to arrive", || origin.requests() == 1).await;
    drop(wire);
    wait::within(Duration::from_secs(1), "the app to be let go", async || (origin.given_up() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_draining_sidecar_loses_no_request() {
    let origins = [Origin::start().await, Origin::start().await];
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .sidecar("catalog-1", "catalog", origins[0].address())
        .sidecar("catalog-2", "catalog", origins[1].address())
        .caller(CALLER)
        .backend_policy("catalog", "loadBalancing: { algorithm: RoundRobin }");
    let mut mesh = Mesh::steered(documents).await;
    let address = mesh.address();
    let calls = tokio::spawn(async move {
        let mut client = Client::http1(address).await;
        let mut lost = Vec::new();
        for _ in 0..400 {
            let reply = client.send(get("catalog", "/slow/2")).await;
            if reply.status != 200 {
                lost.push(format!("{} {:?}", reply.status, reply.reason()));
            }
        }
        lost
    });
    wait::holds("both to be used", || origins.iter().all(|origin| origin.requests() > 10)).await;
    mesh.proxy("catalog-1").process().signal("TERM");
    let lost = calls.await.unwrap();
    assert!(lost.is_empty(), "{lost:?}");
}
