//! What a service of the tests does, by path. Bodies are streams fed by a task, so that a slow reader is felt and a caller
//! that goes away is noticed.
//!
//! | path | what happens |
//! |---|---|
//! | `/request` | the request's head as JSON: `method`, `path`, `version`, `host`, `headers` |
//! | `/echo` | the body and the trailers come back |
//! | `/status/N` | that status |
//! | `/slow/MS` | answers after so many milliseconds |
//! | `/bytes/N` | so many bytes, as fast as they are taken |
//! | `/sink` | reads the body and says how long it was |
//! | `/early` | answers without reading the body |
//! | `/trailers` | a body and a trailer `x-checksum` |
//! | `/stall` | a head, one chunk, and then nothing until it is given up |
//! | `/truncate` | some bytes, and then it breaks off |
//! | `/test.Echo/METHOD` | gRPC: `Unary`, `Client`, `Server`, `Bidi`, and `Refuse`, `Fail`, `Late`, `Stall` for what fails |
//! | any other | its name |

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use tokio::sync::mpsc;

use crate::grpc::{self, Frames};

/// What a body fails with; the text is never seen on the wire.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body of a service.
pub type Body = BoxBody<Bytes, BodyError>;
/// Where a task puts the frames of a body.
pub type Feed = mpsc::Sender<Result<Frame<Bytes>, BodyError>>;

/// How much is sent at a time.
const CHUNK: usize = 16 * 1024;

/// A body that a task feeds, and where it feeds it.
pub fn fed() -> (Feed, Body) {
    let (feed, mut frames) = mpsc::channel(4);
    let stream = futures_util::stream::poll_fn(move |context| frames.poll_recv(context));
    (feed, BodyExt::boxed(StreamBody::new(stream)))
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A response of `status`, with a body that says so where there may be one.
pub fn status(status: u16) -> Response<Body> {
    let body = if matches!(status, 204 | 304) { empty() } else { full(format!("{status}\n")) };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("tests ask for real statuses");
    response
}

/// The answer of the service called `name`.
pub async fn answer(name: &str, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (first, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match first {
        "request" => Response::new(full(head(&request).to_string())),
        "echo" => echo(request),
        "status" => status(number.parse().expect("/status/N")),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number.parse().expect("/slow/MS"))).await;
            Response::new(full(format!("{name}\n")))
        }
        "bytes" => bytes(number.parse().expect("/bytes/N")),
        "sink" => sink(request.into_body()).await,
        "early" => status(200),
        "trailers" => trailers(),
        "stall" => stall(request.into_body()),
        "truncate" => truncate(),
        "test.Echo" => call(number, request.into_body()).await,
        _ => Response::new(full(format!("{name}\n"))),
    }
}

fn head(request: &Request<Incoming>) -> serde_json::Value {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers = serde_json::Map::new();
    for name in request.headers().keys() {
        let values: Vec<_> = request.headers().get_all(name).iter().map(text).collect();
        headers.insert(name.to_string(), values.join(", ").into());
    }
    let host = request.headers().get("host").map(text);
    json!({
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map(ToString::to_string),
        "version": format!("{:?}", request.version()),
        "host": host.or_else(|| request.uri().authority().map(ToString::to_string)),
        "headers": headers,
    })
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let mut response = Response::builder();
    // HTTP/1.1 carries only those trailers that were announced.
    if let Some(announced) = request.headers().get("trailer") {
        response = response.header("trailer", announced);
    }
    if let Some(kind) = request.headers().get("content-type") {
        response = response.header("content-type", kind);
    }
    response.body(request.into_body().map_err(Into::into).boxed()).expect("a plain response")
}

fn bytes(count: usize) -> Response<Body> {
    let (feed, body) = fed();
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        let mut left = count;
        while left > 0 {
            let part = chunk.slice(..left.min(CHUNK));
            left -= part.len();
            if feed.send(Ok(Frame::data(part))).await.is_err() {
                return;
            }
        }
    });
    Response::builder().header("content-length", count).body(body).expect("a plain response")
}

async fn sink(mut body: Incoming) -> Response<Body> {
    let mut count = 0;
    while let Some(Ok(frame)) = body.frame().await {
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    Response::new(full(count.to_string()))
}

fn trailers() -> Response<Body> {
    let (feed, body) = fed();
    tokio::spawn(async move {
        let _ = feed.send(Ok(Frame::data(Bytes::from_static(b"summed")))).await;
        let _ = feed.send(Ok(Frame::trailers(one("x-checksum", "c0ffee")))).await;
    });
    Response::builder().header("trailer", "x-checksum").body(body).expect("a plain response")
}

fn stall(request: Incoming) -> Response<Body> {
    let (feed, body) = fed();
    tokio::spawn(async move {
        let _ = feed.send(Ok(Frame::data(Bytes::from_static(b"and then")))).await;
        feed.closed().await;
        drop(request);
    });
    Response::new(body)
}

fn truncate() -> Response<Body> {
    let (feed, body) = fed();
    tokio::spawn(async move {
        let _ = feed.send(Ok(Frame::data(Bytes::from_static(b"the first ")))).await;
        // A moment, so that the bytes leave before the connection breaks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = feed.send(Err("broken off".into())).await;
    });
    Response::new(body)
}

/// The gRPC calls. A message comes back as it is; `Server` sends it three times.
async fn call(method: &str, mut request: Incoming) -> Response<Body> {
    let mut response = Response::builder().header("content-type", grpc::CONTENT_TYPE);
    if method == "Refuse" {
        response = response.header("grpc-status", "14").header("grpc-message", "not%20today");
        return response.body(empty()).expect("a plain response");
    }
    let (feed, body) = fed();
    if method == "Fail" {
        // Head and trailers apart, and nothing between them.
        let _ = feed.send(Ok(Frame::trailers(one("grpc-status", "14")))).await;
        return response.body(body).expect("a plain response");
    }
    let method = method.to_owned();
    tokio::spawn(async move {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        while let Some(Ok(frame)) = request.frame().await {
            frames.push(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(message) = frames.pop() {
                let times = match method.as_str() {
                    "Client" => {
                        all.extend_from_slice(&message);
                        0
                    }
                    "Server" => 3,
                    _ => 1,
                };
                for _ in 0..times {
                    let _ = feed.send(Ok(Frame::data(grpc::frame(&message)))).await;
                }
            }
        }
        match method.as_str() {
            "Client" => drop(feed.send(Ok(Frame::data(grpc::frame(&all)))).await),
            "Stall" => feed.closed().await,
            _ => {}
        }
        let code = if method == "Late" { "13" } else { "0" };
        let _ = feed.send(Ok(Frame::trailers(one("grpc-status", code)))).await;
    });
    response.body(body).expect("a plain response")
}

fn one(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
}
