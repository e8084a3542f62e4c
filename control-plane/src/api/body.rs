//! Reading what a request says, within bounds and without panicking over any of it.

use axum::body::Body;
use axum::extract::Query;
use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::MAX_BODY;
use super::error::ApiError;
use crate::inflow::{NoBody, collect};

/// The whole body as text.
pub(super) async fn text(body: Body) -> Result<String, ApiError> {
    let body = collect(body, MAX_BODY).await.map_err(|none| match none {
        NoBody::TooLarge => ApiError::TooLarge,
        NoBody::TooSlow => ApiError::TooSlow,
        NoBody::Broken => ApiError::BadRequest("the body broke off".to_owned()),
    })?;
    String::from_utf8(body.into()).map_err(|error| ApiError::BadRequest(format!("the body is not UTF-8: {error}")))
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
