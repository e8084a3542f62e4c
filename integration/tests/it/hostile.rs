//! Peers that mean harm, or are just broken: nothing they say is taken for anything else, and nobody else feels it.

use std::time::Duration;

use outrigger_integration::client::get;
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wire::{End, Script};

/// Requests whose length two parsers could see differently; a second request hides in what follows.
const TWO_WAYS_TO_READ: [&str; 12] = [
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding : chunked",
    "transfer-encoding: \x0bchunked",
    "x: y\r\n transfer-encoding: chunked",
    "content-length: +5",
    "content-length: -1",
    "content-length: 5, 6",
    "content-length: 0x5",
    "content-length: 99999999999999999999",
];

#[tokio::test]
async fn a_length_that_can_be_read_two_ways_is_refused() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    for field in TWO_WAYS_TO_READ {
        let mut wire = mesh.wire().await;
        wire.send(format!("POST / HTTP/1.1\r\nhost: catalog\r\n{field}\r\n\r\n0\r\n\r\n")).await;
        wire.offer("GET /smuggled HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        let (answer, _) = wire.read_to_end().await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{field:?}: {answer}");
        assert_eq!(origin.requests(), 0, "{field:?} reached the service");
    }
}

#[tokio::test]
async fn two_framings_are_refused_behind_another_request_too() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    for fields in ["transfer-encoding: chunked\r\ncontent-length: 5", "content-length: 5\r\ntransfer-encoding: chunked"]
    {
        let mut wire = mesh.wire().await;
        let before = origin.requests();
        wire.send(format!(
            "GET /slow/50 HTTP/1.1\r\nhost: catalog\r\n\r\nPOST / HTTP/1.1\r\nhost: catalog\r\n{fields}\r\n\r\n0\r\n\r\n"
        ))
        .await;
        assert_eq!([wire.response().await.status, wire.response().await.status], [200, 400], "{fields:?}");
        assert_eq!(origin.requests(), before + 1, "{fields:?} reached the service");
    }
}

#[tokio::test]
async fn broken_chunks_end_the_request() {
    for chunks in
        ["zz\r\nhello\r\n0\r\n\r\n", "5;\nhello\r\n0\r\n\r\n", "ffffffffffffffffff\r\nhello", "5\r\nhelloXX0\r\n\r\n"]
    {
        let origin = Origin::start().await;
        let mesh = Mesh::of("http", &[origin.address()]).await;
        let mut wire = mesh.wire().await;
        wire.send(format!("POST /sink HTTP/1.1\r\nhost: catalog\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        wire.offer("GET /smuggled HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        let (answer, _) = wire.read_to_end().await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 2"), "{chunks:?}: {answer}");
        assert!(origin.seen().iter().all(|seen| seen.path != "/smuggled"), "{chunks:?}");
    }
}

#[tokio::test]
async fn a_response_nobody_asked_for_goes_to_nobody() {
    let script = Script::start(|mut wire, _| async move {
        loop {
            wire.request().await;
            let asked = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nasked";
            if !wire.offer(format!("{asked}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")).await {
                return;
            }
        }
    })
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    for turn in 0..50 {
        let reply = mesh.get("/").await;
        assert_ne!(reply.text(), "poison", "request {turn}");
    }
}

#[tokio::test]
async fn a_response_with_two_lengths_is_not_passed_on() {
    for fields in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "content-length: five",
    ] {
        let script = Script::start(move |mut wire, _| async move {
            wire.request().await;
            wire.offer(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
            wire.ended().await;
        })
        .await;
        let mesh = Mesh::of("http", &[script.address()]).await;
        let mut wire = mesh.wire().await;
        wire.send("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        let response = wire.response().await;
        let both = response.head.has("content-length") && response.head.has("transfer-encoding");
        let lengths = response.head.fields.iter().filter(|(name, _)| name == "content-length").count();
        assert!(!both && lengths <= 1, "{fields:?}: {:?}", response.head);
        assert!(
            response.status >= 500 || response.text() == "hello",
            "{fields:?}: {} {:?}",
            response.status,
            response.text()
        );
    }
}

#[tokio::test]
async fn a_head_without_measure_is_refused() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let long = format!("GET / HTTP/1.1\r\nhost: catalog\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: catalog\r\n{}\r\n", "x-one: 1\r\n".repeat(5000));
    for head in [long, many] {
        let mut wire = mesh.wire().await;
        wire.offer(head).await;
        let (answer, _) = wire.read_to_end().await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(origin.requests(), 0);
    assert_eq!(mesh.get("/").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_ends_the_connection() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    for bytes in [
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "PRI * HTTP/2.0\r\n\r\nnot quite",
        "\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
    ] {
        let mut wire = mesh.wire().await;
        wire.offer(bytes).await;
        wire.finish().await;
        let (_, end) = wire.read_to_end().await;
        assert!(matches!(end, End::Fin | End::Reset));
    }
    assert_eq!(mesh.get("/").await.status, 200);
}

#[tokio::test]
async fn a_tunnel_to_anywhere_is_refused() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("CONNECT catalog:80 HTTP/1.1\r\nhost: catalog:80\r\n\r\n").await;
    let response = wire.response().await;
    assert!((400..=501).contains(&response.status), "{}", response.status);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn callers_that_come_and_go_leave_nothing_behind() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::of("http", &[origin.address()]).await;
    let churn = async |mesh: &Mesh| {
        for _ in 0..1500 {
            let mut wire = mesh.wire().await;
            wire.send("GET /slow/60000 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    churn(&mesh).await;
    let before = mesh.caller().process().resident_mib();
    for _ in 0..3 {
        churn(&mesh).await;
    }
    let after = mesh.caller().process().resident_mib();
    assert!(after < before + 8.0, "{before} MiB became {after} MiB");
    assert_eq!(mesh.http1().await.send(get("catalog", "/")).await.status, 200);
    assert_eq!(mesh.caller().metric("outrigger_inflight_requests", &[]).await, 0.0);
}
