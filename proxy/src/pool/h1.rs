//! An HTTP/1.1 connection to an endpoint; one request at a time.

use std::future::Future;
use std::time::Instant;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;

use crate::body::Body;

/// An HTTP/1.1 connection that one request owns, or that is idle.
#[derive(Debug)]
pub struct H1 {
    sender: SendRequest<Body>,
    idle_since: Instant,
    reused: bool,
}

/// What became of sending a request.
#[derive(Debug)]
pub enum Sent {
    /// The response head.
    Response(http::Response<Incoming>),
    /// Not a byte was sent: the request comes back.
    Unsent(Box<http::Request<Body>>, hyper::Error),
    /// Some of it may have been.
    Failed(hyper::Error),
}

impl H1 {
    pub(super) fn new(sender: SendRequest<Body>) -> Self {
        H1 { sender, idle_since: Instant::now(), reused: false }
    }

    /// Whether it takes a request at once.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Since when nothing was asked of it.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Whether it carried a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request. Dropping the future closes the connection.
    pub fn send(&mut self, request: http::Request<Body>) -> impl Future<Output = Sent> + Send + use<> {
        self.sender.try_send_request(request).map(sent)
    }

    /// The response is over: the connection is idle from `now` on.
    #[must_use]
    pub fn rested(mut self, now: Instant) -> Self {
        self.idle_since = now;
        self.reused = true;
        self
    }

    /// Waits until the connection takes a request, which is when the rest of the last one has left it.
    pub async fn ready(&mut self) -> Result<(), hyper::Error> {
        self.sender.ready().await
    }
}

/// What hyper says of a request that it was given.
pub(super) fn sent(answer: Result<http::Response<Incoming>, TrySendError<http::Request<Body>>>) -> Sent {
    match answer {
        Ok(response) => Sent::Response(response),
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Unsent(Box::new(request), error.into_error()),
            None => Sent::Failed(error.into_error()),
        },
    }
}
