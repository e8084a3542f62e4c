//! gRPC of all four kinds: every message passes when it is said, and the status is the service's own.

use std::time::Duration;

use outrigger_integration::call::Call;
use outrigger_integration::client::Client;
use outrigger_integration::mesh::{Mesh, SERVICE, small};
use outrigger_integration::origin::{Origin, Seen};
use outrigger_integration::wait;

async fn pricing() -> (Origin, Mesh, Client) {
    let origin = Origin::start().await;
    let mesh = Mesh::of("grpc", &[origin.address()]).await;
    let client = mesh.http2().await;
    (origin, mesh, client)
}

#[tokio::test]
async fn a_unary_call_passes() {
    let (_origin, _mesh, mut client) = pricing().await;
    let mut call = Call::open(&mut client, "catalog", "Unary", &[], "sku-1").await;
    assert_eq!(call.end().await, (vec!["sku-1".to_owned()], Some(0)));
}

#[tokio::test]
async fn a_server_stream_passes() {
    let (_origin, _mesh, mut client) = pricing().await;
    let mut call = Call::open(&mut client, "catalog", "Server", &[], "tick").await;
    assert_eq!(call.end().await, (vec!["tick".to_owned(); 3], Some(0)));
}

#[tokio::test]
async fn a_client_stream_passes() {
    let (_origin, _mesh, mut client) = pricing().await;
    let mut call = Call::open(&mut client, "catalog", "Client", &[], "a").await;
    call.say("b").await;
    call.say("c").await;
    assert_eq!(call.end().await, (vec!["abc".to_owned()], Some(0)));
}

#[tokio::test]
async fn messages_of_a_bidirectional_stream_are_not_held_back() {
    let (_origin, _mesh, mut client) = pricing().await;
    let mut call = Call::open(&mut client, "catalog", "Bidi", &[], "0").await;
    for turn in 1..20 {
        // The answer is awaited before the next message is said: a buffer anywhere would stop the talk.
        assert_eq!(call.hear().await, Some((turn - 1).to_string()));
        call.say(&turn.to_string()).await;
    }
    assert_eq!(call.end().await, (vec!["19".to_owned()], Some(0)));
}

#[tokio::test]
async fn a_status_passes_in_the_head_and_after_messages() {
    let (_origin, _mesh, mut client) = pricing().await;
    let mut refused = Call::open(&mut client, "catalog", "Refuse", &[], "now").await;
    assert_eq!(refused.end().await, (vec![], Some(14)));
    assert_eq!(refused.headers()["grpc-message"], "not%20today");
    let mut late = Call::open(&mut client, "catalog", "Late", &[], "one").await;
    assert_eq!(late.end().await, (vec!["one".to_owned()], Some(13)));
}

#[tokio::test]
async fn metadata_passes_as_it_is() {
    let (origin, _mesh, mut client) = pricing().await;
    let fields = [("x-tenant", "7"), ("trace-bin", "AAEC")];
    Call::open(&mut client, "catalog", "Unary", &fields, "sku-1").await.end().await;
    let headers = &origin.seen()[0].headers;
    for (name, value) in fields {
        assert_eq!(headers[name], value);
    }
    assert_eq!(headers["te"], "trailers");
}

#[tokio::test]
async fn a_call_past_its_timeout_is_deadline_exceeded() {
    let origin = Origin::start().await;
    origin.delay(Duration::from_secs(30));
    let documents = small("grpc", &[origin.address()])
        .route("catalog", "- { timeouts: { request: 300ms }, backendRefs: [{ name: catalog, port: 80 }] }");
    let mesh = Mesh::standalone(documents).await;
    let mut client = mesh.http2().await;
    let mut call = Call::open(&mut client, "catalog", "Unary", &[], "sku-1").await;
    assert_eq!(call.end().await, (vec![], Some(4)));
    assert!(call.headers()["proxy-status"].to_str().unwrap().contains("http_response_timeout"));
}

#[tokio::test]
async fn a_call_to_nowhere_is_unavailable() {
    let mesh = Mesh::of("grpc", &[outrigger_integration::ports::free()]).await;
    let mut client = mesh.http2().await;
    let mut call = Call::open(&mut client, "catalog", "Unary", &[], "sku-1").await;
    assert_eq!(call.end().await, (vec![], Some(14)));
}

#[tokio::test]
async fn a_callers_deadline_holds_and_what_is_left_of_it_is_passed_on() {
    let origin = Origin::start().await;
    let documents = small("kubernetes.io/h2c", &[origin.address()])
        .route_policy("catalog", "retry: { attempts: 1, grpcCodes: [UNAVAILABLE], methods: [\"*\"] }");
    let mesh = Mesh::standalone(documents).await;
    let mut client = mesh.http2().await;
    // One that nothing answers in time.
    origin.delay(Duration::from_secs(60));
    let mut call = Call::open(&mut client, SERVICE, "Unary", &[("grpc-timeout", "200m")], "a").await;
    assert_eq!(call.end().await, (Vec::new(), Some(4)));
    wait::holds("the call to be given up", || origin.given_up() == 1).await;
    origin.delay(Duration::ZERO);
    let mut call = Call::open(&mut client, SERVICE, "Refuse", &[("grpc-timeout", "60S")], "a").await;
    assert_eq!(call.end().await.1, Some(14));
    let left = |seen: &Seen| -> u64 {
        let text = seen.headers["grpc-timeout"].to_str().expect("text");
        text.strip_suffix('u').and_then(|micros| micros.parse().ok()).expect("microseconds")
    };
    let seen = origin.seen();
    let [.., first, second] = &seen[..] else { panic!("two attempts") };
    assert!(left(first) <= 60_000_000 && left(second) < left(first), "{} {}", left(first), left(second));
}
