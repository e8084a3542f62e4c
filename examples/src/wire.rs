//! A small HTTP/1.1 client: what the shop's services, the load generator and the story call with.
//!
//! The address connected to and the host asked for are two things here, because a service behind a sidecar connects to
//! its sidecar whatever service it wants. Every call has a deadline; an answer is read to its end before it counts.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(crate) struct Wire {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// One call.
pub(crate) struct Call<'a> {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// The service asked for; the address itself where it is empty.
    pub(crate) host: &'a str,
    /// The method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Fields to send.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// What to send; may be empty.
    pub(crate) body: Bytes,
    /// The longest the whole exchange may take.
    pub(crate) deadline: Duration,
}

impl<'a> Call<'a> {
    /// A GET without fields of its own and five seconds to go.
    pub(crate) fn get(address: SocketAddr, host: &'a str, path: &'a str) -> Self {
        let deadline = Duration::from_secs(5);
        Call { address, host, method: Method::GET, path, headers: &[], body: Bytes::new(), deadline }
    }

    /// The same with something to send.
    pub(crate) fn post(address: SocketAddr, path: &'a str, body: impl Into<Bytes>) -> Self {
        Call { method: Method::POST, body: body.into(), ..Call::get(address, "", path) }
    }
}

/// What came back, whole.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// Its fields.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// A field as text; empty where it is absent.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("status {}, and not JSON: {}", self.status, String::from_utf8_lossy(&self.body).trim())
        })
    }
}

impl Wire {
    /// An empty pool.
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Wire { client }
    }

    /// Makes one call and reads its answer to the end.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("http://{}{}", call.address, call.path))
            .body(Full::new(call.body))?;
        if !call.host.is_empty() {
            request.headers_mut().insert(HOST, HeaderValue::from_str(call.host)?);
        }
        for (name, value) in call.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await.context("the answer broke off")?.to_bytes();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(call.deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {:?}", call.deadline),
        }
    }
}
