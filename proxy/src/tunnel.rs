//! Upgrades (RFC 9110, 7.8): after a 101 both connections become a tunnel of bytes, WebSocket's or any other.
//!
//! The tunnel holds what its request took of the destination until both sides are done; one side's end is passed on
//! as an end and leaves the other direction open. A drain lets tunnels go on until its hard stop, and a route's bound of
//! the stream (xDS `max_stream_duration`) ends them.

use futures_util::future::OptionFuture;
use http::{StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::body::{Body, End, Ending};
use crate::error::Reason;
use crate::exchange::Response;
use crate::fields::Fields;
use crate::hop;

/// Joins the caller's connection with the endpoint's, once both have switched; returns the caller's 101.
pub fn open(mut response: Response, caller: OnUpgrade, attempt: Box<Attempt>) -> Response {
    let endpoint = hyper::upgrade::on(&mut response);
    let connection = &attempt.aim().trail.connection;
    let (busy, closing) = (connection.drain.busy(), connection.drain.closing());
    let started = Instant::from_std(attempt.aim().trail.started);
    let over = attempt.aim().timeouts().stream.map(|stream| tokio::time::sleep_until(started + stream));
    tokio::spawn(async move {
        let _busy = busy;
        let (caller, endpoint) = match tokio::try_join!(caller, endpoint) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "An upgrade was not completed");
                return attempt.end(End::Failed(Reason::ConnectionTerminated));
            }
        };
        let (mut caller, mut endpoint) = (TokioIo::new(caller), TokioIo::new(endpoint));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut caller, &mut endpoint) => {}
            () = closing => {}
            Some(()) = OptionFuture::from(over) => return attempt.end(End::Failed(Reason::StreamTimeout)),
        }
        // The connection carried a tunnel and is not given back.
        drop(attempt);
    });
    let mut headers = std::mem::take(response.headers_mut());
    headers.entry(header::CONNECTION).or_insert(http::HeaderValue::from_static("upgrade"));
    let fields = Fields::of(&headers);
    hop::strip(&mut headers, fields);
    let mut switched = Response::new(Body::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = headers;
    switched
}
