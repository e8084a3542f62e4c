//! The HTTP API: documents in and out, and everything that can be seen of the mesh, as JSON under `/api/v1`.
//!
//! A request passes `guard` (is it meant for us, and could a foreign web page have sent it?), then one handler, which
//! asks [`Steering`] or [`Signals`] and answers. Nothing is kept here. Errors are JSON too: `{"error": "..."}`, with
//! `problems` where documents were refused. The whole surface is described by `GET /api/v1/openapi.json`.
//!
//! OTLP over HTTP is served beside it, under `/v1/traces` and `/v1/metrics` ([`crate::otlp::http`]).

mod body;
mod documents;
mod error;
mod guard;
mod metrics;
mod observed;
pub mod serve;
mod shape;

use axum::Router;
use axum::http::{Method, Uri, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use error::ApiError;
pub use guard::Hosts;
pub use shape::{
    AppliedView, ChangeView, DeletedView, DocumentList, LocationView, ObjectView, ProblemView, Refusal, StatusView,
};

use crate::limits::{Counters, Leases, Replicas};
use crate::otlp::{self, Receiver};
use crate::signals::Signals;
use crate::state::Steering;

/// The largest body a request may have, in bytes.
pub const MAX_BODY: usize = 4 << 20;

/// What the handlers ask. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Api {
    /// The documents, and how far each proxy has got.
    pub steering: Steering,
    /// The graph, the traces and the decisions.
    pub signals: Signals,
    /// What arrives over OTLP, for its numbers and its paths.
    pub receiver: Receiver,
    /// What is limited for all proxies together.
    pub counters: Counters,
    /// What is divided among them.
    pub leases: Leases,
    /// With whom this control plane divides it, where there may be others.
    pub replicas: Option<Replicas>,
}

/// Every path of the API and of OTLP over HTTP, open to requests for `hosts` only.
pub fn router(api: Api, hosts: Hosts) -> Router {
    let guarded = Router::new()
        .route("/api/v1/apply", post(documents::apply))
        .route("/api/v1/documents", get(documents::list))
        .route("/api/v1/documents/{kind}/{namespace}/{name}", get(documents::get).delete(documents::delete))
        .route("/api/v1/proxies", get(observed::proxies))
        .route("/api/v1/graph", get(observed::graph))
        .route("/api/v1/traces", get(observed::traces))
        .route("/api/v1/traces/{trace_id}", get(observed::trace))
        .route("/api/v1/explain", get(observed::decisions))
        .route("/api/v1/explain/{trace_id}", get(observed::decision))
        .route("/api/v1/status", get(observed::status))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/metrics", get(metrics::metrics))
        .with_state(api.clone())
        .merge(otlp::http::router(api.receiver.clone()))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_that_way)
        .layer(middleware::from_fn_with_state(hosts, guard::guard));
    // Probes come under whatever name the machine has, and learn nothing but yes or no.
    Router::new()
        .route("/livez", get(observed::livez))
        .route("/readyz", get(observed::readyz))
        .with_state(api)
        .merge(guarded)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

async fn nothing_here(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}; GET /api/v1/openapi.json lists what there is", uri.path()))
}

async fn not_that_way(method: Method, uri: Uri) -> ApiError {
    ApiError::Method(format!("{} cannot be asked with {method}; see GET /api/v1/openapi.json", uri.path()))
}
