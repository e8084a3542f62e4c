//! A proxy that runs short keeps itself alive: it says so, sheds, and can always be asked how it is.

use std::time::{Duration, Instant};

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

/// How soon a caller gets in where all places are taken by callers who rest: two looks at a connection at most, one
/// sample, and one look at the socket, which is 2.3 s; the rest is this machine's.
const SOON: Duration = Duration::from_secs(5);

/// A proxy with twenty places of which three are taken by requests under way, and who holds those.
async fn nearly_full() -> (Origin, std::net::SocketAddr, Proxy, Vec<Wire>) {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let proxy = Start::standalone(&documents, CALLER).arg("--max-connections").arg("20").ready().await;
    let address = documents.outbound(CALLER);
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::connect(address).await;
        wire.send("POST /echo HTTP/1.1\r\nhost: catalog\r\ncontent-length: 5\r\n\r\n").await;
        busy.push(wire);
    }
    (origin, address, proxy, busy)
}

/// Asks as one more caller, where seventeen rest and three have requests under way; those must not suffer for it.
async fn one_more_gets_in(address: std::net::SocketAddr, proxy: &Proxy, busy: Vec<Wire>) {
    let began = Instant::now();
    assert_eq!(Client::http1(address).await.send(get("catalog", "/")).await.status, 200);
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    wait::until("idle callers to go", async || {
        (proxy.metric("outrigger_downstream_connections_dismissed_total", &[]).await >= 1.0).then_some(())
    })
    .await;
    for mut wire in busy {
        wire.send("hello").await;
        assert_eq!(wire.response().await.status, 200);
    }
}

#[tokio::test]
async fn idle_http1_callers_give_their_places_to_who_has_something_to_ask() {
    let (_origin, address, proxy, busy) = nearly_full().await;
    let mut idle = Vec::new();
    for _ in 0..14 {
        let mut client = Client::http1(address).await;
        assert_eq!(client.send(get("catalog", "/")).await.header("connection"), None);
        idle.push(client);
    }
    // These say nothing and take the last places.
    idle.extend(futures_util::future::join_all((0..3).map(|_| Client::http1(address))).await);
    one_more_gets_in(address, &proxy, busy).await;
    let left = idle.iter().filter(|client| !client.is_closed()).count();
    assert!((10..17).contains(&left), "{left} of 17 stay: no more go than must");
}

#[tokio::test]
async fn idle_http2_callers_give_their_places_to_who_has_something_to_ask() {
    let (_origin, address, proxy, busy) = nearly_full().await;
    let mut idle = Vec::new();
    for _ in 0..14 {
        let mut client = Client::http2(address).await;
        assert_eq!(client.send(get("catalog", "/")).await.status, 200);
        idle.push(client);
    }
    idle.extend(futures_util::future::join_all((0..3).map(|_| Client::http2(address))).await);
    one_more_gets_in(address, &proxy, busy).await;
    let left = idle.iter().filter(|client| !client.is_closed()).count();
    assert!((10..17).contains(&left), "{left} of 17 stay: no more go than must");
}

#[tokio::test]
async fn http2_callers_with_a_request_under_way_do_not_go_for_those_who_rest() {
    let (origin, address, proxy, busy) = nearly_full().await;
    // They came first, and so would be the first to go.
    let mut working = Vec::new();
    for _ in 0..10 {
        let mut client = Client::http2(address).await;
        working
            .push(tokio::spawn(async move { (client.send(get("catalog", "/with?wait=4000")).await.status, client) }));
    }
    wait::until("them to be at work", async || (origin.under_way() == 10 + 3).then_some(())).await;
    let idle = futures_util::future::join_all((0..7).map(|_| Client::http2(address))).await;
    one_more_gets_in(address, &proxy, busy).await;
    let told = proxy.metric("outrigger_downstream_connections_dismissed_total", &[]).await;
    let left = idle.iter().filter(|client| !client.is_closed()).count();
    assert!(told < 7.0 && left < 7, "{told} were told to go, {left} of 7 that rest stay");
    for task in working {
        let (status, client) = task.await.unwrap();
        assert!(status == 200 && !client.is_closed(), "{status}");
    }
}
