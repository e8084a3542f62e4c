//! Plays the calls of a case against one side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use tokio::net::TcpStream;

use super::case::{Call, Case, duration};
use super::outcome::{self, Ending};
use super::upstream::{CALL, COUNT, Play, Upstream};
use crate::behaviour::{empty, full};
use crate::client::{Ask, Client, ask, read};
use crate::grpc;
use crate::wait;

/// How long a caller waits for the head, and for the body, before it goes away.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long calls at once are given to settle: what never settles opens the gate, and its outcome tells.
const SETTLING: Duration = Duration::from_secs(3);

/// What came of each call of a case; of the only one where there is one.
pub async fn play(case: &Case, side: &str, address: SocketAddr, upstream: &Upstream) -> Value {
    wait::until(&format!("{side} to listen for {:?}", case.name), async || TcpStream::connect(address).await.ok())
        .await;
    let told = tells(case);
    let mut outcomes = Vec::new();
    for (number, call) in case.all_calls().iter().enumerate() {
        let key = format!("{}.{side}.{number}", case.id);
        let script = call.upstream.as_ref().unwrap_or(&case.upstream);
        let play = upstream.expect(&key, script);
        if let Some(pause) = &call.pause {
            tokio::time::sleep(duration(pause)).await;
        }
        let begun = Instant::now();
        let endings = match (call.parallel, call.repeat) {
            (0, 0) => vec![one(call, &key, 0, address).await],
            (0, count) => one_by_one(call, &key, address, count).await,
            (count, _) => at_once(call, &key, address, count, &play).await,
        };
        let (count, after) = (call.parallel.max(call.repeat), call.after.as_deref().map(duration));
        let time = outcome::timing(begun.elapsed(), after, count);
        let seen = settled(&play).await;
        let outcome = match (call.parallel, call.repeat) {
            (0, 0) => outcome::of_one(&endings[0], &seen, &time, told),
            _ if !call.shares.is_empty() => outcome::of_shares(&endings, &seen, &call.shares),
            // Only what waits at the gate is surely under way at once.
            _ if script == "gate" => outcome::of_many(&endings, &seen, Some(play.most_under_way()), &time),
            _ => outcome::of_many(&endings, &seen, None, &time),
        };
        outcomes.push(outcome::only(outcome, &call.only));
    }
    if outcomes.len() == 1 { outcomes.remove(0) } else { outcomes.into() }
}

/// Whether the case's resources say what a proxy answers by itself.
fn tells(case: &Case) -> bool {
    let written = serde_json::to_string(&(&case.route, &case.routes, &case.hosts)).unwrap_or_default();
    ["\"direct_response\"", "\"redirect\""].iter().any(|action| written.contains(action))
}

/// What the upstream saw, once nothing more comes: copies of a request have nobody who waits for them.
async fn settled(play: &Play) -> Vec<super::upstream::Seen> {
    let mut seen = play.seen();
    loop {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let now = play.seen();
        if now.len() == seen.len() {
            return now;
        }
        seen = now;
    }
}

fn request(call: &Call, key: &str, number: usize) -> Ask {
    let is_grpc = call.protocol == "grpc";
    let method = match &call.method {
        Some(method) => Method::from_bytes(method.as_bytes()).expect("a method"),
        None if call.body > 0 || is_grpc => Method::POST,
        None => Method::GET,
    };
    let content = vec![b'x'; call.body];
    let body = match (is_grpc, call.body) {
        (true, _) => full(grpc::frame(&content)),
        (false, 0) => empty(),
        (false, _) => full(content),
    };
    let mut ask = ask(method, &call.host, &call.path, body).with(CALL, key).with(COUNT, &number.to_string());
    if is_grpc {
        ask = ask.with("content-type", grpc::CONTENT_TYPE).with("te", "trailers");
    }
    for (name, values) in &call.headers {
        let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
        for value in values {
            ask = ask.with(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    ask
}

async fn client(call: &Call, address: SocketAddr) -> Client {
    match call.protocol.as_str() {
        "h1" => Client::http1(address).await,
        "h2" | "grpc" => Client::http2(address).await,
        other => panic!("{other:?} is no protocol"),
    }
}

async fn one(call: &Call, key: &str, number: usize, address: SocketAddr) -> Ending {
    ask_over(&mut client(call, address).await, call, key, number).await
}

async fn ask_over(client: &mut Client, call: &Call, key: &str, number: usize) -> Ending {
    let head = client.attempt(request(call, key, number));
    let patience = call.patience.as_deref().map_or(PATIENCE, duration);
    match tokio::time::timeout(patience, head).await {
        Ok(Ok(response)) => match tokio::time::timeout(PATIENCE, read(response)).await {
            Ok(reply) => Ending::Reply(Box::new(reply)),
            Err(_) => Ending::Left("in the body"),
        },
        Ok(Err(_)) => Ending::Broken,
        Err(_) => Ending::Left("before the head"),
    }
}

async fn one_by_one(call: &Call, key: &str, address: SocketAddr, count: usize) -> Vec<Ending> {
    let mut connection = client(call, address).await;
    let mut endings = Vec::with_capacity(count);
    for number in 0..count {
        // One that a call was left on, or that does not come free, is no good any more.
        let left = matches!(endings.last(), Some(Ending::Left(_)));
        let free = tokio::time::timeout(PATIENCE, connection.takes_another()).await;
        if left || !free.unwrap_or(false) {
            connection = client(call, address).await;
        }
        endings.push(ask_over(&mut connection, call, key, number).await);
    }
    endings
}

/// Each over a connection of its own.
async fn at_once(call: &Call, key: &str, address: SocketAddr, count: usize, play: &Arc<Play>) -> Vec<Ending> {
    let over = AtomicUsize::new(0);
    let calls = join_all((0..count).map(|number| {
        let over = &over;
        async move {
            let ending = one(call, key, number, address).await;
            over.fetch_add(1, Ordering::Relaxed);
            ending
        }
    }));
    let gate = async {
        let end = Instant::now() + SETTLING;
        let wanted = if call.settled == 0 { count } else { call.settled };
        while play.at_gate() + over.load(Ordering::Relaxed) < wanted && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        play.open();
    };
    futures_util::future::join(calls, gate).await.0
}
