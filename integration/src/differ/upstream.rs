//! The service behind both sides: it knows which call of which case a request belongs to by its field `x-case`, answers
//! each attempt as that call's script says, and remembers what it saw.
//!
//! | answer | what happens |
//! |---|---|
//! | `503` | that status |
//! | `hang` | nothing, until it is given up |
//! | `gate` | 200, once as many calls as the case says stand here or are over |
//! | `reset` | the stream, with HTTP/1 the connection, is broken off |
//! | `refuse` | with HTTP/2 REFUSED_STREAM, with HTTP/1 as `reset` |
//! | `stall` | a head, a part of the body, and nothing more |
//! | `cut` | a head, a part of the body, and then it is broken off |
//! | `grpc 14` | that status in the head, without a body |
//! | `late 14` | that status in the trailers, after a message |
//! | `bare 14` | that status in the trailers, without a message |
//!
//! A map says more: `{ answer: 503, headers: { retry-after: 1 }, body: text, delay: 300ms, early: true }`, where `early`
//! answers before the request's body has come, and `bytes: 600` is a body of that length.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::case::duration;
use crate::behaviour::{Body, BodyError, empty, fed, full};
use crate::grpc;
use crate::ports;

/// The endpoints that answer.
const LIVE: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
/// The field that says which call a request belongs to.
pub const CALL: &str = "x-case";
/// The field that says which of many calls a request belongs to.
pub const COUNT: &str = "x-case-count";
/// The field that says which endpoint answered.
pub const ANSWERED: &str = "x-upstream";

/// The running service.
#[derive(Debug)]
pub struct Upstream {
    endpoints: BTreeMap<String, SocketAddr>,
    plays: Plays,
    tasks: Vec<JoinHandle<()>>,
    /// Bound and not listening: a connection is refused, and nobody else can get the port.
    _closed: TcpSocket,
    /// Its backlog is full: a connection is neither made nor refused.
    _silent: (TcpListener, Vec<JoinHandle<()>>),
}

type Plays = Arc<Mutex<HashMap<String, Arc<Play>>>>;

/// A call's script, and what came of it.
#[derive(Debug)]
pub struct Play {
    script: BTreeMap<String, Vec<Answer>>,
    seen: Mutex<Vec<Seen>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    at_gate: AtomicUsize,
    gate: watch::Sender<bool>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// To which endpoint.
    pub endpoint: String,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its authority.
    pub host: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// How long its body was, once it was there.
    pub body: Option<usize>,
}

#[derive(Clone, Debug)]
struct Answer {
    what: What,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
    delay: Duration,
    early: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Status(u16),
    Hang,
    Gate,
    Break(Reason),
    Stall,
    Cut,
    Grpc(u32),
    Late(u32),
    Bare(u32),
}

impl What {
    fn parse(text: &str) -> What {
        let (word, number) = text.split_once(' ').unwrap_or((text, ""));
        let code = || number.parse().unwrap_or_else(|_| panic!("{text:?} is no answer"));
        match word {
            "hang" => What::Hang,
            "gate" => What::Gate,
            "reset" => What::Break(Reason::INTERNAL_ERROR),
            "refuse" => What::Break(Reason::REFUSED_STREAM),
            "stall" => What::Stall,
            "cut" => What::Cut,
            "grpc" => What::Grpc(code()),
            "late" => What::Late(code()),
            "bare" => What::Bare(code()),
            status => What::Status(status.parse().unwrap_or_else(|_| panic!("{text:?} is no answer"))),
        }
    }
}

impl Answer {
    fn parse(value: &Value) -> Answer {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let what = match value {
            Value::Object(fields) => What::parse(&text(fields.get("answer").unwrap_or(&Value::from(200)))),
            other => What::parse(&text(other)),
        };
        let mut headers = Vec::new();
        if let Some(Value::Object(fields)) = value.get("headers") {
            for (name, values) in fields {
                let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
                for value in values {
                    let name = HeaderName::from_bytes(name.as_bytes()).expect("a field's name");
                    headers.push((name, HeaderValue::from_str(&text(&value)).expect("a field's value")));
                }
            }
        }
        Answer {
            what,
            headers,
            body: value.get("body").map(text).or_else(|| Some("x".repeat(value.get("bytes")?.as_u64()? as usize))),
            delay: value.get("delay").map_or(Duration::ZERO, |delay| duration(&text(delay))),
            early: value.get("early").is_some_and(|early| early == true),
        }
    }
}

impl Play {
    fn new(script: &Value) -> Play {
        let answers = |list: &Value| {
            let list = list.as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
            list.iter().map(Answer::parse).collect::<Vec<_>>()
        };
        // A map without an answer has one script for each endpoint.
        let script = match script {
            Value::Null => BTreeMap::from([("*".to_owned(), vec![Answer::parse(&Value::from(200))])]),
            Value::Object(each) if each.keys().all(|key| LIVE.contains(&key.as_str())) => {
                each.iter().map(|(endpoint, list)| (endpoint.clone(), answers(list))).collect()
            }
            other => BTreeMap::from([("*".to_owned(), answers(other))]),
        };
        Play {
            script,
            seen: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            at_gate: AtomicUsize::new(0),
            gate: watch::Sender::new(false),
        }
    }

    /// All that came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// How many have come to the gate so far.
    pub fn at_gate(&self) -> usize {
        self.at_gate.load(Ordering::Relaxed)
    }

    /// How many were under way at once, at most.
    pub fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::Relaxed)
    }

    /// Lets those through that wait at the gate, and all that come later.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Takes a request down; its place, and the answer that it gets.
    fn arrive(&self, endpoint: &str, request: &Request<Incoming>) -> (usize, Answer) {
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        let seen = Seen {
            endpoint: endpoint.to_owned(),
            method: request.method().to_string(),
            path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            host: host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default(),
            headers: request.headers().clone(),
            body: None,
        };
        let mut all = self.seen.lock();
        // A script for all is played to each of many calls anew, one for an endpoint goes on through all of them.
        let (key, before) = match self.script.contains_key(endpoint) {
            true => (endpoint, all.iter().filter(|one| one.endpoint == endpoint).count()),
            false => ("*", all.iter().filter(|one| one.headers.get(COUNT) == seen.headers.get(COUNT)).count()),
        };
        all.push(seen);
        let answers = self.script.get(key).map_or(&[][..], Vec::as_slice);
        let answer = answers.get(before).or(answers.last()).cloned();
        (all.len() - 1, answer.unwrap_or_else(|| Answer::parse(&Value::from(200))))
    }
}

impl Upstream {
    /// Starts it.
    pub async fn start() -> Upstream {
        let plays = Plays::default();
        let (mut endpoints, mut tasks) = (BTreeMap::new(), Vec::new());
        for letter in LIVE {
            let (listener, address) = ports::listen().await;
            endpoints.insert(letter.to_owned(), address);
            tasks.push(tokio::spawn(serve(listener, letter, plays.clone())));
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let closed = TcpSocket::new_v4().expect("a socket");
        closed.bind(any).expect("a port");
        endpoints.insert("closed".to_owned(), closed.local_addr().expect("a bound socket has an address"));
        let silent = TcpSocket::new_v4().expect("a socket");
        silent.bind(any).expect("a port");
        let silent = silent.listen(1).expect("it listens");
        let address = silent.local_addr().expect("a bound socket has an address");
        endpoints.insert("silent".to_owned(), address);
        let fill = (0..4).map(|_| {
            tokio::spawn(async move {
                let _connection = TcpStream::connect(address).await;
                std::future::pending::<()>().await;
            })
        });
        let fill = fill.collect();
        Upstream { endpoints, plays, tasks, _closed: closed, _silent: (silent, fill) }
    }

    /// Where an endpoint is: `a` to `l` answer, `closed` refuses connections, `silent` never takes one.
    pub fn endpoint(&self, name: &str) -> SocketAddr {
        *self.endpoints.get(name).unwrap_or_else(|| panic!("there is no endpoint {name:?}"))
    }

    /// Has a script ready for the call that says `key` in its field [`CALL`].
    pub fn expect(&self, key: &str, script: &Value) -> Arc<Play> {
        let play = Arc::new(Play::new(script));
        self.plays.lock().insert(key.to_owned(), play.clone());
        play
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.tasks.iter().chain(&self._silent.1).for_each(JoinHandle::abort);
    }
}

async fn serve(listener: TcpListener, endpoint: &'static str, plays: Plays) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let plays = plays.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let key = request.headers().get(CALL).and_then(|key| key.to_str().ok()).unwrap_or_default();
                let play = plays.lock().get(key).cloned();
                answer(endpoint, play, request)
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Counts a request as under way until it is dropped.
struct UnderWay<'a>(&'a Play);

impl<'a> UnderWay<'a> {
    fn begin(play: &'a Play) -> UnderWay<'a> {
        let now = play.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        play.most_under_way.fetch_max(now, Ordering::Relaxed);
        UnderWay(play)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(
    endpoint: &'static str,
    play: Option<Arc<Play>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BodyError> {
    let Some(play) = play else { return Ok(crate::behaviour::status(404)) };
    let (place, answer) = play.arrive(endpoint, &request);
    let _under_way = UnderWay::begin(&play);
    if !answer.early {
        let length = read(request.into_body()).await?;
        play.seen.lock()[place].body = Some(length);
    }
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().header(ANSWERED, endpoint);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let text = || full(answer.body.clone().unwrap_or_else(|| format!("attempt {}\n", place + 1)));
    let response = match answer.what {
        What::Status(status @ (204 | 304)) => response.status(status).body(empty()),
        What::Status(status) => response.status(status).body(text()),
        What::Hang => std::future::pending().await,
        What::Gate => {
            play.at_gate.fetch_add(1, Ordering::Relaxed);
            let _ = play.gate.subscribe().wait_for(|open| *open).await;
            response.body(text())
        }
        What::Break(reason) => return Err(h2::Error::from(reason).into()),
        What::Stall => response.body(part(None)),
        What::Cut => response.body(part(Some(Duration::from_millis(300)))),
        What::Grpc(code) => {
            response.header("content-type", grpc::CONTENT_TYPE).header("grpc-status", code).body(empty())
        }
        What::Late(code) => response.header("content-type", grpc::CONTENT_TYPE).body(ending(code, true)),
        What::Bare(code) => response.header("content-type", grpc::CONTENT_TYPE).body(ending(code, false)),
    };
    Ok(response?)
}

async fn read(mut body: Incoming) -> Result<usize, BodyError> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}

/// The first part of a body, which then stays as it is, or breaks off after a moment: so that the part leaves first.
fn part(breaks_after: Option<Duration>) -> Body {
    let (feed, body) = fed();
    tokio::spawn(async move {
        let _ = feed.send(Ok(Frame::data(Bytes::from_static(b"the first part")))).await;
        match breaks_after {
            None => feed.closed().await,
            Some(moment) => {
                tokio::time::sleep(moment).await;
                let _ = feed.send(Err("broken off".into())).await;
            }
        }
    });
    body
}

fn ending(code: u32, message: bool) -> Body {
    let (feed, body) = fed();
    tokio::spawn(async move {
        if message {
            let _ = feed.send(Ok(Frame::data(grpc::frame(b"a message")))).await;
        }
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(code))]);
        let _ = feed.send(Ok(Frame::trailers(trailers))).await;
    });
    body
}
