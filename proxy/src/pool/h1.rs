//! An HTTP/1.1 connection to an endpoint; one request at a time.

use std::future::Future;
use std::time::Instant;

use futures_util::FutureExt;
use http::Version;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;

use super::{Failure, Interim, Sent};
use crate::body::Body;
use crate::clock;

/// An HTTP/1.1 connection that one request owns, or that is idle.
#[derive(Debug)]
pub struct H1 {
    sender: SendRequest<Body>,
    idle_since: Instant,
    reused: bool,
}

impl H1 {
    pub(super) fn new(sender: SendRequest<Body>) -> Self {
        H1 { sender, idle_since: clock::now(), reused: false }
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

/// Lets `interim` hear of the 1xx responses to a request, whichever connection it goes out on.
pub fn listen(request: &mut http::Request<Body>, interim: Interim) {
    hyper::ext::on_informational(request, move |early| {
        // RFC 9110, 15.2: HTTP/1.0 knows none.
        if early.version() >= Version::HTTP_11 {
            interim(early.status(), early.headers());
        }
    });
}

/// What hyper says of a request that it was given.
fn sent(answer: Result<http::Response<Incoming>, TrySendError<http::Request<Body>>>) -> Sent {
    match answer {
        Ok(response) => Sent::Response(response.map(Body::from_endpoint)),
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Unsent(Box::new(request), Failure::Http1(error.into_error())),
            None => Sent::Failed(Failure::Http1(error.into_error())),
        },
    }
}
