//! The service behind a proxy: HTTP/1.1 and HTTP/2 on one port, with a path for each behaviour and switches that make it
//! slow or failing while it runs. It counts what came, what was under way at once, and what was given up by its caller.
//! What each path does stands in [`crate::behaviour`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::behaviour::{self, Body, BodyError};
use crate::ports;

/// A running service.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What is counted, and what is switched.
#[derive(Debug, Default)]
struct State {
    name: String,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    requests: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    given_up: AtomicUsize,
    fails_with: AtomicU16,
    fails_left: AtomicUsize,
    delay_ms: AtomicU64,
    /// What it reports of its load.
    report: Mutex<String>,
    leaving: watch::Sender<bool>,
    seen: Mutex<Vec<Seen>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its fields.
    pub headers: HeaderMap,
}

impl Origin {
    /// A service called `origin`.
    pub async fn start() -> Origin {
        Origin::named("origin").await
    }

    /// A service that answers with `name` and in the field `x-origin`.
    pub async fn named(name: &str) -> Origin {
        let (listener, address) = ports::listen().await;
        Origin::over(listener, address, name)
    }

    /// A service at an address of its own choice: to come back where another was.
    pub async fn at(address: SocketAddr, name: &str) -> Origin {
        Origin::over(TcpListener::bind(address).await.expect("the port is free"), address, name)
    }

    fn over(listener: TcpListener, address: SocketAddr, name: &str) -> Origin {
        let state = Arc::new(State { name: name.to_owned(), ..State::default() });
        let task = tokio::spawn(serve(listener, state.clone()));
        Origin { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every request gets this status.
    pub fn fail_with(&self, status: u16) {
        self.fail_next(usize::MAX, status);
    }

    /// The next `count` requests get this status; 0 of them ends it.
    pub fn fail_next(&self, count: usize, status: u16) {
        self.state.fails_with.store(status, Ordering::Relaxed);
        self.state.fails_left.store(count, Ordering::Relaxed);
    }

    /// From now on every answer reports this load (`endpoint-load-metrics`), if it is not empty.
    pub fn report(&self, load: &str) {
        load.clone_into(&mut self.state.report.lock());
    }

    /// From now on every answer takes so long.
    pub fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// How many connections were open at once, at most.
    pub fn most_connections(&self) -> usize {
        self.state.most_open.load(Ordering::Relaxed)
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// How many requests are under way.
    pub fn under_way(&self) -> usize {
        self.state.under_way.load(Ordering::Relaxed)
    }

    /// How many requests were under way at once, at most.
    pub fn most_under_way(&self) -> usize {
        self.state.most_under_way.load(Ordering::Relaxed)
    }

    /// How many requests were given up before their response had ended.
    pub fn given_up(&self) -> usize {
        self.state.given_up.load(Ordering::Relaxed)
    }

    /// The requests that came, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// Stops listening and lets what is under way end, as a process does that is asked to stop: GOAWAY, and
    /// `Connection: close`.
    pub fn bow_out(&self) {
        self.state.leaving.send_replace(true);
    }

    /// Stops listening and breaks off every connection, as a killed process does.
    pub async fn stop(self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a request as under way until it is dropped, and as given up if that happens before its end.
struct UnderWay {
    state: Arc<State>,
    ended: AtomicBool,
}

impl UnderWay {
    fn begin(state: &Arc<State>) -> UnderWay {
        let now = state.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        state.most_under_way.fetch_max(now, Ordering::Relaxed);
        UnderWay { state: state.clone(), ended: AtomicBool::new(false) }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.state.under_way.fetch_sub(1, Ordering::Relaxed);
        if !self.ended.load(Ordering::Relaxed) {
            self.state.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    let mut leaving = state.leaving.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { break };
                state.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve_one(stream, state.clone()));
            }
            _ = leaving.wait_for(|leaving| *leaving) => break,
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn serve_one(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let open = state.open.fetch_add(1, Ordering::Relaxed) + 1;
    state.most_open.fetch_max(open, Ordering::Relaxed);
    let counted = state.clone();
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(state, request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut leaving = counted.leaving.subscribe();
    let left = tokio::select! {
        _ = connection.as_mut() => false,
        left = leaving.wait_for(|leaving| *leaving) => left.is_ok(),
    };
    if left {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
    counted.open.fetch_sub(1, Ordering::Relaxed);
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    state.seen.lock().push(Seen {
        method: request.method().to_string(),
        path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: request.headers().clone(),
    });
    let under_way = UnderWay::begin(&state);
    let delay = state.delay_ms.load(Ordering::Relaxed);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let less_one = |left: usize| left.checked_sub(1);
    let mut response = match state.fails_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one) {
        Ok(_) => behaviour::status(state.fails_with.load(Ordering::Relaxed)),
        Err(_) => behaviour::answer(&state.name, request).await,
    };
    if let Ok(name) = HeaderValue::from_str(&state.name) {
        response.headers_mut().insert("x-origin", name);
    }
    let report = HeaderValue::from_str(&state.report.lock());
    if let Some(report) = report.ok().filter(|report| !report.is_empty()) {
        response.headers_mut().insert("endpoint-load-metrics", report);
    }
    if response.body().is_end_stream() {
        under_way.end();
    }
    let announced = response.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    response.map(|body| BodyExt::boxed(Tracked { left: announced.or(body.size_hint().exact()), body, under_way }))
}

/// A response's body that marks its request as ended with its last frame.
struct Tracked {
    body: Body,
    /// What is left of the announced length, if there is one: hyper does not ask for what comes after it.
    left: Option<u64>,
    under_way: UnderWay,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.map(|left| left.saturating_sub(length));
        }
        if frame.is_none() || self.body.is_end_stream() || self.left == Some(0) {
            self.under_way.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;
    use crate::behaviour::empty;
    use crate::call::Call;
    use crate::client::{Client, ask, get, post};
    use crate::wait;
    use crate::wire::Wire;

    #[tokio::test]
    async fn a_request_that_ended_is_not_given_up() {
        let origin = Origin::start().await;
        for mut client in [Client::http1(origin.address()).await, Client::http2(origin.address()).await] {
            for ask in
                [get("here", "/"), get("here", "/bytes/100000"), get("here", "/status/204"), post("here", "/echo", "x")]
            {
                assert!(client.send(ask).await.complete);
            }
            wait::holds("nothing to be under way", || origin.under_way() == 0).await;
        }
        assert_eq!((origin.requests(), origin.given_up()), (8, 0));
    }

    #[tokio::test]
    async fn a_caller_that_goes_is_noticed() {
        let origin = Origin::start().await;
        for path in ["/slow/60000", "/stall", "/bytes/100000000"] {
            let before = origin.given_up();
            let mut wire = Wire::connect(origin.address()).await;
            wire.send(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n")).await;
            wait::holds("the request to arrive", || origin.under_way() == 1).await;
            drop(wire);
            wait::holds("it to be given up", || origin.given_up() == before + 1).await;
        }
    }

    #[tokio::test]
    async fn a_head_request_is_answered_in_both_protocols() {
        let origin = Origin::start().await;
        for mut client in [Client::http1(origin.address()).await, Client::http2(origin.address()).await] {
            for _ in 0..2 {
                let reply = client.send(ask(http::Method::HEAD, "here", "/bytes/1000", empty())).await;
                assert_eq!((reply.header("content-length"), reply.body.len()), (Some("1000"), 0));
            }
        }
    }

    #[tokio::test]
    async fn it_fails_as_often_as_it_is_told_to() {
        let origin = Origin::start().await;
        origin.fail_next(2, 503);
        let mut client = Client::http1(origin.address()).await;
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(client.send(get("here", "/")).await.status);
        }
        assert_eq!(statuses, [503, 503, 200]);
    }

    #[tokio::test]
    async fn calls_of_all_kinds_are_answered() {
        let origin = Origin::start().await;
        let mut client = Client::http2(origin.address()).await;
        for (method, messages, status) in [
            ("Unary", vec!["a"], 0),
            ("Server", vec!["a"; 3], 0),
            ("Client", vec!["a"], 0),
            ("Refuse", vec![], 14),
            ("Late", vec!["a"], 13),
        ] {
            let mut call = Call::open(&mut client, "here", method, &[], "a").await;
            assert_eq!(call.end().await, (messages.into_iter().map(str::to_owned).collect(), Some(status)), "{method}");
        }
    }

    #[tokio::test]
    async fn the_wire_sees_trailers_and_truncation() {
        let origin = Origin::start().await;
        let mut wire = Wire::connect(origin.address()).await;
        wire.send("GET /trailers HTTP/1.1\r\nhost: here\r\nte: trailers\r\n\r\n").await;
        let response = wire.response().await;
        assert_eq!((response.text().as_str(), response.trailers.len(), response.complete), ("summed", 1, true));
        wire.send("GET /truncate HTTP/1.1\r\nhost: here\r\n\r\n").await;
        assert!(!wire.response().await.complete);
    }
}
