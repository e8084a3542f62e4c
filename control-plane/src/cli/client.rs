//! The API from the other side: one request, one answer, every failure in words.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::failure::Failure;
use crate::api::Refusal;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes: that of 10,000 proxies with room to spare.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to one control plane, opened when first needed.
#[derive(Debug)]
pub(super) struct Client {
    server: String,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// What is asked: a path, and parameters that are written so that any text can be one.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    path: String,
    parameters: usize,
}

impl Ask {
    /// A path made of these segments.
    pub(super) fn new(segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            escape(segment, &mut path);
        }
        Ask { path, parameters: 0 }
    }

    /// With a parameter, where it has a value.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.path.push(if self.parameters == 0 { '?' } else { '&' });
            self.path.push_str(name);
            self.path.push('=');
            escape(value, &mut self.path);
            self.parameters += 1;
        }
        self
    }
}

impl Client {
    /// For the control plane at `server`, as `http://127.0.0.1:15080`.
    pub(super) fn try_new(server: &str) -> Result<Self, Failure> {
        let with_scheme = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let uri: Option<Uri> = with_scheme.parse().ok();
        match uri {
            Some(uri) if uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none() => {}
            _ => {
                let text = format!("--server {server:?} must look like http://127.0.0.1:15080");
                return Err(Failure::Usage(text));
            }
        }
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Ok(Client { server: with_scheme.trim_end_matches('/').to_owned(), http })
    }

    pub(super) async fn get(&self, ask: Ask) -> Result<Value, Failure> {
        self.send(Method::GET, &ask, Bytes::new()).await
    }

    pub(super) async fn delete(&self, ask: Ask) -> Result<Value, Failure> {
        self.send(Method::DELETE, &ask, Bytes::new()).await
    }

    pub(super) async fn post_yaml(&self, ask: Ask, body: String) -> Result<Value, Failure> {
        self.send(Method::POST, &ask, body.into()).await
    }

    async fn send(&self, method: Method, ask: &Ask, body: Bytes) -> Result<Value, Failure> {
        let uri = format!("{}{}", self.server, ask.path);
        let request = Request::builder()
            .method(method)
            .uri(&uri)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/yaml")
            .header("outrigger-client", concat!("outrigger/", env!("CARGO_PKG_VERSION")));
        let request =
            request.body(Full::new(body)).map_err(|error| Failure::Usage(format!("cannot ask {uri}: {error}")))?;
        let (status, answer) = match timeout(PATIENCE, self.exchange(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => return Err(self.unreachable(&format!("no answer within {} seconds", PATIENCE.as_secs()))),
        };
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| self.foreign(&error));
        }
        let refusal: Refusal = serde_json::from_slice(&answer).map_err(|_| self.foreign(&status))?;
        // What was asked makes no sense, and so neither does the command line it came from.
        Err(if status == StatusCode::BAD_REQUEST { Failure::Usage(refusal.error) } else { refusal.into() })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let response = self.http.request(request).await.map_err(|error| innermost(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, reason: &str) -> Failure {
        Failure::Unreachable(format!(
            "cannot reach the control plane at {}: {reason}; is it running, and is --server or OUTRIGGER_SERVER right?",
            self.server
        ))
    }

    fn foreign(&self, found: &dyn std::fmt::Display) -> Failure {
        Failure::Unreachable(format!(
            "{} does not answer as a control plane of this version does ({found}); is --server right?",
            self.server
        ))
    }
}

/// Reads an answer in its shape.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| {
        Failure::Unreachable(format!("the answer is not what this version of the tool expects: {error}"))
    })
}

/// The cause that says most: the last of the chain.
fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

fn escape(text: &str, escaped: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Client};

    #[test]
    fn any_text_can_be_asked_for() {
        let ask = Ask::new(&["api", "v1", "a/b c"]).with("x", None).with("status", Some("ä&b=1")).with("y", Some("2"));
        assert_eq!(ask.path, "/api/v1/a%2Fb%20c?status=%C3%A4%26b%3D1&y=2");
    }

    #[tokio::test]
    async fn a_server_is_an_address_and_no_more() {
        for good in ["http://127.0.0.1:15080", "http://mesh:80/", "127.0.0.1:15080", "localhost"] {
            assert!(Client::try_new(good).is_ok(), "{good}");
        }
        for bad in ["", "https://mesh", "http://mesh/api", "http://mesh?x", "a b"] {
            assert!(Client::try_new(bad).is_err(), "{bad}");
        }
    }
}
