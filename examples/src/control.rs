//! The story's view of the control plane: its API, and the fault switches of the shop. Everything here is what a person
//! could ask with curl.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::shop::fault::{Counts, Fault};
use crate::wire::{Answer, Call, Wire};

/// Asks and tells one control plane.
#[derive(Clone)]
pub(crate) struct Control {
    wire: Wire,
    api: SocketAddr,
}

/// What became of documents.
pub(crate) enum Outcome {
    /// They hold as of this generation.
    Applied(u64),
    /// None of them holds; each line is a mistake and where it is.
    Refused(Vec<String>),
}

/// How far the proxies are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The generation of the documents.
    pub(crate) generation: u64,
    /// Proxies connected.
    pub(crate) connected: usize,
    /// Those that acknowledged all they were sent.
    pub(crate) synced: usize,
}

impl Control {
    /// For the API at `api`.
    pub(crate) fn new(wire: Wire, api: SocketAddr) -> Self {
        Control { wire, api }
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.wire.call(Call::get(self.api, "", path)).await?;
        if answer.status != StatusCode::OK {
            bail!("GET {path} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        answer.json()
    }

    /// Whether the API answers.
    pub(crate) async fn is_ready(&self) -> bool {
        let call = Call { deadline: Duration::from_millis(500), ..Call::get(self.api, "", "/readyz") };
        self.wire.call(call).await.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    /// Applies documents, all or none.
    pub(crate) async fn apply(&self, documents: String) -> Result<Outcome> {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/yaml"))];
        let call = Call { headers: &headers, ..Call::post(self.api, "/api/v1/apply", documents) };
        let answer = self.wire.call(call).await?;
        let json = answer.json()?;
        match answer.status {
            StatusCode::OK => Ok(Outcome::Applied(json["generation"].as_u64().context("no generation")?)),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                let problems = json["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
                Ok(Outcome::Refused(problems.iter().map(problem).collect()))
            }
            status => bail!("apply answered {status}: {json}"),
        }
    }

    /// Applies documents that are known to be right.
    pub(crate) async fn apply_good(&self, documents: String) -> Result<u64> {
        match self.apply(documents).await? {
            Outcome::Applied(generation) => Ok(generation),
            Outcome::Refused(problems) => bail!("refused: {}", problems.join("; ")),
        }
    }

    /// Every document, as text to compare.
    pub(crate) async fn documents(&self) -> Result<(usize, String)> {
        let json = self.get("/api/v1/documents").await?;
        let list = json["documents"].as_array().context("no list of documents")?;
        Ok((list.len(), serde_json::to_string(list)?))
    }

    /// How far the proxies are.
    pub(crate) async fn progress(&self) -> Result<Progress> {
        let json = self.get("/api/v1/proxies").await?;
        let proxies = json["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let count = |field: &str| {
            let holds = |proxy: &&Value| proxy["connected"] == true && proxy[field] == true;
            proxies.iter().filter(holds).count()
        };
        Ok(Progress {
            generation: json["generation"].as_u64().unwrap_or_default(),
            connected: count("connected"),
            synced: count("synced"),
        })
    }

    /// Waits until `proxies` of them have acknowledged `generation`; says how long it took.
    pub(crate) async fn settled(&self, generation: u64, proxies: usize, patience: Duration) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let progress = self.progress().await.unwrap_or_default();
            if progress.generation >= generation && progress.synced >= proxies {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > patience {
                bail!("after {patience:?} {} of {proxies} proxies have acknowledged the documents", progress.synced);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Who calls whom.
    pub(crate) async fn graph(&self) -> Result<Value> {
        self.get("/api/v1/graph").await
    }

    /// The edges from `source` to `destination`, one for each instance or version seen.
    pub(crate) async fn edges(&self, source: &str, destination: &str) -> Result<Vec<Value>> {
        let json = self.graph().await?;
        let edges = json["edges"].as_array().cloned().unwrap_or_default();
        let wanted = |edge: &Value| is_of(&edge["source"], source) && is_of(&edge["destination"], destination);
        Ok(edges.into_iter().filter(wanted).collect())
    }

    /// The id of a recent trace in which a call was tried again and then answered: of those at hand one with as few
    /// attempts as there are, and of these the one with the most spans, for the newest may still be on their way.
    pub(crate) async fn retried_trace(&self) -> Result<Option<String>> {
        let json = self.get("/api/v1/traces?retried=true&limit=30").await?;
        let list = json["traces"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut best: Option<(u64, Reverse<usize>, String)> = None;
        for id in list.iter().filter_map(|trace| trace["trace_id"].as_str()) {
            let whole = self.trace(id).await?;
            let Some(retries) = retries_of_a_page(&whole) else { continue };
            let spans = whole["spans"].as_array().map(Vec::len).unwrap_or_default();
            let candidate = (retries, Reverse(spans), id.to_owned());
            if best.as_ref().is_none_or(|best| candidate < *best) {
                best = Some(candidate);
            }
        }
        Ok(best.map(|(_, _, id)| id))
    }

    async fn trace(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/v1/traces/{id}")).await
    }
}

/// Whether the graph's name is that of a service, or of an instance or a version of it.
fn is_of(name: &Value, service: &str) -> bool {
    let rest = name.as_str().and_then(|name| name.strip_prefix(service));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The retries of a trace that shows the whole way of a page, from the gateway, in which the last attempt went well.
fn retries_of_a_page(trace: &Value) -> Option<u64> {
    let spans = trace["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let resent = |span: &Value| {
        let count = &span["attributes"]["http.request.resend_count"];
        count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or_default()
    };
    let begins = |span: &Value| span["service"].as_str().is_some_and(|service| service.starts_with("gateway"));
    let last = spans.iter().max_by_key(|span| resent(span)).filter(|last| last["status"] != "error")?;
    (resent(last) > 0 && spans.iter().any(begins)).then(|| resent(last))
}

/// One mistake as a line: where, what, why.
fn problem(problem: &Value) -> String {
    let text = |name: &str| match &problem[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let line = match problem["location"]["line"].as_u64() {
        Some(line) => format!("line {line}: "),
        None => String::new(),
    };
    let value = match text("value") {
        value if value.is_empty() => String::new(),
        value => format!(" = {value}"),
    };
    format!("{line}{} {}{value}: {} [{}]", text("object"), text("path"), text("reason"), text("code"))
}

/// Turns the fault switch at `address`, or only reads its counts.
pub(crate) async fn fault(wire: &Wire, address: SocketAddr, fault: Option<Fault>) -> Result<Counts> {
    let body = fault.map(|fault| serde_json::to_vec(&fault)).transpose()?.unwrap_or_default();
    let method = if fault.is_some() { Method::POST } else { Method::GET };
    let answer: Answer = wire.call(Call { method, ..Call::post(address, "/fault", body) }).await?;
    serde_json::from_slice(&answer.body).context("the fault switch did not answer")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_of, problem, retries_of_a_page};

    #[test]
    fn a_mistake_reads_as_a_line() {
        let text = problem(&json!({
            "code": "TimeoutOrder", "object": "RoutePolicy shop/recommend", "path": "spec.retry.perTryTimeout",
            "value": "5s", "reason": "must not be longer than the request timeout of 3s",
            "location": {"file": "apply", "line": 10, "column": 20},
        }));
        assert_eq!(
            text,
            "line 10: RoutePolicy shop/recommend spec.retry.perTryTimeout = 5s: \
             must not be longer than the request timeout of 3s [TimeoutOrder]"
        );
    }

    #[test]
    fn versions_and_instances_belong_to_their_service() {
        assert!(is_of(&json!("recommend-v2"), "recommend") && is_of(&json!("catalog"), "catalog"));
        assert!(!is_of(&json!("cartography"), "cart") && !is_of(&json!(null), "cart"));
    }

    #[test]
    fn a_retried_page_has_another_attempt_that_went_well() {
        let span = |service: &str, resent: u64, status: &str| json!({"service": service, "status": status, "attributes": {"http.request.resend_count": resent}});
        let page = |attempt| json!({"spans": [span("gateway", 0, "unset"), span("storefront", 0, "error"), attempt]});
        assert_eq!(retries_of_a_page(&page(span("storefront", 2, "unset"))), Some(2));
        assert_eq!(retries_of_a_page(&page(span("storefront", 1, "error"))), None);
        assert_eq!(retries_of_a_page(&json!({"spans": [span("storefront", 1, "unset")]})), None, "no gateway");
        assert_eq!(retries_of_a_page(&json!({"spans": [span("gateway", 0, "unset")]})), None, "no retry");
    }
}
