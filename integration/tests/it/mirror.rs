//! Mirrored requests: a copy elsewhere that no caller ever feels.

use std::time::{Duration, Instant};

use outrigger_integration::client::{get, post};
use outrigger_integration::mesh::{Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;
use outrigger_integration::wire::Script;

/// `catalog` whose requests are copied to `shadow`.
async fn mirrored(share: &str) -> (Origin, Origin, Mesh) {
    let (origin, shadow) = (Origin::named("catalog").await, Origin::named("shadow").await);
    let rule = format!(
        "
- filters:
  - type: RequestMirror
    requestMirror: {{ backendRef: {{ name: shadow, port: 80 }}{share} }}
  - type: RequestHeaderModifier
    requestHeaderModifier: {{ set: [{{ name: x-way, value: rule }}] }}
  backendRefs: [{{ name: catalog, port: 80 }}]"
    );
    let documents =
        small("http", &[origin.address()]).service("shadow", "http", &[shadow.address()]).route("catalog", &rule);
    (origin, shadow, Mesh::standalone(documents).await)
}

#[tokio::test]
async fn a_copy_has_the_head_and_the_body_of_the_request() {
    let (_origin, shadow, mesh) = mirrored("").await;
    let reply = mesh.send(post(SERVICE, "/echo?a=b", "body").with("x-mine", "1")).await;
    assert_eq!((reply.header("x-origin"), reply.body.as_ref()), (Some("catalog"), &b"body"[..]));
    wait::holds("the copy to come", || shadow.requests() == 1).await;
    let seen = &shadow.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/echo?a=b"));
    assert_eq!(
        (&seen.headers["x-mine"], &seen.headers["x-way"], &seen.headers["content-length"]),
        (&"1".parse().expect("a value"), &"rule".parse().expect("a value"), &"4".parse().expect("a value"),)
    );
}

#[tokio::test]
async fn a_share_is_copied() {
    let (origin, shadow, mut mesh) = mirrored(", fraction: { numerator: 1, denominator: 4 }").await;
    mesh.many("/", 800).await;
    assert_eq!(origin.requests(), 800);
    let copies = |copies: usize| (130..=270).contains(&copies);
    wait::holds("a quarter to be copied", || copies(shadow.requests())).await;
    // Counted for itself, beside the requests.
    let labels = ["route=\"HTTPRoute shop/catalog/rule-0/mirror\""];
    wait::until("the copies to be counted", async || {
        let counted = mesh.caller().metric("outrigger_requests_total", &labels).await;
        (counted == shadow.requests() as f64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_caller_waits_for_a_slow_or_a_missing_mirror() {
    let (_origin, shadow, mesh) = mirrored("").await;
    shadow.delay(Duration::from_secs(60));
    let start = Instant::now();
    assert!(mesh.many("/", 300).await.iter().all(|reply| reply.status == 200));
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(shadow.most_under_way() <= 100, "{} at once", shadow.most_under_way());
    shadow.stop().await;
    assert_eq!(mesh.get("/").await.status, 200);
}

#[tokio::test]
async fn a_long_body_is_not_copied() {
    let (_origin, shadow, mesh) = mirrored("").await;
    let reply = mesh.send(post(SERVICE, "/sink", vec![b'x'; 1 << 20])).await;
    assert_eq!(reply.body.as_ref(), b"1048576");
    // The next is, so that the one before is known not to be on its way.
    mesh.send(get(SERVICE, "/next")).await;
    wait::holds("the copy to come", || shadow.requests() == 1).await;
    assert_eq!(shadow.seen()[0].path, "/next");
}

#[tokio::test]
async fn nothing_that_a_mirror_says_reaches_the_caller() {
    let origin = Origin::start().await;
    let shadow = Script::saying("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 500 No\r\n\r\n").await;
    let rule = "
- filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: shadow, port: 80 } } }]
  backendRefs: [{ name: catalog, port: 80 }]";
    let documents =
        small("http", &[origin.address()]).service("shadow", "http", &[shadow.address()]).route("catalog", rule);
    let mesh = Mesh::standalone(documents).await;
    let mut wire = mesh.wire().await;
    // Long enough for the mirror's answer to come first.
    origin.delay(Duration::from_millis(300));
    for _ in 0..2 {
        wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        let response = wire.response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "origin\n"));
    }
    assert!(shadow.connections() > 0);
}

#[tokio::test]
async fn a_slow_upload_takes_no_place_of_a_copy() {
    let (origin, shadow, mesh) = mirrored("").await;
    let mut uploads = Vec::new();
    for _ in 0..101 {
        let mut wire = mesh.wire().await;
        wire.send("POST /sink HTTP/1.1\r\nhost: catalog\r\ncontent-length: 4\r\n\r\nab").await;
        uploads.push(wire);
    }
    wait::holds("the uploads to be under way", || origin.under_way() == 101).await;
    assert_eq!(mesh.get("/").await.status, 200);
    wait::holds("the copy to come", || shadow.requests() == 1).await;
}
