//! One health check: a connection of its own, one question, the answer judged.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Uri, header};
use http_body_util::{BodyExt, Limited};
use outrigger_config::policy::HealthCheck;
use outrigger_config::policy::health_check::{HttpProbe, Probe, is_host};
use prost::Message;
use tokio::time::Instant;

use crate::body::Body;
use crate::endpoint::Sick;
use crate::exchange::grpc_status;
use crate::grpc::framed;
use crate::pool::{Sent, connect};

/// The most that is read of an answer's body, bytes.
const MAX_BODY: usize = 16 * 1024;

/// Who asks, as services see it.
const USER_AGENT: &str = concat!("outrigger-health-check/", env!("CARGO_PKG_VERSION"));

/// `SERVING` of `grpc.health.v1`.
const SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthRequest {
    /// Which service; empty is the server.
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthResponse {
    /// How it is.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks an endpoint of the destination `host`.
pub(super) async fn ask(check: &HealthCheck, host: &str, endpoint: SocketAddr) -> Result<(), Sick> {
    let address = SocketAddr::new(endpoint.ip(), check.port.unwrap_or(endpoint.port()));
    // A destination of another control plane may be called what no host is.
    let host = if is_host(host) { host.to_owned() } else { address.to_string() };
    let or_host = |own: &str| if own.is_empty() { host.clone() } else { own.to_owned() };
    // The same for all that is waited for: whoever knows why it took so long is asked first.
    let end = Instant::now() + check.timeout;
    let asked = async {
        match &check.probe {
            Probe::Http(probe) => http(probe, &or_host(&probe.host), address, check.timeout, end).await,
            Probe::Grpc { service, authority } => grpc(service, &or_host(authority), address, check.timeout).await,
            Probe::Tcp => connect::tcp(address, check.timeout).await.map_err(Sick::new),
        }
    };
    match tokio::time::timeout_at(end, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Sick::new(format_args!("no answer from {address} within {} ms", check.timeout.as_millis()))),
    }
}

async fn http(probe: &HttpProbe, host: &str, address: SocketAddr, timeout: Duration, end: Instant) -> Result<(), Sick> {
    let request = http::Request::builder().method(Method::GET).header(header::USER_AGENT, USER_AGENT);
    let request = match probe.http2 {
        true => request.uri(uri(host, &probe.path)?),
        false => request.uri(&*probe.path).header(header::HOST, host).header(header::CONNECTION, "close"),
    };
    let request = request.body(Body::empty()).map_err(Sick::new)?;
    let answer = exchange(request, probe.http2, address, timeout).await?;
    let status = answer.status().as_u16();
    // The body is read as far as it is short, so that no service sees its writes fail. Who says that it is sick is, at
    // once, however long it takes to say so; who says that it is well must get to the end.
    let rest = tokio::time::timeout_at(end, Limited::new(answer.into_body(), MAX_BODY).collect()).await;
    if !probe.statuses.iter().any(|range| range.contains(status)) {
        let at_once = !probe.tolerated.iter().any(|range| range.contains(status));
        return Err(Sick { at_once, ..Sick::new(format_args!("status {status} from {address}")) });
    }
    match rest {
        Ok(_) => Ok(()),
        Err(_) => Err(Sick::new(format_args!(
            "status {status} from {address}, but its body did not end within {} ms",
            timeout.as_millis()
        ))),
    }
}

async fn grpc(service: &str, host: &str, address: SocketAddr, timeout: Duration) -> Result<(), Sick> {
    let message = HealthRequest { service: service.to_owned() }.encode_to_vec();
    let request = http::Request::post(uri(host, "/grpc.health.v1.Health/Check")?)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::full(framed(&message)))
        .map_err(Sick::new)?;
    let (head, body) = exchange(request, true, address, timeout).await?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Sick::new(format_args!("status {} from {address}", head.status.as_u16())));
    }
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(Sick::new)?;
    let none = HeaderMap::new();
    let status = grpc_status(body.trailers().unwrap_or(&none)).or_else(|| grpc_status(&head.headers));
    match status {
        Some(0) => {}
        Some(code) => return Err(Sick::new(format_args!("gRPC status {code} from {address}"))),
        None => return Err(Sick::new(format_args!("{address} answered without a gRPC status"))),
    }
    match serving(&body.to_bytes()) {
        Some(SERVING) => Ok(()),
        Some(status) => Err(Sick::new(format_args!("{address} says {}", name(status)))),
        None => Err(Sick::new(format_args!("{address} answered with no HealthCheckResponse"))),
    }
}

async fn exchange(
    request: http::Request<Body>,
    http2: bool,
    address: SocketAddr,
    timeout: Duration,
) -> Result<http::Response<Body>, Sick> {
    let sent = if http2 {
        let connection = connect::h2(address, timeout, ()).await.map_err(Sick::new)?;
        connection.open().send(Box::new(request), None).await
    } else {
        let mut connection = connect::h1(address, timeout, ()).await.map_err(Sick::new)?;
        connection.send(request).await
    };
    match sent {
        Sent::Response(response) => Ok(response),
        Sent::Unsent(_, failure) | Sent::Failed(failure) => Err(Sick::new(format_args!("{address}: {failure}"))),
    }
}

fn uri(host: &str, path: &str) -> Result<Uri, Sick> {
    Uri::builder().scheme("http").authority(host).path_and_query(path).build().map_err(Sick::new)
}

/// The status in a framed answer, if it is one.
fn serving(body: &[u8]) -> Option<i32> {
    let [0, a, b, c, d, message @ ..] = body else { return None };
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
    HealthResponse::decode(message.get(..length)?).ok().map(|answer| answer.status)
}

fn name(status: i32) -> String {
    match status {
        0 => "UNKNOWN".into(),
        2 => "NOT_SERVING".into(),
        3 => "SERVICE_UNKNOWN".into(),
        other => format!("health status {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};
    use outrigger_config::policy::health_check::{HttpProbe, Probe, StatusRange};
    use outrigger_config::policy::{HealthCheck, Mode, Origin};
    use prost::Message;
    use tokio::net::TcpListener;

    use super::{HealthRequest, HealthResponse, ask, framed, serving};

    /// A gRPC server that says of each service what its name says.
    async fn grpc_server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(tcp).await.expect("a handshake");
                tokio::spawn(async move {
                    while let Some(Ok((request, mut reply))) = connection.accept().await {
                        assert_eq!(request.uri(), "http://catalog.shop/grpc.health.v1.Health/Check");
                        tokio::spawn(async move {
                            let asked = request.into_body().data().await.expect("a message").expect("read");
                            let service = HealthRequest::decode(&asked[5..]).expect("a request").service;
                            let mut stream = reply.send_response(http::Response::new(()), false).expect("sent");
                            let status = service.parse().unwrap_or(1);
                            let answer = framed(&HealthResponse { status }.encode_to_vec());
                            stream.send_data(answer, false).expect("sent");
                            let code = if service == "unimplemented" { "12" } else { "0" };
                            let mut trailers = HeaderMap::new();
                            trailers.insert("grpc-status", HeaderValue::from_static(code));
                            stream.send_trailers(trailers).expect("sent");
                        });
                    }
                });
            }
        });
        address
    }

    fn check(probe: Probe) -> HealthCheck {
        let defaults = HealthCheck::with_defaults(Origin::default(), Mode::Enforce, probe);
        HealthCheck { timeout: Duration::from_millis(500), ..defaults }
    }

    #[tokio::test]
    async fn a_grpc_service_must_say_that_it_serves() {
        let address = grpc_server().await;
        let ask = async |service: &str| {
            let probe = Probe::Grpc { service: service.into(), authority: "".into() };
            ask(&check(probe), "catalog.shop", address).await.map_err(|sick| sick.why.to_string())
        };
        assert_eq!(ask("").await, Ok(()));
        for (service, why) in [("2", "NOT_SERVING"), ("3", "SERVICE_UNKNOWN"), ("unimplemented", "gRPC status 12")] {
            assert!(ask(service).await.expect_err(service).contains(why), "{service}");
        }
    }

    #[tokio::test]
    async fn a_destination_whose_name_is_no_host_is_asked_by_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a caller");
            let mut connection = h2::server::handshake(tcp).await.expect("a handshake");
            connection.accept().await.expect("a request").expect("read").0.uri().authority().map(ToString::to_string)
        });
        let probe = Probe::Grpc { service: "".into(), authority: "".into() };
        let sick = ask(&check(probe), "outbound|80||catalog", address).await.expect_err("nobody answers");
        assert_eq!(asked.await.expect("asked"), Some(address.to_string()), "{sick:?}");
    }

    #[tokio::test]
    async fn silence_and_a_closed_port_are_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let silent = ask(&check(Probe::Http(HttpProbe::new("/"))), "catalog", address).await.expect_err("silent");
        assert!(silent.why.contains("no answer") && !silent.at_once, "{silent:?}");
        assert_eq!(ask(&check(Probe::Tcp), "catalog", address).await, Ok(()), "a connection is enough");
        drop(listener);
        let refused = ask(&check(Probe::Tcp), "catalog", address).await.expect_err("closed");
        assert!(refused.why.contains("connection_refused"), "{refused:?}");
    }

    #[tokio::test]
    async fn what_a_status_means_is_said() {
        let address = statuses_server().await;
        for (status, statuses, tolerated, expected) in [
            ("204", StatusRange::SUCCESS, None, Ok(())),
            ("301", StatusRange::only(301), None, Ok(())),
            ("503", StatusRange::SUCCESS, Some(StatusRange::ALL), Err(false)),
            ("503", StatusRange::SUCCESS, None, Err(true)),
        ] {
            let path = format!("/{status}");
            let (statuses, tolerated) = (vec![statuses], tolerated.into_iter().collect());
            let probe = HttpProbe { statuses, tolerated, ..HttpProbe::new(&path) };
            let answer = ask(&check(Probe::Http(probe)), "catalog", address).await;
            assert_eq!(answer.map_err(|sick| sick.at_once), expected, "{status}");
        }
    }

    #[tokio::test]
    async fn a_status_counts_though_its_body_never_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut tcp, _)) = listener.accept().await {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut asked = [0; 1024];
                let read = tcp.read(&mut asked).await.expect("a request");
                let status = if asked[..read].starts_with(b"GET /well") { "200 OK" } else { "503 No" };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\n.");
                tcp.write_all(head.as_bytes()).await.expect("written");
                held.push(tcp);
            }
        });
        let ask = async |path: &str| {
            let probe = HttpProbe { tolerated: Vec::new(), ..HttpProbe::new(path) };
            ask(&check(Probe::Http(probe)), "catalog", address).await
        };
        let sick = ask("/sick").await.expect_err("503");
        assert!(sick.at_once && sick.why.contains("status 503"), "{sick:?}");
        let stuck = ask("/well").await.expect_err("no end");
        assert!(!stuck.at_once && stuck.why.contains("did not end"), "{stuck:?}");
    }

    /// Answers with the status that its path is.
    async fn statuses_server() -> SocketAddr {
        use hyper::service::service_fn;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let answer = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                    assert_eq!(request.headers()["host"], "catalog");
                    http::Response::builder().status(&request.uri().path()[1..]).body(String::from("well"))
                });
                let io = hyper_util::rt::TokioIo::new(tcp);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
            }
        });
        address
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let whole = framed(&HealthResponse { status: 1 }.encode_to_vec());
        assert_eq!(serving(&whole), Some(1));
        assert_eq!(serving(&framed(&[])), Some(0), "what is absent is UNKNOWN");
        for wrong in
            [&whole[..6], b"\x01\0\0\0\x02\x08\x01", b"\0\0\0\0\xff\x08\x01", b"\0\0\0\0\x02\xff\xff", b"", b"hi"]
        {
            assert_eq!(serving(wrong), None, "{wrong:?}");
        }
    }
}
