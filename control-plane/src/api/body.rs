//! Reading what a request says, within bounds and without panicking over any of it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::Uri;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::MAX_BODY;
use super::error::ApiError;

/// How long a client may take to deliver a body.
pub(super) const DELIVERY: Duration = Duration::from_secs(10);

/// The whole body as text.
pub(super) async fn text(body: Body) -> Result<String, ApiError> {
    let body = Limited::new(body, MAX_BODY).collect();
    let body = tokio::time::timeout(DELIVERY, body).await.map_err(|_| ApiError::TooSlow)?;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => ApiError::TooLarge,
        false => ApiError::BadRequest(format!("the body broke off: {error}")),
    })?;
    String::from_utf8(body.to_bytes().into())
        .map_err(|error| ApiError::BadRequest(format!("the body is not UTF-8: {error}")))
}

/// The parameters of the query. One that `T` does not have is refused: `?dryrun=true` must not apply anything.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    match Query::try_from_uri(uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => {
            let text = rejection.body_text();
            let reason = text.split_once(": ").map_or(&*text, |(_, reason)| reason);
            Err(ApiError::BadRequest(format!("the parameters of the query cannot be read: {reason}")))
        }
    }
}
