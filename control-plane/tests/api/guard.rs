//! What keeps web pages and slow clients out.

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::plane::{Plane, SHOP};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebound_name_reads_nothing_and_probes_answer_anybody() {
    let plane = Plane::start_with(&["--api-host", "mesh.internal"]).await;
    let host = async |host: &str, path: &str| plane.ask(Method::GET, path, &[("host", host)], "").await;
    for path in ["/api/v1/graph", "/api/v1/documents", "/metrics", "/api/v1/nothing", "/v1/traces"] {
        assert_eq!(host("evil.example", path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(host("mesh.internal", "/api/v1/graph").await.status, StatusCode::OK);
    assert_eq!(host("localhost:15080", "/api/v1/graph").await.status, StatusCode::OK);
    for path in ["/livez", "/readyz"] {
        assert_eq!(host("evil.example", path).await.status, StatusCode::OK, "{path}");
    }
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_form_can_send_changes_nothing() {
    let plane = Plane::start().await;
    let apply =
        |headers: &'static [(&'static str, &'static str)]| plane.ask(Method::POST, "/api/v1/apply", headers, SHOP);
    for simple in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "multipart/form-data; boundary=x")],
    ] {
        assert_eq!(apply(simple).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{simple:?}");
    }
    let foreign = &[("content-type", "application/yaml"), ("origin", "https://evil.example")];
    assert_eq!(apply(foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(apply(&[("outrigger-client", "curl")]).await.status, StatusCode::OK);
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_finish_its_head_is_cut_off() {
    let plane = Plane::start().await;
    let mut slow = TcpStream::connect(plane.api()).await.expect("connects");
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.expect("writes");
    let started = Instant::now();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut answer));
    read.await.expect("cut off in time").expect("reads");
    assert!(started.elapsed() >= Duration::from_secs(9));
    plane.running.stop().await;
}
