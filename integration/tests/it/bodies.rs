//! 256 MiB past a slow peer in bounded memory, both ways: what is not taken is not read.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Frame;
use outrigger_integration::behaviour::fed;
use outrigger_integration::client::{ask, get};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::{client, wait};

const SIZE: usize = 256 << 20;
/// Far below the body, far above what a debug build needs.
const BOUND_MIB: f64 = 96.0;

#[tokio::test]
async fn a_slow_reader_is_waited_for() {
    for service in ["http", "h2c"] {
        let origin = Origin::start().await;
        let mut mesh = Mesh::of(service, &[origin.address()]).await;
        let mut client = if service == "http" { mesh.http1().await } else { mesh.http2().await };
        let mut response = client.start(get("catalog", &format!("/bytes/{SIZE}"))).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let while_waiting = mesh.caller().process().resident_mib();
        assert!(while_waiting < BOUND_MIB, "{service}: {while_waiting} MiB while nobody reads");
        let (mut count, mut most) = (0, 0_f64);
        while let Some(frame) = wait::at_most("more of the body", response.body_mut().frame()).await {
            count += frame.unwrap().data_ref().map_or(0, Bytes::len);
            if count % (16 << 20) < 16_384 {
                most = most.max(mesh.caller().process().resident_mib());
            }
        }
        assert_eq!(count, SIZE);
        assert!(most < BOUND_MIB, "{service}: {most} MiB at most");
    }
}

#[tokio::test]
async fn a_slow_service_is_waited_for() {
    for service in ["http", "h2c"] {
        let origin = Origin::start().await;
        origin.delay(Duration::from_millis(700));
        let mut mesh = Mesh::of(service, &[origin.address()]).await;
        let mut sender = if service == "http" { mesh.http1().await } else { mesh.http2().await };
        let (feed, body) = fed();
        let waiting = tokio::spawn(sender.attempt(ask(Method::POST, "catalog", "/sink", body)));
        let chunk = Bytes::from(vec![b'x'; 64 << 10]);
        let mut most = 0_f64;
        for sent in 0..SIZE / chunk.len() {
            feed.send(Ok(Frame::data(chunk.clone()))).await.unwrap();
            if sent % 256 == 0 {
                most = most.max(mesh.caller().process().resident_mib());
            }
        }
        drop(feed);
        let reply = client::read(waiting.await.unwrap().unwrap()).await;
        assert_eq!(reply.text(), SIZE.to_string());
        assert!(most < BOUND_MIB, "{service}: {most} MiB at most");
    }
}
