//! A caller that speaks proper HTTP/1.1 or HTTP/2 over one connection, without any retry, pool or redirect of its own:
//! what a test sees is what the proxy said.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::behaviour::{Body, empty, full};
use crate::wait;
use crate::wire;

/// One connection to a proxy or an admin port.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    connection: JoinHandle<()>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A response with all of its body.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The protocol it came by.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
    /// The body, as far as it came.
    pub body: Bytes,
    /// The trailers, if there were any.
    pub trailers: Option<HeaderMap>,
    /// Whether the body came to its end.
    pub complete: bool,
}

/// What to ask for; made by [`get`] and [`post`].
#[derive(Debug)]
pub struct Ask {
    method: Method,
    host: String,
    path: String,
    headers: HeaderMap,
    body: Body,
}

/// A GET of `path` at `host`.
pub fn get(host: &str, path: &str) -> Ask {
    ask(Method::GET, host, path, empty())
}

/// A POST of `body` to `path` at `host`.
pub fn post(host: &str, path: &str, body: impl Into<Bytes>) -> Ask {
    ask(Method::POST, host, path, full(body))
}

/// A request with a body that a task feeds ([`crate::behaviour::fed`]).
pub fn ask(method: Method, host: &str, path: &str, body: Body) -> Ask {
    Ask { method, host: host.to_owned(), path: path.to_owned(), headers: HeaderMap::new(), body }
}

impl Ask {
    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Ask {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("tests use real field names");
        self.headers.append(name, HeaderValue::from_str(value).expect("tests use real field values"));
        self
    }
}

impl Client {
    /// Connects with HTTP/1.1.
    pub async fn http1(address: SocketAddr) -> Client {
        let io = connect(address).await;
        let (sender, connection) = http1::handshake(io).await.expect("HTTP/1.1 needs no handshake");
        let connection = tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Client { sender: Sender::Http1(sender), connection }
    }

    /// Connects with HTTP/2, by prior knowledge.
    pub async fn http2(address: SocketAddr) -> Client {
        let io = connect(address).await;
        let handshake = http2::handshake(TokioExecutor::new(), io);
        let (sender, connection) = handshake.await.expect("the other side speaks HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        Client { sender: Sender::Http2(sender), connection }
    }

    /// Asks and reads the whole response.
    pub async fn send(&mut self, ask: Ask) -> Reply {
        read(self.start(ask).await).await
    }

    /// Asks and gives the response when its head is there.
    pub async fn start(&mut self, ask: Ask) -> Response<Incoming> {
        wait::at_most("a response", self.attempt(ask)).await.expect("the connection answers")
    }

    /// Asks; an error if the connection ends before the head. HTTP/2 requests run side by side: the future does not
    /// borrow the client.
    pub fn attempt(
        &mut self,
        ask: Ask,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> + Send + use<> {
        let request = Request::builder().method(ask.method);
        let mut request = match self.sender {
            // RFC 9112, 3.2.1: origin-form, the host in its own field.
            Sender::Http1(_) => request.uri(&ask.path).header(header::HOST, &ask.host),
            Sender::Http2(_) => request.uri(format!("http://{}{}", ask.host, ask.path)),
        }
        .body(ask.body)
        .expect("tests ask for real paths");
        request.headers_mut().extend(ask.headers);
        match &mut self.sender {
            Sender::Http1(sender) => futures_util::future::Either::Left(sender.send_request(request)),
            Sender::Http2(sender) => futures_util::future::Either::Right(sender.send_request(request)),
        }
    }

    /// Waits until the connection takes another request; whether it still does.
    pub async fn takes_another(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Whether the other side has ended the connection.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Breaks off the connection.
    pub fn abort(self) {
        self.connection.abort();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// A field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A trailer's value.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }

    /// The reason in `Proxy-Status`, if the proxy made the response.
    pub fn reason(&self) -> Option<&str> {
        wire::reason(self.header("proxy-status")?)
    }
}

/// One GET over a connection of its own.
pub async fn fetch(address: SocketAddr, path: &str) -> Reply {
    Client::http1(address).await.send(get(&address.to_string(), path)).await
}

/// Reads a response to its end, or to where it breaks off.
pub async fn read(response: Response<Incoming>) -> Reply {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut trailers, mut complete) = (Vec::new(), None, true);
    while let Some(frame) = wait::at_most("a part of the body", incoming.frame()).await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    let (status, version) = (head.status.as_u16(), head.version);
    Reply { status, version, headers: head.headers, body: body.into(), trailers, complete }
}

async fn connect(address: SocketAddr) -> TokioIo<TcpStream> {
    let stream = wait::at_most("a connection", TcpStream::connect(address)).await.expect("the address listens");
    stream.set_nodelay(true).expect("a socket can be told to send at once");
    TokioIo::new(stream)
}
