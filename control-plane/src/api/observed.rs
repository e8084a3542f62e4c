//! What can be seen of the mesh: proxies, graph, traces, decisions, and whether the control plane itself is well.

use std::time::{Instant, SystemTime};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use outrigger_config::value::parse_duration;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::shape::{StatusView, problems};
use super::{Api, body};
use crate::ads::status::ProxyStatus;
use crate::decisions::DecisionList;
use crate::graph::GraphView;
use crate::traces::{Query, StatusFilter, Trace, TraceId, TraceList};

/// The most traces one search answers with.
const MAX_TRACES: usize = 200;

/// How many it answers with when nobody asks for a number.
const DEFAULT_TRACES: usize = 20;

/// `GET /api/v1/proxies`.
#[derive(Debug, Serialize)]
pub(super) struct ProxyList {
    generation: u64,
    proxies: Vec<ProxyStatus>,
}

/// The answer to a probe.
#[derive(Debug, Serialize)]
pub(super) struct Probe {
    status: &'static str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct TraceParameters {
    service: Option<String>,
    status: Option<String>,
    min_duration: Option<String>,
    retried: bool,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct DecisionParameters {
    service: Option<String>,
    limit: Option<usize>,
}

/// Every proxy, and how far each has got.
pub(super) async fn proxies(State(api): State<Api>) -> Json<ProxyList> {
    Json(ProxyList { generation: api.steering.generation(), proxies: api.steering.proxies() })
}

/// Who calls whom.
pub(super) async fn graph(State(api): State<Api>) -> Json<GraphView> {
    Json(api.signals.graph_view(Instant::now(), SystemTime::now()))
}

/// The newest traces that match.
pub(super) async fn traces(State(api): State<Api>, uri: Uri) -> Result<Json<TraceList>, ApiError> {
    let parameters: TraceParameters = body::query(&uri)?;
    let status = match parameters.status.as_deref() {
        None => None,
        Some(text) => Some(StatusFilter::parse(text).ok_or_else(|| {
            ApiError::BadRequest(format!("status={text:?} must be failed, error, ok or an HTTP status such as 503"))
        })?),
    };
    let min_duration = match parameters.min_duration.as_deref() {
        None => None,
        Some(text) => {
            let read = parse_duration(text);
            Some(read.map_err(|problem| ApiError::BadRequest(format!("minDuration={text:?} {}", problem.reason)))?)
        }
    };
    let limit = parameters.limit.unwrap_or(DEFAULT_TRACES);
    if !(1..=MAX_TRACES).contains(&limit) {
        return Err(ApiError::BadRequest(format!("limit={limit} must be between 1 and {MAX_TRACES}")));
    }
    let query = Query { service: parameters.service, status, min_duration, retried: parameters.retried, limit };
    Ok(Json(TraceList { traces: api.signals.traces(|traces| traces.search(&query)) }))
}

/// One trace with its spans.
pub(super) async fn trace(State(api): State<Api>, Path(trace_id): Path<String>) -> Result<Json<Trace>, ApiError> {
    let id = TraceId::parse(&trace_id)
        .ok_or_else(|| ApiError::BadRequest(format!("{trace_id:?} is no trace id, which has 32 hexadecimal digits")))?;
    let trace = api.signals.traces(|traces| traces.get(id));
    trace.map(Json).ok_or_else(|| {
        ApiError::NotFound(format!("the trace {id} is not here: it never came, or newer ones have taken its place"))
    })
}

/// The newest decisions that were recorded.
pub(super) async fn decisions(State(api): State<Api>, uri: Uri) -> Result<Json<DecisionList>, ApiError> {
    let parameters: DecisionParameters = body::query(&uri)?;
    let limit = parameters.limit.unwrap_or(DEFAULT_TRACES);
    if !(1..=MAX_TRACES).contains(&limit) {
        return Err(ApiError::BadRequest(format!("limit={limit} must be between 1 and {MAX_TRACES}")));
    }
    Ok(Json(api.signals.decisions(|all| all.newest(parameters.service.as_deref(), limit))))
}

/// How the requests of one trace were decided.
pub(super) async fn decision(
    State(api): State<Api>,
    Path(trace_id): Path<String>,
) -> Result<Json<DecisionList>, ApiError> {
    let id = TraceId::parse(&trace_id)
        .ok_or_else(|| ApiError::BadRequest(format!("{trace_id:?} is no trace id, which has 32 hexadecimal digits")))?;
    let found = api.signals.decisions(|all| all.of(id));
    match found.records.is_empty() {
        false => Ok(Json(found)),
        true => Err(ApiError::NotFound(format!(
            "no decision of the trace {id} is recorded: only requests that failed, were tried again, took long or asked \
             for it are, and of those the newest"
        ))),
    }
}

/// What the control plane says of itself.
pub(super) async fn status(State(api): State<Api>) -> Json<StatusView> {
    Json(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: api.steering.ready(),
        generation: api.steering.generation(),
        refused_files: problems(&api.steering.refused_files()),
    })
}

/// The process runs.
pub(super) async fn livez() -> Json<Probe> {
    Json(Probe { status: "ok" })
}

/// Proxies can be served.
pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, Json<Probe>) {
    match api.steering.ready() {
        true => (StatusCode::OK, Json(Probe { status: "ok" })),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(Probe { status: "the first mesh is not published yet" })),
    }
}
