//! Why a request is refused, and the one place that turns a refusal into an answer.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use outrigger_config::error::Problems;

use super::shape::{Refusal, problems};
use crate::state::ChangeError;

/// A refusal; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Method(String),
    #[error("the body did not arrive within {} seconds", crate::inflow::DELIVERY.as_secs())]
    TooSlow,
    #[error("a body may have at most {} bytes; apply fewer documents at a time", super::MAX_BODY)]
    TooLarge,
    #[error(
        "a request that changes something needs Content-Type application/yaml or application/json, or the header \
         Outrigger-Client with any value; without either a foreign web page could have sent it"
    )]
    Simple,
    #[error("the documents were refused, nothing was changed")]
    Refused(Problems),
    #[error("{0}")]
    Store(String),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            ApiError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::Simple => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(problems) => ApiError::Refused(problems),
            ChangeError::Unknown { .. } => ApiError::NotFound(error.to_string()),
            ChangeError::Store(cause) => {
                tracing::error!(error = %cause, "a change could not be kept");
                ApiError::Store(format!("the change could not be kept: {cause}"))
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let found = match &self {
            ApiError::Refused(found) => problems(found),
            _ => Vec::new(),
        };
        let refusal = Refusal { error: self.to_string(), problems: found };
        // An answer of now, wrong a moment later: nobody may keep it.
        (self.status(), [(header::CACHE_CONTROL, "no-store")], Json(refusal)).into_response()
    }
}
