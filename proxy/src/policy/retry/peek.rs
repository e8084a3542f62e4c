//! Looks at the trailers of a gRPC call while nothing of its answer has gone to the caller: a server that began its
//! answer and then failed says so there, and not in the head.
//!
//! One frame is read ahead, no more is kept. A server may send its head and think on, and its caller may wait for that
//! head before it goes on; so the head is held for [`HOLD`] at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use outrigger_config::policy::GrpcCodes;

use crate::body::{Body, End, Watcher};
use crate::clock;
use crate::error::{Error, Reason};
use crate::exchange::{Aim, Response, Trail, grpc_status};
use crate::telemetry::Would;

/// How long a head is held back.
const HOLD: Duration = Duration::from_millis(50);

/// The answer, and its trailers if it came to nothing else. An answer that breaks off here has given its caller nothing
/// and is an error.
pub(super) async fn trailers(response: Response, aim: &Aim) -> Result<(Response, Option<HeaderMap>), Error> {
    if grpc_status(response.headers()).is_some() || http_body::Body::is_end_stream(response.body()) {
        return Ok((response, None));
    }
    // What ends while it is held is not yet the request's end.
    aim.trail.note(|notes| notes.held = true);
    let (parts, mut body) = response.into_parts();
    let first = tokio::time::timeout(HOLD, body.frame()).await;
    aim.trail.note(|notes| notes.held = false);
    let (body, trailers) = match first {
        Err(_) | Ok(None) => (body, None),
        // Nothing of it was released: as good as no answer, which may be tried again.
        Ok(Some(Err(_))) => {
            return Err(Error::new(Reason::UpstreamReset).because("the answer broke off before its first byte"));
        }
        Ok(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => (Body::resumed([data].into(), None, body), None),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                (Body::resumed([].into(), Some(trailers.clone()), body), Some(trailers))
            }
        },
    };
    Ok((Response::from_parts(parts, body), trailers))
}

/// Looks at an answer's trailers as they pass, holding nothing back: they are noted where a policy with these codes, were
/// it in force, would have seen them and tried again.
pub(super) fn watch(response: &mut Response, codes: GrpcCodes, trail: &Arc<Trail>) {
    if grpc_status(response.headers()).is_some() || http_body::Body::is_end_stream(response.body()) {
        return;
    }
    let until = clock::now() + HOLD;
    let watch = Watch { trail: Arc::clone(trail), codes, until };
    let body = std::mem::take(response.body_mut());
    *response.body_mut() = Body::watched(body, Box::new(watch));
}

struct Watch {
    trail: Arc<Trail>,
    codes: GrpcCodes,
    until: Instant,
}

impl Watcher for Watch {
    fn data(&mut self, _: &Bytes) -> bool {
        // A byte was released: it would have been too late.
        false
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if clock::now() <= self.until && grpc_status(trailers).is_some_and(|status| self.codes.has(status)) {
            self.trail.note(|notes| notes.would |= Would::RETRY);
        }
    }

    fn end(self: Box<Self>, _: End) {}
}
