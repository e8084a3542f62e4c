//! An HTTP/2 connection to an endpoint, shared by many requests.
//!
//! Spoken with the `h2` crate itself rather than through hyper's client: a request needs no task and no channel of its
//! own, its worker learns at once that a connection is going away, and what was not sent is known to be unsent.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Failure, Interim, Sent};
use crate::body::{self, Body, Broken, Received};
use crate::clock;
use crate::head;
use crate::pipe::Pipe;

/// The most streams on one connection, whatever more the endpoint would take: past it another connection spreads the
/// load and halves what one loss costs.
const MAX_STREAMS: usize = 256;

/// For how long a connection takes nothing new while another worker waits for its turn.
const YIELD: Duration = Duration::from_millis(100);

/// How soon it may be asked again.
const YIELD_AGAIN: Duration = Duration::from_millis(500);

/// How long the rest of a request may take once its response is over.
const REST: Duration = Duration::from_secs(5);

/// A shared HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct H2(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Copied for each request: h2 keeps the last request that waits for its turn in the handle it was sent by, and
    /// would wake, and keep alive, that request for whoever asks the same handle next.
    sender: SendRequest<Bytes>,
    vitals: Arc<Vitals>,
    idle_since: Mutex<Instant>,
    yielding: AtomicBool,
    /// When it was last asked to yield.
    asked: Mutex<Option<Instant>>,
}

/// What the pool, its requests and whoever drives the connection tell each other of it.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    /// Streams open now.
    pub(super) streams: AtomicU32,
    /// What the endpoint takes (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub(super) allowed: AtomicUsize,
    /// It takes no more streams, or is gone.
    pub(super) closed: AtomicBool,
}

/// A place on a shared connection, free again when it is dropped.
#[derive(Debug)]
pub struct H2Stream(H2);

impl H2 {
    pub(super) fn new(sender: SendRequest<Bytes>, vitals: Arc<Vitals>) -> Self {
        H2(Arc::new(Shared {
            sender,
            vitals,
            idle_since: Mutex::new(clock::now()),
            yielding: AtomicBool::new(false),
            asked: Mutex::default(),
        }))
    }

    /// Whether it is gone, or goes as soon as its streams are over (GOAWAY).
    pub fn is_closed(&self) -> bool {
        self.0.vitals.closed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.0.vitals.closed.store(true, Ordering::Relaxed);
    }

    /// Streams open now.
    pub fn streams(&self) -> u32 {
        self.0.vitals.streams.load(Ordering::Relaxed)
    }

    /// Whether the endpoint's own bound, and ours, leave room for another stream, and nobody else's turn is due.
    pub fn has_room(&self) -> bool {
        !self.yields()
            && (self.streams() as usize) < self.0.vitals.allowed.load(Ordering::Relaxed).clamp(1, MAX_STREAMS)
    }

    /// Since when it has had no stream.
    pub fn idle_since(&self) -> Instant {
        *self.0.idle_since.lock()
    }

    /// Takes nothing new for a moment, and goes if its streams are over by then: another worker waits for its turn. One
    /// whose streams are long goes on, and is left alone for a while. Says whether it was asked now.
    pub(super) fn ask_to_yield(&self, now: Instant) -> bool {
        let mut asked = self.0.asked.lock();
        let due = asked.is_none_or(|asked| now.saturating_duration_since(asked) >= YIELD_AGAIN);
        if due {
            *asked = Some(now);
            self.0.yielding.store(true, Ordering::Relaxed);
        }
        due
    }

    fn yields(&self) -> bool {
        if !self.0.yielding.load(Ordering::Relaxed) {
            return false;
        }
        let still = self.0.asked.lock().is_some_and(|asked| clock::now().saturating_duration_since(asked) < YIELD);
        self.0.yielding.store(still, Ordering::Relaxed);
        still
    }

    /// A place on it, whether or not there is room.
    pub(crate) fn open(&self) -> H2Stream {
        self.0.vitals.streams.fetch_add(1, Ordering::Relaxed);
        H2Stream(self.clone())
    }

    /// Opens a stream with this head. Refused without a byte sent where the connection takes no more.
    fn begin(&self, request: Box<http::Request<Body>>) -> Result<Begun, Box<Sent>> {
        let mut sender = self.0.sender.clone();
        // A fresh handle is ready unless the connection takes no more.
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            self.close();
            return Err(Box::new(Sent::Unsent(request, Failure::Http2(error))));
        }
        let copy = head::copy(&request);
        let (parts, body) = request.into_parts();
        match sender.send_request(http::Request::from_parts(parts, ()), body.is_empty()) {
            Ok((response, stream)) => Ok(Begun { copy, response, upload: Upload::of(body, stream) }),
            Err(error) => Err(Box::new(Sent::Failed(Failure::Http2(error)))),
        }
    }
}

/// A request that was handed to a connection.
struct Begun {
    /// Its head, should the stream be refused.
    copy: http::Request<()>,
    response: ResponseFuture,
    upload: Upload,
}

/// A request's body on its way.
enum Upload {
    Nothing,
    Under(Box<Pipe>),
    /// All of it was handed over; it is here still as long as it may have to be taken back.
    Over(Option<Box<Body>>),
}

impl Upload {
    fn of(body: Body, stream: SendStream<Bytes>) -> Self {
        if body.is_empty() {
            return Upload::Nothing;
        }
        Upload::Under(Box::new(Pipe::new(body, stream, Reason::CANCEL).keeping()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Upload::Under(pipe) = self else { return Ok(()) };
        let Poll::Ready(sent) = pipe.poll_unpin(cx) else { return Ok(()) };
        if let Upload::Under(pipe) = std::mem::replace(self, Upload::Nothing) {
            *self = Upload::Over(pipe.take_back().map(Box::new));
        }
        sent
    }

    fn take_back(self) -> Option<Body> {
        match self {
            Upload::Nothing => Some(Body::empty()),
            Upload::Under(pipe) => pipe.take_back(),
            Upload::Over(body) => body.map(|body| *body),
        }
    }
}

impl H2Stream {
    /// Sends a request; `interim` hears of 1xx responses. Dropping the future resets the stream (CANCEL).
    pub async fn send(&mut self, request: Box<http::Request<Body>>, interim: Option<&Interim>) -> Sent {
        let Begun { copy, mut response, mut upload } = match self.0.begin(request) {
            Ok(begun) => begun,
            Err(refused) => return *refused,
        };
        let answer = poll_fn(|cx| {
            if let Err(broken) = upload.poll(cx) {
                return Poll::Ready(Err(Failure::Body(broken)));
            }
            if let Some(interim) = interim {
                while let Poll::Ready(Some(Ok(early))) = response.poll_informational(cx) {
                    interim(early.status(), early.headers());
                }
            }
            response.poll_unpin(cx).map_err(Failure::Http2)
        });
        match answer.await {
            Ok(answer) => {
                let (parts, stream) = answer.into_parts();
                let mut received = Received::new(stream, &parts.headers);
                // The two directions must not wait for each other any more.
                if let Upload::Under(mut pipe) = upload {
                    pipe.forget();
                    let (response, over) = oneshot::channel();
                    // The stream is open until its request is over too.
                    let task = tokio::spawn(finish(pipe, self.0.open(), over));
                    received = received.with_upload(body::Upload::new(task.abort_handle(), response));
                }
                Sent::Response(http::Response::from_parts(parts, Body::from_endpoint_stream(received)))
            }
            Err(failure) if failure.is_refused() => {
                if failure.is_closing() {
                    self.0.close();
                }
                match upload.take_back() {
                    Some(body) => Sent::Unsent(Box::new(copy.map(|()| body)), failure),
                    None => Sent::Failed(failure),
                }
            }
            Err(failure) => Sent::Failed(failure),
        }
    }
}

/// Sends the rest of a request.
async fn finish(mut pipe: Box<Pipe>, place: H2Stream, response_over: oneshot::Receiver<()>) {
    tokio::select! {
        _ = &mut pipe => {}
        _ = response_over => drop(tokio::time::timeout(REST, pipe).await),
    }
    drop(place);
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        let Shared { vitals, idle_since, .. } = &*self.0.0;
        if vitals.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *idle_since.lock() = clock::now();
            if self.0.yields() {
                self.0.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use bytes::Bytes;
    use h2::Reason;
    use http_body_util::BodyExt;
    use tokio::net::TcpListener;

    use super::{H2Stream, Sent};
    use crate::body::Body;
    use crate::pool::{Failure, connect};

    /// An endpoint that reads each request's first bytes, then refuses its stream.
    async fn refuses() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(tcp).await.expect("a handshake");
            while let Some(Ok((mut request, mut reply))) = connection.accept().await {
                tokio::spawn(async move {
                    if !request.body().is_end_stream() {
                        let _ = request.body_mut().data().await;
                    }
                    reply.send_reset(Reason::REFUSED_STREAM);
                });
            }
        });
        address
    }

    async fn stream(address: SocketAddr) -> H2Stream {
        connect::h2(address, Duration::from_secs(5), ()).await.expect("a connection").open()
    }

    fn post(address: SocketAddr, body: Body) -> Box<http::Request<Body>> {
        let request = http::Request::post(format!("http://{address}/")).header("x-kept", "1");
        Box::new(request.body(body).expect("a request"))
    }

    #[tokio::test]
    async fn a_refused_request_comes_back_whole() {
        let address = refuses().await;
        for content in ["", "abc"] {
            let sent = stream(refuses().await).await.send(post(address, Body::full(content)), None).await;
            let Sent::Unsent(back, failure) = sent else { panic!("{sent:?}") };
            assert!(failure.is_refused() && !failure.is_closing());
            assert_eq!((back.headers()["x-kept"].as_bytes(), back.method().as_str()), (&b"1"[..], "POST"));
            assert_eq!(back.into_body().collect().await.expect("whole").to_bytes(), content);
        }
    }

    #[tokio::test]
    async fn a_refused_body_that_is_too_large_to_keep_is_lost() {
        let address = refuses().await;
        let content = Bytes::from(vec![0; 65 * 1024]);
        let sent = stream(address).await.send(post(address, Body::full(content)), None).await;
        assert!(matches!(&sent, Sent::Failed(failure) if failure.is_refused()), "{sent:?}");
    }

    /// An endpoint with room for one stream that answers at the end of a request, or with `x-early` at its beginning.
    async fn narrow() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut builder = h2::server::Builder::new();
            let handshake = builder.max_concurrent_streams(1).handshake::<_, Bytes>(tcp).await;
            let mut connection = handshake.expect("a handshake");
            while let Some(Ok((mut request, mut reply))) = connection.accept().await {
                tokio::spawn(async move {
                    let early = request.headers().contains_key("x-early");
                    if early {
                        reply.send_response(http::Response::new(()), true).expect("the caller waits");
                    }
                    while let Some(Ok(data)) = request.body_mut().data().await {
                        let _ = request.body_mut().flow_control().release_capacity(data.len());
                    }
                    if !early {
                        reply.send_response(http::Response::new(()), true).expect("the caller waits");
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_stream_is_open_until_its_request_is_over_and_wakes_for_nobody_else() {
        let address = narrow().await;
        let h2 = connect::h2(address, Duration::from_secs(5), ()).await.expect("a connection");
        let (open, gate) = tokio::sync::oneshot::channel();
        let mut first = post(address, Body::full("abc").gated(gate));
        first.headers_mut().insert("x-early", http::HeaderValue::from_static("yes"));
        let mut early = h2.open();
        let sent = early.send(first, None).await;
        assert!(matches!(sent, Sent::Response(_)));
        drop((sent, early));
        assert_eq!((h2.streams(), h2.has_room()), (1, false), "its body is still on the way");
        // Whoever opens streams all the same waits in h2's line, and nobody in it hides another from its wake-up.
        let (mut second, mut third) = (h2.open(), h2.open());
        let large = tokio::spawn(async move { second.send(post(address, Body::full(vec![0; 100_000])), None).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let small = tokio::spawn(async move { third.send(post(address, Body::empty()), None).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        open.send(()).expect("somebody waits");
        for request in [large, small] {
            let sent = tokio::time::timeout(Duration::from_secs(5), request).await.expect("in time").expect("no panic");
            assert!(matches!(sent, Sent::Response(_)), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_closing_connection_takes_nothing_and_gives_it_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(tcp).await.expect("a handshake");
            while let Some(Ok((_, mut reply))) = connection.accept().await {
                reply.send_response(http::Response::new(()), true).expect("the caller waits");
                connection.graceful_shutdown();
            }
        });
        let mut stream = stream(address).await;
        let back = loop {
            match stream.send(post(address, Body::full("abc")), None).await {
                Sent::Response(response) => drop(response),
                Sent::Unsent(back, Failure::Http2(_)) => break back,
                sent => panic!("{sent:?}"),
            }
        };
        assert!(stream.0.is_closed());
        assert_eq!(back.into_body().collect().await.expect("whole").to_bytes(), "abc");
    }

    #[tokio::test]
    async fn who_says_nothing_of_http_2_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a connection");
            drop(tcp);
            let _silent = listener.accept().await;
            std::future::pending::<()>().await;
        });
        let closed = connect::h2(address, Duration::from_millis(500), ()).await.expect_err("it was closed");
        assert_eq!(closed.reason, crate::reason::Reason::ConnectionTerminated);
        let silent = connect::h2(address, Duration::from_millis(50), ()).await.expect_err("it says nothing");
        assert_eq!(silent.reason, crate::reason::Reason::ConnectionTimeout);
    }
}
