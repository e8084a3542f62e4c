//! Documents: apply, list, get, delete.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use outrigger_config::document::Kind;
use outrigger_config::name::ObjectName;
use serde::Deserialize;

use super::error::ApiError;
use super::shape::{AppliedView, DeletedView, DocumentList, ObjectView};
use super::{Api, body};
use crate::state::Filter;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct ApplyParameters {
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListParameters {
    kind: Option<String>,
    namespace: Option<String>,
}

/// `POST /api/v1/apply`: all documents of the body, or none.
pub(super) async fn apply(State(api): State<Api>, uri: Uri, body: Body) -> Result<Json<AppliedView>, ApiError> {
    let ApplyParameters { dry_run } = body::query(&uri)?;
    let text = body::text(body).await?;
    let applied = blocking(move || api.steering.apply(&text, dry_run)).await??;
    Ok(Json(AppliedView::from(&applied)))
}

/// `GET /api/v1/documents`.
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<DocumentList>, ApiError> {
    let ListParameters { kind, namespace } = body::query(&uri)?;
    let kind = kind.as_deref().map(parse_kind).transpose()?;
    let documents = api.steering.documents(&Filter { kind, namespace });
    Ok(Json(DocumentList { documents: documents.iter().map(|document| document.json().clone()).collect() }))
}

/// `GET /api/v1/documents/{kind}/{namespace}/{name}`.
pub(super) async fn get(
    State(api): State<Api>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let (kind, name) = parse(&path)?;
    match api.steering.document(kind, &name) {
        Some(document) => Ok(Json(document.json().clone())),
        None => Err(ApiError::NotFound(format!("there is no {} {name}", kind.as_str()))),
    }
}

/// `DELETE /api/v1/documents/{kind}/{namespace}/{name}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<DeletedView>, ApiError> {
    let (kind, name) = parse(&path)?;
    let deleted = ObjectView {
        kind: kind.as_str().to_owned(),
        namespace: name.namespace().to_owned(),
        name: name.name().to_owned(),
    };
    let generation = blocking(move || api.steering.delete(kind, &name)).await??;
    Ok(Json(DeletedView { generation, deleted }))
}

/// The store waits for the disk, so it must not hold up the runtime. A change that has begun is finished even when the
/// client has gone.
async fn blocking<T: Send + 'static>(change: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let task = tokio::task::spawn_blocking(change);
    task.await.map_err(|error| ApiError::Store(format!("the change was not finished: {error}")))
}

fn parse((kind, namespace, name): &(String, String, String)) -> Result<(Kind, ObjectName), ApiError> {
    let name = ObjectName::try_new(namespace, name).map_err(|problem| ApiError::BadRequest(problem.to_string()))?;
    Ok((parse_kind(kind)?, name))
}

fn parse_kind(text: &str) -> Result<Kind, ApiError> {
    Kind::parse(text).ok_or_else(|| {
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        ApiError::BadRequest(format!("{text:?} is no kind of document; there are {kinds}"))
    })
}
