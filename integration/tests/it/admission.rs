//! The door: what parsers disagree about is refused before anything routes by it, and what belongs to one connection does
//! not pass to the next.

use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;
use outrigger_integration::wire::Script;

/// Everything that hyper takes and a proxy must not.
const REFUSED: [(&str, &str); 13] = [
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nhost: catalog\r\nhost: cart\r\n\r\n"),
    ("the same host twice", "GET / HTTP/1.1\r\nhost: catalog\r\nhost: catalog\r\n\r\n"),
    ("an empty host", "GET / HTTP/1.1\r\nhost: \r\n\r\n"),
    ("a host with a space", "GET / HTTP/1.1\r\nhost: catalog cart\r\n\r\n"),
    ("a host with a user", "GET / HTTP/1.1\r\nhost: me@catalog\r\n\r\n"),
    ("a host with a path", "GET / HTTP/1.1\r\nhost: catalog/cart\r\n\r\n"),
    (
        "two lengths of a body",
        "POST / HTTP/1.1\r\nhost: catalog\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("lengths that differ", "POST / HTTP/1.1\r\nhost: catalog\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd"),
    ("an absolute form of another host", "GET http://cart/ HTTP/1.1\r\nhost: catalog\r\n\r\n"),
    ("a target without a slash", "GET index.html HTTP/1.1\r\nhost: catalog\r\n\r\n"),
    ("a target with a fragment", "GET /a#/b HTTP/1.1\r\nhost: catalog\r\n\r\n"),
    ("an asterisk for a GET", "GET * HTTP/1.1\r\nhost: catalog\r\n\r\n"),
];

#[tokio::test]
async fn what_parsers_disagree_about_is_refused() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    for (what, bytes) in REFUSED {
        let mut wire = mesh.wire().await;
        wire.send(bytes).await;
        let response = wire.response().await;
        assert_eq!(response.status, 400, "{what}");
        assert_eq!(origin.requests(), 0, "{what} reached the service");
    }
}

#[tokio::test]
async fn a_refusal_says_why() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    for (what, bytes) in [REFUSED[0], REFUSED[1], REFUSED[5], REFUSED[9]] {
        let mut wire = mesh.wire().await;
        wire.send(bytes).await;
        let response = wire.response().await;
        assert!(response.reason().is_some(), "{what}: {:?}", response.head);
    }
}

#[tokio::test]
async fn a_doubtful_length_ends_the_connection() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    // The bytes after the empty chunk are a request to whoever counted by Transfer-Encoding, and a body to the other.
    wire.send("POST / HTTP/1.1\r\nhost: catalog\r\ncontent-length: 45\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    wire.send("GET /smuggled HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 400);
    wire.ended().await;
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn an_absolute_form_of_the_same_host_passes() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET http://catalog/request?a=1 HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    let seen: serde_json::Value = serde_json::from_slice(&wire.response().await.body).unwrap();
    assert_eq!((&seen["path"], &seen["host"]), (&"/request?a=1".into(), &"catalog".into()));
}

#[tokio::test]
async fn fields_of_the_callers_connection_stay_there() {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    let mut wire = mesh.wire().await;
    wire.send("GET /request HTTP/1.1\r\nhost: catalog\r\nconnection: keep-alive, x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: gzip\r\nx-other: 2\r\n\r\n").await;
    let seen: serde_json::Value = serde_json::from_slice(&wire.response().await.body).unwrap();
    for gone in ["x-mine", "keep-alive", "proxy-connection", "te"] {
        assert!(seen["headers"].get(gone).is_none(), "{gone} passed: {seen}");
    }
    assert_eq!(seen["headers"]["x-other"], "2");
}

#[tokio::test]
async fn fields_of_the_services_connection_stay_there() {
    let script = Script::saying("HTTP/1.1 200 OK\r\nconnection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: close\r\nx-other: 2\r\ncontent-length: 2\r\n\r\nok").await;
    let mesh = Mesh::of("http", &[script.address()]).await;
    let reply = mesh.get("/").await;
    for gone in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(reply.header(gone), None, "{gone} passed");
    }
    assert_eq!(reply.header("x-other"), Some("2"));
}

#[tokio::test]
async fn a_path_has_one_form_for_routes_and_services() {
    let (public, admin) = (Origin::named("public").await, Origin::named("admin").await);
    let documents = small("http", &[public.address()]).service("admin", "http", &[admin.address()]).route(
        "catalog",
        "
        - matches: [{ path: { value: /admin } }]
          backendRefs: [{ name: admin, port: 80 }]
        - matches: [{ path: { value: /public } }]
          backendRefs: [{ name: catalog, port: 80 }]",
    );
    let mesh = Mesh::standalone(documents).await;
    for (path, service, seen) in [
        ("/public/../admin", "admin", "/admin"),
        ("/public/%2e%2E/admin?a=/../b", "admin", "/admin?a=/../b"),
        ("/public/..;x/admin", "admin", "/admin"),
        ("/public\\..\\admin", "admin", "/admin"),
        ("/%61dmin", "admin", "/admin"),
        ("/admin/../public/./a", "public", "/public/a"),
        ("/public/a%2Fb//c", "public", "/public/a%2Fb//c"),
    ] {
        let mut wire = mesh.wire().await;
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: catalog\r\n\r\n")).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.head.get("x-origin")), (200, Some(service)), "{path}");
        let origin = if service == "admin" { &admin } else { &public };
        assert_eq!(origin.seen().last().map(|one| &*one.path), Some(seen), "{path}");
    }
    for path in ["/../admin", "/public/../../admin", "/public/..%2fadmin", "/public%5c..%5cadmin", "/%%32e%%32e/admin"]
    {
        let mut wire = mesh.wire().await;
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: catalog\r\n\r\n")).await;
        assert_eq!(wire.response().await.status, 400, "{path}");
    }
}

/// A request of HTTP/2 as bytes: the preface, empty settings, and one GET of this target, without Huffman codes.
fn get_http2(target: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    // By the static table: GET, http, and the names of :authority and :path.
    let fields = [vec![0x82, 0x86, 0x01], text("catalog"), vec![0x04], text(target)].concat();
    let length = u8::try_from(fields.len()).expect("a short head");
    let frames = [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[0, 0, length, 1, 0x5, 0, 0, 0, 1], &fields];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frames.concat()[..]].concat()
}

#[tokio::test]
async fn a_fragment_in_http2_is_gone_before_anything_reads_the_target() {
    let origin = Origin::start().await;
    let closed = "- matches: [{ path: { type: Exact, value: /admin } }]\n  filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 302 } }]\n- backendRefs: [{ name: catalog, port: 80 }]";
    let mut mesh = Mesh::standalone(small("http", &[origin.address()]).route("catalog", closed)).await;
    let targets = [("/items#/../admin", "/items"), ("/items?of=a#b", "/items?of=a")];
    let mut nothing = mesh.wire().await;
    nothing.send(get_http2("#/admin")).await;
    for (index, (target, path)) in targets.into_iter().enumerate() {
        let mut wire = mesh.wire().await;
        wire.send(get_http2(target)).await;
        wait::holds("the service to be asked", || origin.requests() > index).await;
        assert_eq!(origin.seen()[index].path, path, "{target}");
    }
    // What is closed is not open to another spelling of it.
    let mut wire = mesh.wire().await;
    wire.send(get_http2("/admin#x")).await;
    wait::until("the answer", async || {
        let answered = mesh.caller().metric("outrigger_requests_total", &["code=\"302\""]).await;
        (answered == 1.0).then_some(())
    })
    .await;
    assert_eq!(origin.requests(), 2, "a target that is a fragment alone is none");
}
