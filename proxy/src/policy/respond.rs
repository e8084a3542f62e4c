//! The one door from an error to a response. Everything a caller gets that no endpoint said is made here: the status
//! of the reason's row in the table, `Proxy-Status` with the reason and what happened (RFC 9209), and for gRPC a
//! trailers-only answer with the row's gRPC status.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::Next;
use crate::body::Body;
use crate::error::{Error, More, Reason};
use crate::exchange::{Notes, Request, Response, Trail};
use crate::message::ATTEMPT_COUNT;
use crate::route::answer::is_bodiless;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Puts [`Respond`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct RespondLayer;

/// Turns errors into responses.
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner }
    }
}

impl<S: Next<Request>> Service<Request> for Respond<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let trail = Arc::clone(&request.trail);
        Answer { inner: self.inner.call(request), trail }
    }
}

pin_project! {
    /// The response, whatever becomes of the request.
    #[derive(Debug)]
    pub struct Answer<F> {
        #[pin]
        inner: F,
        trail: Arc<Trail>,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Answer<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match ready!(this.inner.poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                let response = respond(&error, this.trail);
                this.trail.note(|notes| {
                    notes.reason = Some(error.reason);
                    notes.detail = error.detail;
                });
                response
            }
        }))
    }
}

fn respond(error: &Error, trail: &Trail) -> Response {
    let row = error.reason.disposition();
    let mut response = http::Response::new(Body::empty());
    if let Some(More::Refusal { status, retry_after, headers }) = error.more.as_deref() {
        *response.status_mut() = *status;
        response.headers_mut().clone_from(headers);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
    } else {
        let wished = matches!(error.reason, Reason::HttpResponseTimeout | Reason::TryTimeout)
            && !trail.grpc
            && trail.wishes().is_some_and(|wishes| wishes.alt_response);
        let other = if wished { Some(204) } else { error.fault().map(|(status, _)| status) };
        let status = other.unwrap_or(row.status);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let counted = |notes: &Notes| {
        let tells = notes.attempts > 0 && notes.route.as_ref().is_some_and(|route| route.counts.to_caller);
        tells.then_some(notes.attempts)
    };
    if let Some(attempts) = trail.read(counted) {
        response.headers_mut().insert(ATTEMPT_COUNT, HeaderValue::from(attempts));
    }
    if let Ok(value) = HeaderValue::from_str(&proxy_status(error)) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    if trail.grpc {
        as_grpc(&mut response, error);
    } else if trail.method != Method::HEAD && response.status() != StatusCode::NO_CONTENT {
        as_text(&mut response, error);
    }
    // After a request that could be read in two ways nothing more is read from its connection.
    let malformed = matches!(error.reason, Reason::HttpRequestDenied | Reason::HttpRequestTooLarge);
    if malformed && trail.version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `outrigger; error=WORD; details="..."`. The details are an RFC 8941 string: printable ASCII, quotes escaped.
fn proxy_status(error: &Error) -> String {
    let mut text = format!("outrigger; error={}", error.reason.word());
    if !error.detail.is_empty() {
        text.push_str("; details=\"");
        for byte in error.detail.bytes().take(512) {
            match byte {
                b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
                0x20..0x7f => text.push(char::from(byte)),
                _ => text.push('?'),
            }
        }
        text.push('"');
    }
    text
}

/// Nothing where the status allows no content, as an injected fault's may.
fn as_text(response: &mut Response, error: &Error) {
    if is_bodiless(response.status()) {
        return;
    }
    let text = format!("{error}\n");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    *response.body_mut() = Body::full(text);
}

fn as_grpc(response: &mut Response, error: &Error) {
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let grpc = error.fault().map_or(error.reason.disposition().grpc, |(_, grpc)| grpc);
    headers.insert("grpc-status", HeaderValue::from(u16::from(grpc)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&error.to_string())) {
        headers.insert("grpc-message", message);
    }
}

/// The percent-encoding of gRPC messages: printable ASCII but `%` stands for itself.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes().take(512) {
        match byte {
            b'%' => encoded.push_str("%25"),
            0x20..0x7f => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{as_text, percent_encoded, proxy_status};
    use crate::body::Body;
    use crate::error::{Error, Reason};

    #[test]
    fn details_are_a_structured_field_string() {
        let error = Error::new(Reason::ConnectionRefused).because("said \"no\\way\"\r\nX: y é");
        assert_eq!(
            proxy_status(&error),
            "outrigger; error=connection_refused; details=\"said \\\"no\\\\way\\\"??X: y ??\""
        );
    }

    #[test]
    fn a_status_without_content_gets_none() {
        let error = Error::new(Reason::FaultInjected);
        for (status, bodiless) in [(204, true), (205, true), (304, true), (200, false), (503, false)] {
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            as_text(&mut response, &error);
            let found = (response.body().is_empty(), response.headers().is_empty());
            assert_eq!(found, (bodiless, bodiless), "{status}");
        }
    }

    #[test]
    fn grpc_messages_are_percent_encoded() {
        assert_eq!(percent_encoded("50% é\n"), "50%25 %C3%A9%0A");
    }
}
