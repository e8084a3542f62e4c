//! The error that every room of the request path returns: a [`Reason`], what happened, and the request itself where
//! not a byte of it was sent.

use std::fmt;

use crate::body::Body;
pub use crate::reason::{Disposition, Reason, RetryClass};

/// A request that was not served.
#[derive(Debug)]
pub struct Error {
    /// Why.
    pub reason: Reason,
    /// What happened, for people; empty where the reason says all.
    pub detail: Box<str>,
    /// What only some rooms say.
    pub more: Option<Box<More>>,
}

/// What an error carries beside its reason.
#[derive(Debug)]
pub enum More {
    /// The request, not a byte of which was sent: whoever retries may send it again as it is.
    Unsent(Box<http::Request<Body>>),
    /// The request was sent and most likely not seen: whoever kept a copy may send that as if nothing had been sent.
    Unseen,
    /// What an injected fault answers.
    Fault {
        /// The HTTP status.
        status: u16,
        /// The gRPC status, for a caller that speaks it.
        grpc: u8,
        /// The request, where another attempt may send it.
        unsent: Option<Box<http::Request<Body>>>,
    },
    /// How a policy wants its refusal to look.
    Refusal {
        /// The status instead of the reason's own.
        status: http::StatusCode,
        /// After how many seconds another try makes sense (`Retry-After`).
        retry_after: Option<u64>,
        /// Header fields to add.
        headers: http::HeaderMap,
    },
}

impl Error {
    /// An error that says no more than its reason.
    pub fn new(reason: Reason) -> Self {
        Error { reason, detail: Box::default(), more: None }
    }

    /// Adds what happened.
    #[must_use]
    pub fn because(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string().into();
        self
    }

    /// Adds the request that was not sent.
    #[must_use]
    pub fn with_unsent(mut self, request: Box<http::Request<Body>>) -> Self {
        self.more = Some(Box::new(More::Unsent(request)));
        self
    }

    /// Adds that the request was most likely not seen.
    #[must_use]
    pub fn unseen(mut self) -> Self {
        self.more = Some(Box::new(More::Unseen));
        self
    }

    /// Whether the request was sent and most likely not seen.
    pub fn is_unseen(&self) -> bool {
        matches!(self.more.as_deref(), Some(More::Unseen))
    }

    /// Adds how the refusal looks.
    #[must_use]
    pub fn refusing(mut self, status: http::StatusCode, retry_after: Option<u64>, headers: http::HeaderMap) -> Self {
        self.more = Some(Box::new(More::Refusal { status, retry_after, headers }));
        self
    }

    /// Adds what an injected fault answers.
    #[must_use]
    pub fn injected(mut self, status: u16, grpc: u8, unsent: Option<Box<http::Request<Body>>>) -> Self {
        self.more = Some(Box::new(More::Fault { status, grpc, unsent }));
        self
    }

    /// What an injected fault answers, HTTP and gRPC.
    pub fn fault(&self) -> Option<(u16, u8)> {
        match self.more.as_deref() {
            Some(More::Fault { status, grpc, .. }) => Some((*status, *grpc)),
            _ => None,
        }
    }

    /// The request, where not a byte of it was sent.
    pub fn take_unsent(&mut self) -> Option<Box<http::Request<Body>>> {
        if let Some(More::Fault { unsent, .. }) = self.more.as_deref_mut() {
            return unsent.take();
        }
        match self.more.take().map(|more| *more) {
            Some(More::Unsent(request)) => Some(request),
            other => {
                self.more = other.map(Box::new);
                None
            }
        }
    }
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Error::new(reason)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.word())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn an_error_stays_small() {
        assert!(size_of::<Error>() <= 32);
    }
}
