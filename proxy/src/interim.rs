//! Interim (1xx) responses (RFC 9110, 15.2): what the endpoint says before its answer reaches the caller.
//!
//! 100 (Continue): a caller that asked for leave to send its body gets it when the endpoint gives it, or after a
//! second, since an endpoint may not know the expectation; an answer before that spares the body. 103 (Early Hints)
//! and others are passed on: on HTTP/1 while nothing of an earlier response is in the way, on HTTP/2 by the request's
//! own task, which is woken for it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use http::{HeaderMap, StatusCode, Version, header};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::body::Body;
use crate::exchange::Trail;
use crate::fields::Fields;
use crate::hop;
use crate::io::Side;
use crate::pool::Interim;

/// How long a caller waits for leave that the endpoint does not give.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way back to a caller who understands interim responses; one of HTTP/1.0 would take them for the answer.
#[derive(Clone)]
enum Caller {
    Http1(Arc<Side>),
    Http2(Arc<Trail>, Waker),
}

impl Caller {
    fn of(trail: &Arc<Trail>, waker: Option<Waker>) -> Option<Self> {
        match (&trail.connection.side, waker) {
            (Some(side), _) => (trail.version >= Version::HTTP_11).then(|| Caller::Http1(Arc::clone(side))),
            (None, waker) => waker.map(|waker| Caller::Http2(Arc::clone(trail), waker)),
        }
    }

    fn hear(&self, status: StatusCode, mut headers: HeaderMap) {
        let fields = Fields::of(&headers);
        hop::strip(&mut headers, fields);
        match self {
            Caller::Http1(side) => drop(side.offer_interim(&head(status, &headers))),
            Caller::Http2(trail, waker) => {
                hop::strip_upgrade(&mut headers, fields);
                let mut early = http::Response::new(());
                *early.status_mut() = status;
                *early.headers_mut() = headers;
                trail.hear(early);
                waker.wake_by_ref();
            }
        }
    }

    /// HTTP/1's server says 100 by itself as soon as somebody reads the body.
    fn may_send(&self) {
        if matches!(self, Caller::Http2(..)) {
            self.hear(StatusCode::CONTINUE, HeaderMap::new());
        }
    }
}

/// Who passes the interim responses to `request` on to its caller; none where nobody would hear of them. `may_expect`:
/// it has an `Expect`. `waker`: of the task that answers an HTTP/2 caller.
pub fn prepare(
    request: &mut http::Request<Body>,
    trail: &Arc<Trail>,
    may_expect: bool,
    waker: Option<Waker>,
) -> Option<Interim> {
    let caller = Caller::of(trail, waker);
    let continues = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let expects = may_expect && request.headers().get(header::EXPECT).is_some_and(continues);
    let leave = if expects && !request.body().is_empty() { Some(hold_back(request, caller.clone())) } else { None };
    if leave.is_none() && caller.is_none() {
        return None;
    }
    Some(Box::new(move |status, headers| {
        if status == StatusCode::CONTINUE {
            if let Some(leave) = &leave {
                leave.give();
            }
        } else if let Some(caller) = &caller {
            caller.hear(status, headers.clone());
        }
    }))
}

/// Leave to send a body, given once.
struct Leave {
    gate: Mutex<Option<oneshot::Sender<()>>>,
    caller: Option<Caller>,
}

impl Leave {
    fn give(&self) {
        if let Some(gate) = self.gate.lock().take() {
            let _ = gate.send(());
            if let Some(caller) = &self.caller {
                caller.may_send();
            }
        }
    }
}

/// Gates the body until leave is given.
fn hold_back(request: &mut http::Request<Body>, caller: Option<Caller>) -> Arc<Leave> {
    let (open, gate) = oneshot::channel();
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = body.gated(gate);
    let leave = Arc::new(Leave { gate: Mutex::new(Some(open)), caller });
    let late = Arc::downgrade(&leave);
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        if let Some(leave) = late.upgrade() {
            leave.give();
        }
    });
    leave
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
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
