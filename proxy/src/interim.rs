//! Interim (1xx) responses on HTTP/1 (RFC 9110, 15.2): what the endpoint says before its answer reaches the caller.
//!
//! 100 (Continue): a caller that asked for leave to send its body gets it when the endpoint gives it, or after a
//! second, since an endpoint may not know the expectation; an answer before that spares the body. 103 (Early Hints)
//! and others are passed on while nothing of an earlier response is in the way.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Version, header};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::body::Body;
use crate::exchange::Trail;
use crate::fields::Fields;
use crate::hop;

/// How long a caller waits for leave that the endpoint does not give.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lets the interim responses to `request` through to its caller. `may_expect`: it has an `Expect`.
pub fn prepare(request: &mut http::Request<Body>, trail: &Trail, may_expect: bool) {
    let continues = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let expects = may_expect && request.headers().get(header::EXPECT).is_some_and(continues);
    // A caller of HTTP/1.0 would take an interim response for the answer.
    let side = trail.connection.side.clone().filter(|_| trail.version >= Version::HTTP_11);
    if !expects && side.is_none() {
        return;
    }
    let leave = if expects && !request.body().is_empty() { Some(hold_back(request)) } else { None };
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            if let Some(leave) = leave.as_ref().and_then(|leave| leave.lock().take()) {
                let _ = leave.send(());
            }
        } else if let Some(side) = &side
            && response.version() >= Version::HTTP_11
        {
            let mut headers = response.headers().clone();
            let fields = Fields::of(&headers);
            hop::strip(&mut headers, fields);
            side.offer_interim(&head(response.status(), &headers));
        }
    });
}

/// Gates the body; hyper says 100 to the caller as soon as somebody reads it.
fn hold_back(request: &mut http::Request<Body>) -> Arc<Mutex<Option<oneshot::Sender<()>>>> {
    let (leave, gate) = oneshot::channel();
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = body.gated(gate);
    let leave = Arc::new(Mutex::new(Some(leave)));
    let late = Arc::downgrade(&leave);
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        if let Some(leave) = late.upgrade().and_then(|leave| leave.lock().take()) {
            let _ = leave.send(());
        }
    });
    leave
}

fn head(status: StatusCode, headers: &http::HeaderMap) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
