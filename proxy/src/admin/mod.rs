//! The admin port: whether the proxy is ready, what it is doing and by which configuration, and the two things that may
//! be changed while it runs.
//!
//! It listens on loopback. A browser on the same machine must not be made to use it by a page from elsewhere: requests
//! must name a loopback host or the port's own address, only a POST changes anything, and no answer is guessed to be
//! something to run. Runs on the control runtime, never on a worker.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::discovery::status::Status;
use crate::exchange::Shared;
use crate::telemetry::logging::Filter;

mod cache;
mod second;
pub mod dump;
pub mod clusters;
mod explain;
mod policies;
mod overload;
mod adaptive;
pub mod metrics;
mod query;

use query::Query;

/// How many connections are served at once.
const CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);

const PAGES: &str = "\
GET  /ready                      200 if traffic may come, else 503 and why not
GET  /live                       200 as long as the process answers
GET  /config_dump?resource=TEXT  the configuration in force, of resources whose name contains TEXT
GET  /clusters?format=json       destinations and their endpoints: load, health, ejection, limits
GET  /explain?trace=ID           how requests were decided that failed, were tried again or were slow
GET  /metrics                    counters, for Prometheus
POST /drain                      stop taking connections and finish what is under way
POST /logging?filter=FILTER      change what is logged: info, or info,outrigger_proxy=debug
";

/// What the admin port shows and may change.
#[derive(Clone, Debug)]
pub struct Admin {
    /// What all rooms share.
    pub shared: Arc<Shared>,
    /// How configuration stands.
    pub status: Status,
    /// Which log lines are written.
    pub filter: Filter,
    /// When the process began.
    pub started: Instant,
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Serves `listener` for ever.
    pub async fn serve(self, listener: TcpListener) {
        let address = listener.local_addr().ok();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let tcp = match listener.accept().await {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::warn!(%error, "The admin port pauses accepting");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = admin.answer(&request, address);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut server = hyper::server::conn::http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD);
                // A caller that goes away is nothing to tell.
                let _ = server.serve_connection(TokioIo::new(tcp), service).await;
                drop(permit);
            });
        }
    }

    fn answer<B>(&self, request: &Request<B>, own: Option<SocketAddr>) -> Answer {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let mut answer = match host.is_none_or(|host| is_local(host, own)) {
            true => self.page(request),
            false => text(StatusCode::FORBIDDEN, "the admin port answers to localhost and its own address only\n"),
        };
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    fn page<B>(&self, request: &Request<B>) -> Answer {
        let changes = match request.uri().path() {
            "/drain" | "/logging" => true,
            "/" | "/ready" | "/live" | "/config_dump" | "/clusters" | "/explain" | "/metrics" => false,
            _ => return text(StatusCode::NOT_FOUND, PAGES),
        };
        let fits = match *request.method() {
            Method::POST => changes,
            Method::GET | Method::HEAD => !changes,
            _ => false,
        };
        if !fits {
            let allow = if changes { "POST" } else { "GET, HEAD" };
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allow}\n"));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
            return answer;
        }
        let query = Query::new(request.uri().query());
        let now = Instant::now();
        match request.uri().path() {
            "/ready" => match self.status.get().ready() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
            },
            "/live" => text(StatusCode::OK, "live\n"),
            "/config_dump" => {
                let snapshot = self.shared.snapshots.load_full();
                let wanted = query.get("resource").unwrap_or_default();
                json(&dump::dump(&self.status.get(), snapshot.number, &wanted, now))
            }
            "/clusters" => {
                let snapshot = self.shared.snapshots.load_full();
                match query.get("format").as_deref() {
                    None | Some("text") => text(StatusCode::OK, &clusters::text(&snapshot, now)),
                    Some("json") => json(&clusters::json(&snapshot, now)),
                    Some(_) => text(StatusCode::BAD_REQUEST, "format must be text or json\n"),
                }
            }
            "/explain" => explain::page(&self.shared.telemetry.records, query.get("trace").as_deref()),
            "/metrics" => match metrics::text(&self.shared, &self.status.get(), self.started, now) {
                Ok(page) => respond(StatusCode::OK, prometheus::TEXT_FORMAT, page.into()),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            "/drain" => {
                tracing::info!("Draining, as the admin port was asked to");
                self.status.note(|standing| standing.draining = true);
                self.shared.drain.start();
                text(StatusCode::OK, "draining\n")
            }
            "/logging" => match query.get("filter") {
                None => text(StatusCode::BAD_REQUEST, &format!("filter= is missing; now: {}\n", self.filter.get())),
                Some(filter) => match self.filter.set(&filter) {
                    Ok(()) => text(StatusCode::OK, &format!("{}\n", self.filter.get())),
                    Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
                },
            },
            _ => text(StatusCode::OK, PAGES),
        }
    }
}

/// Whether a `Host` is one that a page from elsewhere cannot have made a browser send: `localhost`, a loopback address,
/// or the address the port listens on, with any port.
fn is_local(host: &str, own: Option<SocketAddr>) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let ip: Option<std::net::IpAddr> = name.parse().ok();
    name.eq_ignore_ascii_case("localhost")
        || ip.is_some_and(|ip| ip.is_loopback() || own.is_some_and(|own| own.ip() == ip))
}

fn text(status: StatusCode, body: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
}

fn json(value: &serde_json::Value) -> Answer {
    respond(StatusCode::OK, "application/json", format!("{value:#}\n").into())
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
