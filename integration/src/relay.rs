//! A service in the middle of a chain of calls: it answers each request with what the next service answers, which it
//! calls through its own proxy, and passes on only those fields of the request that a test names.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::behaviour::{self, Body};
use crate::client::{Client, get};

/// A running service; it ends when dropped.
#[derive(Debug)]
pub struct Relay(JoinHandle<()>);

impl Relay {
    /// Listens at `address` and calls `host` through the proxy at `outbound`, with the fields called `passes`.
    pub async fn start(address: SocketAddr, outbound: SocketAddr, host: &str, passes: &[&'static str]) -> Relay {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let (host, passes) = (host.to_owned(), passes.to_vec());
        Relay(tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (host, passes) = (host.clone(), passes.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (host, passes) = (host.clone(), passes.clone());
                    async move { Ok::<_, Infallible>(pass_on(&request, outbound, &host, &passes).await) }
                });
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass_on(request: &Request<Incoming>, outbound: SocketAddr, host: &str, passes: &[&str]) -> Response<Body> {
    let mut ask = get(host, request.uri().path());
    for name in passes {
        if let Some(value) = request.headers().get(*name).and_then(|value| value.to_str().ok()) {
            ask = ask.with(name, value);
        }
    }
    let reply = Client::http1(outbound).await.send(ask).await;
    behaviour::status(reply.status)
}
