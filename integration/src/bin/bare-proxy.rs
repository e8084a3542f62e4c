//! The floor of the benchmark: hyper on both sides and nothing between, with the proxy's own thread model. No routing, no
//! policy, no telemetry, and any failure ends the connection it happens on: a yardstick, not a product. What the proxy
//! costs above it is Outrigger's own; what it costs itself is the kernel's and hyper's, on this machine.
//!
//!     bare-proxy LISTEN UPSTREAM h1|h2

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Idle connections, or the one that all share.
#[derive(Clone, Default)]
struct Pool {
    idle: Rc<RefCell<Vec<http1::SendRequest<Incoming>>>>,
    shared: Rc<RefCell<Option<http2::SendRequest<Incoming>>>>,
}

/// A response's body that gives its connection back.
struct Returning {
    body: Incoming,
    connection: Option<http1::SendRequest<Incoming>>,
    pool: Pool,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(http1::SendRequest::is_ready) {
            self.pool.idle.borrow_mut().push(connection);
        }
    }
}

async fn dial(upstream: &str) -> Result<TokioIo<TcpStream>, Failure> {
    let tcp = TcpStream::connect(upstream).await?;
    tcp.set_nodelay(true)?;
    Ok(TokioIo::new(tcp))
}

async fn over_h1(mut request: Request<Incoming>, pool: Pool, upstream: &str) -> Result<Response<Returning>, Failure> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    let idle = pool.idle.borrow_mut().pop();
    let mut connection = match idle {
        Some(connection) => connection,
        None => {
            let (sender, connection) = http1::handshake(dial(upstream).await?).await?;
            tokio::spawn(connection);
            sender
        }
    };
    let response = connection.send_request(request).await?;
    Ok(response.map(|body| Returning { body, connection: Some(connection), pool }))
}

async fn over_h2(request: Request<Incoming>, pool: Pool, upstream: &str) -> Result<Response<Returning>, Failure> {
    let shared = pool.shared.borrow().clone();
    let mut connection = match shared {
        Some(connection) => connection,
        None => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), dial(upstream).await?).await?;
            tokio::spawn(connection);
            pool.shared.borrow_mut().insert(sender).clone()
        }
    };
    let response = connection.send_request(request).await?;
    Ok(response.map(|body| Returning { body, connection: None, pool }))
}

/// Futures of one thread, spawned where they are.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn serve(listen: String, upstream: &'static str, h2: bool) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen).await?;
    let pool = Pool::default();
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let pool = pool.clone();
        tokio::task::spawn_local(async move {
            let io = TokioIo::new(tcp);
            if h2 {
                let service = service_fn(move |request| over_h2(request, pool.clone(), upstream));
                hyper::server::conn::http2::Builder::new(Local).serve_connection(io, service).await
            } else {
                let service = service_fn(move |request| over_h1(request, pool.clone(), upstream));
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
            }
        });
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream), Some(protocol)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: bare-proxy LISTEN UPSTREAM h1|h2".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(listen, upstream.leak(), protocol == "h2"))
}
