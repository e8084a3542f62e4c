//! What of a request can be sent again: nothing, its head, or its head and the body as far as it was kept.

use http::HeaderMap;
use outrigger_config::policy::Retry as Policy;

use crate::body::{Body, ReplaySource};
use crate::head;

/// What can be sent again.
pub(super) enum Copy {
    /// Nothing but what comes back unsent.
    None,
    /// The head; there is no body.
    Head(Box<http::Request<()>>),
    /// The head and the body as far as it was kept.
    Replay(Box<http::Request<()>>, ReplaySource),
}

impl Copy {
    /// The copy that `policy` needs, and the request for the first attempt.
    pub(super) fn of(http: Box<http::Request<Body>>, policy: &Policy) -> (Copy, Box<http::Request<Body>>) {
        if policy.only_unsent() || !policy.methods.allows(http.method().as_str()) || is_upgrade(http.headers()) {
            return (Copy::None, http);
        }
        let head = head::copy(&http);
        let (parts, body) = (*http).into_parts();
        if body.is_empty() {
            return (Copy::Head(Box::new(head)), Box::new(http::Request::from_parts(parts, body)));
        }
        let source = ReplaySource::new(body, policy.body_limit as usize);
        let first = Box::new(http::Request::from_parts(parts, source.attempt()));
        (Copy::Replay(Box::new(head), source), first)
    }

    /// Whether the request can still be sent whole.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Copy::None => false,
            Copy::Head(_) => true,
            Copy::Replay(_, source) => source.is_replayable(),
        }
    }

    /// The request once more; none if it can no longer be sent whole.
    pub(super) fn again(&self) -> Option<Box<http::Request<Body>>> {
        let (head, body) = match self {
            Copy::None => return None,
            Copy::Head(head) => (head, Body::empty()),
            Copy::Replay(_, source) if !source.is_replayable() => return None,
            Copy::Replay(head, source) => (head, source.attempt()),
        };
        Some(Box::new((**head).clone().map(|()| body)))
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::UPGRADE)
}
