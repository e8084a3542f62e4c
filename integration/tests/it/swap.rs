//! Pushes under load: no request is lost while everything about its path is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use outrigger_integration::client::{Client, get};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::{ports, wait};
use tokio::task::JoinHandle;

/// Callers that go on until they are told to stop, and count.
struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(mesh: &Mesh, callers: usize) -> Load {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let call = |index| {
            let (stop, good, address) = (stop.clone(), good.clone(), mesh.address());
            tokio::spawn(async move {
                let mut client =
                    if index % 2 == 0 { Client::http1(address).await } else { Client::http2(address).await };
                let mut lost = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let reply = client.send(get("catalog", "/")).await;
                    if reply.status == 200 && reply.complete {
                        good.fetch_add(1, Ordering::Relaxed);
                    } else {
                        lost.push(format!("{} {:?}", reply.status, reply.header("proxy-status")));
                    }
                }
                lost
            })
        };
        let callers = (0..callers).map(call).collect();
        Load { stop, good, callers }
    }

    /// Stops and gives how many were served and what was lost.
    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut lost = Vec::new();
        for caller in self.callers {
            lost.extend(caller.await.unwrap());
        }
        (self.good.load(Ordering::Relaxed), lost)
    }
}

fn split(v1: u32, v2: u32) -> String {
    Documents::bare()
        .route(
            "catalog",
            &format!(
                "- backendRefs: [{{ name: catalog, port: 80, weight: {v1} }}, {{ name: beta, port: 80, weight: {v2} }}]"
            ),
        )
        .text()
        .to_owned()
}

#[tokio::test]
async fn pushes_lose_no_request() {
    let origins = [Origin::named("v1").await, Origin::named("v2").await];
    let documents = small("http", &[origins[0].address()]).service("beta", "http", &[origins[1].address()]);
    let mut mesh = Mesh::steered(documents).await;
    let load = Load::on(&mesh, 6);
    for turn in 1..=20 {
        let policy = Documents::bare().backend_policy(
            "catalog",
            &format!(
                "limits: {{ maxRequests: {} }}\nloadBalancing: {{ algorithm: {} }}",
                1000 + turn,
                if turn % 2 == 0 { "RoundRobin" } else { "PeakEwma" }
            ),
        );
        mesh.apply(&format!("{}{}", split(turn, 21 - turn), policy.text())).await;
    }
    let (served, lost) = load.end().await;
    assert!(lost.is_empty(), "{} of {served} lost: {lost:?}", lost.len());
    assert!(served > 500, "only {served} requests met the pushes");
}

#[tokio::test]
async fn workloads_come_and_go_without_a_loss() {
    let origins = [Origin::named("a").await, Origin::named("b").await, Origin::named("c").await];
    let mut mesh = Mesh::steered(small("h2c", &[origins[0].address()])).await;
    let load = Load::on(&mesh, 6);
    for _ in 0..5 {
        for (name, origin) in [("extra-1", &origins[1]), ("extra-2", &origins[2])] {
            let workload = Documents::bare().workload(name, "app: catalog", origin.address());
            mesh.apply(workload.text()).await;
        }
        for name in ["extra-1", "extra-2"] {
            mesh.control_plane().delete("Workload", name).await;
            mesh.control_plane().synced(CALLER).await;
        }
    }
    let (served, lost) = load.end().await;
    assert!(lost.is_empty(), "{} of {served} lost: {lost:?}", lost.len());
    assert!(origins[1].requests() > 0 && origins[2].requests() > 0);
}

#[tokio::test]
async fn a_killed_control_plane_loses_no_request() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    let load = Load::on(&mesh, 6);
    for _ in 0..3 {
        mesh.control_plane().kill();
        mesh.control_plane().up().await;
        mesh.control_plane().synced(CALLER).await;
    }
    let (served, lost) = load.end().await;
    assert!(lost.is_empty(), "{} of {served} lost: {lost:?}", lost.len());
}

#[tokio::test]
async fn a_rolling_restart_loses_no_request() {
    for protocol in ["http", "h2c"] {
        let addresses = [ports::free(), ports::free()];
        let mut origins = Vec::new();
        for address in addresses {
            origins.push(Origin::at(address, "before").await);
        }
        // While nobody listens the endpoint may be ejected; it is to come back within the test.
        let policy = "outlierDetection: { ejection: { base: 500ms } }";
        let mesh = Mesh::standalone(small(protocol, &addresses).backend_policy("catalog", policy)).await;
        let load = Load::on(&mesh, 6);
        for (origin, address) in origins.iter_mut().zip(addresses) {
            let served = origin.requests();
            wait::holds("some load", || origin.requests() > served + 50).await;
            origin.bow_out();
            // What was sent before its GOAWAY was seen may still be on the way: it is done when its connections are.
            wait::holds("the old one to be done", || origin.open() == 0).await;
            wait::until("the port", async || tokio::net::TcpStream::connect(address).await.err()).await;
            *origin = Origin::at(address, "after").await;
        }
        wait::holds("the new ones to be used", || origins.iter().all(|origin| origin.requests() > 0)).await;
        let (served, lost) = load.end().await;
        assert!(lost.is_empty(), "{protocol}: {} of {served} lost: {lost:?}", lost.len());
    }
}
