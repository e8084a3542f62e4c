//! Many that ask for the same: one request for all, and nobody held up in vain.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use outrigger_integration::client::{Client, get};
use outrigger_integration::mesh::SERVICE;
use outrigger_integration::wait;

use super::{FRESH, at_once, caching, says};

#[tokio::test]
async fn many_that_ask_at_once_are_one_request() {
    let (origin, mesh) = caching("{}").await;
    let (replies, _) = at_once(&mesh, "/with?cache-control=max-age=60&wait=300", 50).await;
    assert_eq!(origin.requests(), 1);
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body));
    assert_eq!(replies.iter().filter(|reply| says(reply).contains("; collapsed")).count(), 49);
}

#[tokio::test]
async fn nobody_waits_for_what_cannot_be_shared() {
    let (origin, mesh) = caching("{}").await;
    for path in ["/with?cache-control=no-store&wait=300", "/with?cache-control=no-cache&etag=a&wait=300"] {
        let before = origin.requests();
        let (replies, took) = at_once(&mesh, path, 20).await;
        assert!(replies.iter().all(|reply| reply.status == 200), "{path}");
        assert_eq!(origin.requests() - before, 20, "{path}");
        assert!(took < Duration::from_secs(4), "{path}: {took:?}");
    }
}

#[tokio::test]
async fn the_next_one_leads_when_the_leader_goes_away() {
    let (origin, mesh) = caching("{}").await;
    let path = "/with?cache-control=max-age=60&wait=500";
    let mut leader = mesh.http1().await;
    let asked = leader.attempt(get(SERVICE, path));
    let asked = tokio::spawn(asked);
    wait::holds("the leader to ask", || origin.requests() == 1).await;
    let (address, waiters) = (mesh.address(), 5);
    let waiting = (0..waiters).map(|_| async move { Client::http1(address).await.send(get(SERVICE, path)).await });
    let waiting = tokio::spawn(join_all(waiting));
    tokio::time::sleep(Duration::from_millis(100)).await;
    leader.abort();
    assert!(asked.await.expect("it ends").is_err());
    let replies = waiting.await.expect("they are answered");
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.complete));
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_failing_leader_holds_up_nobody() {
    let (origin, mesh) = caching("{}").await;
    origin.fail_next(1000, 503);
    let (replies, took) = at_once(&mesh, FRESH, 20).await;
    assert!(replies.iter().all(|reply| reply.status == 503) && took < Duration::from_secs(4));
}

#[tokio::test]
async fn whoever_waits_for_anothers_answer_waits_no_longer_than_it_wished() {
    let (origin, mesh) = caching("{}").await;
    let path = "/with?cache-control=max-age=60&wait=3000";
    let mut leader = mesh.http1().await;
    let leading = tokio::spawn(async move { leader.send(get(SERVICE, path)).await });
    wait::holds("the leader to ask", || origin.requests() == 1).await;
    let start = Instant::now();
    let hurried = mesh.send(get(SERVICE, path).with("x-envoy-upstream-rq-timeout-ms", "200")).await;
    let took = start.elapsed();
    assert_eq!((hurried.status, hurried.reason()), (504, Some("http_response_timeout")));
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(leading.await.expect("answered").status, 200);
}
