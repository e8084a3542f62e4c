//! What of a request can be sent again: nothing, its head, or its head and the body as far as it was kept.

use std::sync::Arc;

use http::HeaderMap;
use outrigger_config::policy::Retry as Policy;

use crate::body::{Body, Bound, Memory, ReplaySource};
use crate::carried;
use crate::fields::Fields;
use crate::head;
use crate::telemetry::Withheld;

/// What can be sent again.
pub(super) enum Copy {
    /// Nothing but what comes back unsent, and why where the policy would have repeated more.
    None(Option<Withheld>),
    /// The head; there is no body.
    Head(Box<http::Request<()>>),
    /// The head and the body as far as it was kept.
    Replay(Box<http::Request<()>>, ReplaySource),
}

impl Copy {
    /// The copy that `policy` needs, and the request for the first attempt.
    pub(super) fn of(
        http: Box<http::Request<Body>>,
        policy: &Policy,
        fields: Fields,
        memory: &Arc<Memory>,
    ) -> (Copy, Box<http::Request<Body>>) {
        if policy.only_unsent() || policy.attempts == 0 {
            return (Copy::None(None), http);
        }
        if !policy.methods.allows(http.method().as_str()) || is_upgrade(http.headers(), fields) {
            return (Copy::None(Some(Withheld::Method)), http);
        }
        // A mark that came is known; one that was carried here is only in the fields.
        let marked = fields.any(Fields::MARK) || http.headers().contains_key(carried::MARK);
        if marked && !policy.nested {
            return (Copy::None(Some(Withheld::Carried)), http);
        }
        let head = head::copy(&http);
        let (parts, body) = (*http).into_parts();
        if body.is_empty() {
            return (Copy::Head(Box::new(head)), Box::new(http::Request::from_parts(parts, body)));
        }
        let source = ReplaySource::new(body, policy.body_limit as usize, Arc::clone(memory));
        let first = Box::new(http::Request::from_parts(parts, source.attempt()));
        (Copy::Replay(Box::new(head), source), first)
    }

    /// Whether the request can still be sent whole.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Copy::None(_) => false,
            Copy::Head(_) => true,
            Copy::Replay(_, source) => source.is_replayable(),
        }
    }

    /// Whether all of the request is here, so that attempts may run side by side.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Copy::None(_) => false,
            Copy::Head(_) => true,
            Copy::Replay(_, source) => source.is_settled(),
        }
    }

    /// The request once more for an attempt beside others; none if that would break theirs off.
    pub(super) fn beside(&self) -> Option<Box<http::Request<Body>>> {
        if self.is_settled() { self.again() } else { None }
    }

    /// Whether a layer above tries the request again.
    pub(super) fn is_carried(&self) -> bool {
        matches!(self, Copy::None(Some(Withheld::Carried)))
    }

    /// Why it cannot be sent again.
    pub(super) fn withheld(&self) -> Option<Withheld> {
        match self {
            Copy::None(why) => *why,
            Copy::Head(_) => None,
            Copy::Replay(_, source) => source.lost().map(|bound| match bound {
                Bound::Request => Withheld::Body,
                Bound::Process => Withheld::Memory,
            }),
        }
    }

    /// The request once more; none if it can no longer be sent whole.
    pub(super) fn again(&self) -> Option<Box<http::Request<Body>>> {
        let (head, body) = match self {
            Copy::None(_) => return None,
            Copy::Head(head) => (head, Body::empty()),
            Copy::Replay(_, source) if !source.is_replayable() => return None,
            Copy::Replay(head, source) => (head, source.attempt()),
        };
        Some(Box::new((**head).clone().map(|()| body)))
    }
}

fn is_upgrade(headers: &HeaderMap, fields: Fields) -> bool {
    fields.any(Fields::UPGRADE) && headers.contains_key(http::header::UPGRADE)
}
