//! HTTP/2 by prior knowledge: streams side by side on one connection, none in another's way.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use http::Version;
use http_body_util::BodyExt;
use outrigger_integration::client::{get, post, read};
use outrigger_integration::mesh::Mesh;
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;
use outrigger_integration::wire::Script;

#[tokio::test]
async fn streams_run_side_by_side() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut client = mesh.http2().await;
    let begun = std::time::Instant::now();
    let replies: Vec<_> = (0..50).map(|_| client.attempt(get("catalog", "/slow/300"))).collect();
    for reply in join_all(replies).await {
        let reply = read(reply.unwrap()).await;
        assert_eq!((reply.status, reply.version), (200, Version::HTTP_2));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "fifty waits of 0.3 s took {:?}", begun.elapsed());
    assert!(origin.connections() <= 2, "one connection a worker carries them all");
}

#[tokio::test]
async fn a_stalled_stream_does_not_hold_up_its_neighbours() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut client = mesh.http2().await;
    // More than the windows hold: both are full and stay so, because nobody reads them.
    let _stalled =
        [client.start(get("catalog", "/bytes/50000000")).await, client.start(get("catalog", "/stall")).await];
    for _ in 0..20 {
        assert_eq!(client.send(get("catalog", "/")).await.status, 200);
    }
}

/// What a caller of HTTP/2 hears of its request: the statuses before the answer, and the answer's.
async fn heard(address: std::net::SocketAddr, request: http::Request<()>, body: &'static str) -> (Vec<u16>, u16) {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let (mut response, mut stream) = sender.send_request(request, body.is_empty()).unwrap();
    let mut early = Vec::new();
    let answer = std::future::poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            early.push(interim.status().as_u16());
            // The body goes out only once there is leave for it.
            if interim.status() == 100 {
                stream.send_data(bytes::Bytes::from_static(body.as_bytes()), true).unwrap();
            }
        }
        std::pin::Pin::new(&mut response).poll(cx)
    });
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer").unwrap();
    (early, answer.status().as_u16())
}

#[tokio::test]
async fn early_hints_reach_a_caller_from_either_protocol() {
    let http1 = Script::saying(
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http2 = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok((_, mut reply))) = connection.accept().await {
            reply.send_informational(http::Response::builder().status(103).body(()).unwrap()).unwrap();
            reply.send_response(http::Response::new(()), true).unwrap();
        }
    });
    for (protocol, address) in [("http", http1.address()), ("h2c", http2)] {
        let mesh = Mesh::of(protocol, &[address]).await;
        let request = http::Request::get("http://catalog/").body(()).unwrap();
        assert_eq!(heard(mesh.address(), request, "").await, (vec![103], 200), "{protocol}");
    }
}

#[tokio::test]
async fn an_expectation_is_met_whatever_the_service_speaks() {
    let origin = Origin::start().await;
    for protocol in ["http", "h2c"] {
        let mesh = Mesh::of(protocol, &[origin.address()]).await;
        let request = http::Request::post("http://catalog/sink").header("expect", "100-continue").body(()).unwrap();
        assert_eq!(heard(mesh.address(), request, "hello").await, (vec![100], 200), "{protocol}");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let reply = mesh.http2().await.send(get("catalog", "/trailers").with("te", "trailers")).await;
    assert_eq!((reply.text().as_str(), reply.trailer("x-checksum")), ("summed", Some("c0ffee")));
}

#[tokio::test]
async fn a_reset_stream_leaves_the_connection_to_the_others() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    let mut client = mesh.http2().await;
    let mut stalled = client.start(get("catalog", "/stall")).await;
    stalled.body_mut().frame().await.unwrap().unwrap();
    drop(stalled);
    wait::holds("the service to learn of the reset", || origin.given_up() == 1).await;
    let before = origin.connections();
    let reply = client.send(post("catalog", "/echo", "still here")).await;
    assert_eq!(reply.text(), "still here");
    assert_eq!(origin.connections(), before, "one cancelled stream costs no connection");
}

#[tokio::test]
async fn the_protocol_is_detected_on_one_port() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    assert_eq!(mesh.http1().await.send(get("catalog", "/")).await.version, Version::HTTP_11);
    assert_eq!(mesh.http2().await.send(get("catalog", "/")).await.version, Version::HTTP_2);
}

#[tokio::test]
async fn an_offer_to_upgrade_does_not_break_an_answer() {
    let script = Script::saying(
        "HTTP/1.1 200 OK\r\nupgrade: h2,h2c\r\nconnection: Upgrade, Keep-Alive\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let reply = mesh.http2().await.send(get("catalog", "/")).await;
    assert_eq!((reply.status, reply.text().as_str(), reply.header("upgrade")), (200, "ok", None));
}

#[tokio::test]
async fn trailers_of_one_hop_are_left_behind() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("h2c", &[origin.address()]).await;
    for trailer in ["x-sum: 1", "keep-alive: 1", "upgrade: x", "te: x", "connection: close"] {
        let mut wire = mesh.wire().await;
        let head = "POST /echo HTTP/1.1\r\nhost: catalog\r\ntransfer-encoding: chunked\r\n\r\n";
        wire.send(format!("{head}3\r\nabc\r\n0\r\n{trailer}\r\n\r\n")).await;
        let reply = wire.response().await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "abc"), "{trailer}");
    }
}
