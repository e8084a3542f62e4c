//! HTTP/1.1 byte for byte: the end of a connection that says exactly what a test writes and shows exactly what came.
//! It plays callers ([`Wire::connect`]) and services ([`Script`]). Nothing here repairs, reorders or hides anything; a
//! read that does not get what it waits for panics with the bytes it has.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::ports;
use crate::wait;

/// One end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed it in order.
    Fin,
    /// The other side aborted it.
    Reset,
}

/// The first line and the fields of a message.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request line or status line.
    pub line: String,
    /// The fields in the order they came, names as they were written.
    pub fields: Vec<(String, String)>,
}

/// A response as it came over the wire.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Its status.
    pub status: u16,
    /// Its body without any framing.
    pub body: Vec<u8>,
    /// The fields after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Whether the framing said that this is all of it.
    pub complete: bool,
}

impl Head {
    fn parse(text: &str) -> Head {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter(|line| !line.is_empty()).map(field).collect();
        Head { line, fields }
    }

    /// The first field of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a field of that name is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The reason in `Proxy-Status`, if the proxy made the response.
    pub fn reason(&self) -> Option<&str> {
        reason(self.head.get("proxy-status")?)
    }
}

/// The `error` of a `Proxy-Status` field.
pub fn reason(proxy_status: &str) -> Option<&str> {
    let (_, rest) = proxy_status.split_once("error=")?;
    rest.split([';', ',', ' ']).next()
}

impl Wire {
    /// Connects to `address`.
    pub async fn connect(address: SocketAddr) -> Wire {
        let stream = wait::at_most("a connection", TcpStream::connect(address)).await.expect("the address listens");
        Wire::over(stream)
    }

    /// Takes over a connection.
    pub fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a socket can be told to send at once");
        Wire { stream, buffer: BytesMut::new() }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        wait::at_most("a send", self.stream.write_all(bytes.as_ref())).await.expect("the connection takes bytes");
    }

    /// Sends these bytes if the other side still takes them: for scripts whose peer may have gone.
    pub async fn offer(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Sends the end of the stream; reading goes on.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Aborts the connection: the other side sees a reset.
    pub fn abort(self) {
        self.stream.set_zero_linger().expect("a socket can be told not to linger");
    }

    /// What has come up to and with `needle`.
    pub async fn read_until(&mut self, needle: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.buffer, needle) {
                return self.buffer.split_to(at + needle.len()).to_vec();
            }
            if let Err(end) = self.fill().await {
                panic!("the connection ended ({end:?}) before {needle:?}: {:?}", String::from_utf8_lossy(&self.buffer));
            }
        }
    }

    /// Exactly `count` bytes.
    pub async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            if let Err(end) = self.fill().await {
                panic!("the connection ended ({end:?}) after {} of {count} bytes", self.buffer.len());
            }
        }
        self.buffer.split_to(count).to_vec()
    }

    /// Everything until the connection ends, and how it ended.
    pub async fn read_to_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill().await {
                return (self.buffer.split().to_vec(), end);
            }
        }
    }

    /// Waits until the other side ends the connection; panics if it says anything more.
    pub async fn ended(&mut self) -> End {
        let (rest, end) = self.read_to_end().await;
        assert!(rest.is_empty(), "more came before the end: {:?}", String::from_utf8_lossy(&rest));
        end
    }

    /// Whether nothing comes, and the connection stays, for `duration`.
    pub async fn stays_silent(&mut self, duration: Duration) -> bool {
        self.buffer.is_empty() && tokio::time::timeout(duration, self.fill()).await.is_err()
    }

    /// The next head.
    pub async fn head(&mut self) -> Head {
        let bytes = self.read_until(b"\r\n\r\n").await;
        Head::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The next request, its body left out: for scripts that only want to answer.
    pub async fn request(&mut self) -> Head {
        self.head().await
    }

    /// The next response and its body, to a request that may have one.
    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// The next response to a request of `method`: its body by the rules of RFC 9112, 6.3.
    pub async fn response_to(&mut self, method: &str) -> Response {
        let head = self.head().await;
        let status = head.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut response = Response { head, status, body: Vec::new(), trailers: Vec::new(), complete: true };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return response;
        }
        let chunked = response.head.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = response.head.get("content-length").and_then(|value| value.parse::<usize>().ok());
        match (chunked, length) {
            (true, _) => self.chunks(&mut response).await,
            (false, Some(length)) => self.counted(length, &mut response).await,
            (false, None) => {
                let (body, end) = self.read_to_end().await;
                (response.body, response.complete) = (body, end == End::Fin);
            }
        }
        response
    }

    async fn counted(&mut self, length: usize, response: &mut Response) {
        while self.buffer.len() < length {
            if self.fill().await.is_err() {
                response.complete = false;
                break;
            }
        }
        let have = self.buffer.len().min(length);
        response.body = self.buffer.split_to(have).to_vec();
    }

    async fn chunks(&mut self, response: &mut Response) {
        loop {
            let Some(line) = self.line().await else { break };
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .unwrap_or_else(|_| panic!("{line:?} is not the size of a chunk"));
            if size == 0 {
                while let Some(line) = self.line().await {
                    if line.is_empty() {
                        return;
                    }
                    response.trailers.push(field(&line));
                }
                break;
            }
            while self.buffer.len() < size + 2 {
                if self.fill().await.is_err() {
                    response.body.extend_from_slice(&self.buffer.split());
                    response.complete = false;
                    return;
                }
            }
            response.body.extend_from_slice(&self.buffer.split_to(size));
            self.buffer.advance(2);
        }
        response.complete = false;
    }

    /// The next line without its end, or none if the connection ended.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(at);
                self.buffer.advance(2);
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill().await.ok()?;
        }
    }

    async fn fill(&mut self) -> Result<(), End> {
        match wait::at_most("bytes", self.stream.read_buf(&mut self.buffer)).await {
            Ok(0) => Err(End::Fin),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }
}

/// A service that follows a script, connection by connection.
#[derive(Debug)]
pub struct Script {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Script {
    /// Listens on a free port and plays `script` on each connection; it is told how many came before.
    pub async fn start<F>(script: impl Fn(Wire, usize) -> F + Send + 'static) -> Script
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, address) = ports::listen().await;
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script(Wire::over(stream), count.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Script { address, connections, task }
    }

    /// A service that answers the first request of each connection with exactly these bytes, then closes it.
    pub async fn saying(bytes: &'static str) -> Script {
        Script::start(move |mut wire, _| async move {
            wire.request().await;
            wire.offer(bytes).await;
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}
