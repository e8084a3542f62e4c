//! A shared cache beside the caller: what it keeps, for whom, how long, and that it says so.

mod flights;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt;
use outrigger_integration::behaviour::empty;
use outrigger_integration::client::{Ask, Reply, ask, get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

const FRESH: &str = "/with?cache-control=max-age=60";

/// Stale when it comes, and to be confirmed.
const STALE: &str = "/with?cache-control=max-age=50&age=100&etag=a";

/// `catalog` with one workload and a RoutePolicy with this `cache`.
async fn caching(cache: &str) -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", &format!("cache: {cache}"));
    (origin, Mesh::standalone(documents).await)
}

fn says(reply: &Reply) -> &str {
    reply.header("cache-status").expect("every answer of a route with a cache has one")
}

#[tokio::test]
async fn a_fresh_answer_is_served_without_asking() {
    let (origin, mut mesh) = caching("{}").await;
    let first = mesh.get(FRESH).await;
    let second = mesh.get(FRESH).await;
    let third = mesh.http2().await.send(get(SERVICE, FRESH)).await;
    assert_eq!((origin.requests(), first.status, &second.body, &third.body), (1, 200, &first.body, &first.body));
    assert!(says(&first).starts_with("outrigger; fwd=uri-miss; fwd-status=200; stored; ttl="), "{}", says(&first));
    assert!(says(&second).starts_with("outrigger; hit; ttl=") && says(&second).contains("key=\"catalog/with?"));
    assert_eq!(
        (first.header("age"), second.header("age"), second.header("date")),
        (None, Some("0"), first.header("date"))
    );
    assert_eq!(mesh.caller().metric("outrigger_cache_requests_total", &["result=\"hit\""]).await, 2.0);
    assert_eq!(mesh.caller().metric("outrigger_cache_entries", &[]).await, 1.0);
    assert_eq!(mesh.caller().metric("outrigger_requests_total", &["code=\"200\""]).await, 3.0);
}

#[tokio::test]
async fn heads_and_conditions_are_answered_from_what_is_kept() {
    let (origin, mesh) = caching("{}").await;
    let path = "/with?cache-control=max-age=60&etag=a";
    let whole = mesh.get(path).await;
    let length = whole.body.len().to_string();
    for mut client in [mesh.http1().await, mesh.http2().await] {
        let head = client.send(ask(Method::HEAD, SERVICE, path, empty())).await;
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some(&*length)));
        let same = client.send(get(SERVICE, path).with("if-none-match", "\"b\", W/\"a\"")).await;
        assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some("\"a\"")));
        let other = client.send(get(SERVICE, path).with("if-none-match", "\"b\"")).await;
        assert_eq!((other.status, other.body), (200, whole.body.clone()));
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_stale_answer_is_confirmed() {
    let (origin, mesh) = caching("{}").await;
    let first = mesh.get(STALE).await;
    let second = mesh.get(STALE).await;
    assert_eq!((origin.requests(), second.status, second.body), (2, 200, first.body));
    assert_eq!(origin.seen()[1].headers["if-none-match"], "\"a\"");
    assert!(
        second.headers["cache-status"].to_str().unwrap().starts_with("outrigger; fwd=stale; fwd-status=304; stored")
    );
    // A caller with another condition of its own gets what it asked for.
    let third = mesh.send(get(SERVICE, STALE).with("if-none-match", "\"a\"")).await;
    assert_eq!((third.status, third.body.len()), (304, 0));
}

#[tokio::test]
async fn variants_are_told_apart() {
    let (origin, mesh) = caching("{}").await;
    let path = "/with?cache-control=max-age=60&vary=x-lang";
    let mut bodies = Vec::new();
    for lang in ["de", "en", "de", "en"] {
        bodies.push(mesh.send(get(SERVICE, path).with("x-lang", lang)).await.body);
    }
    let without = mesh.get(path).await;
    assert!(bodies[0] == bodies[2] && bodies[1] == bodies[3] && bodies[0] != bodies[1] && without.body != bodies[0]);
    assert_eq!(origin.requests(), 3);
    assert!(says(&without).contains("fwd=vary-miss"), "{}", says(&without));
}

/// What is added to a request, its target, and why its answer is not kept.
type Case = (fn(Ask) -> Ask, &'static str, &'static str);

#[tokio::test]
async fn what_may_be_for_one_caller_is_not_kept() {
    let (origin, mesh) = caching("{}").await;
    let fresh = |path: &str| get(SERVICE, path);
    let asks: [Case; 5] = [
        (|ask| ask, "/with?cache-control=max-age=60,private", "private"),
        (|ask| ask, "/with?cache-control=no-store", "no-store"),
        (|ask| ask, "/with?cache-control=max-age=60&set-cookie=a=1", "set-cookie"),
        (|ask| ask.with("authorization", "Bearer x"), FRESH, "authorization"),
        (|ask| ask, "/with?cache-control=max-age=60&vary=*", "vary"),
    ];
    for (number, (with, path, word)) in asks.into_iter().enumerate() {
        for _ in 0..2 {
            let reply = mesh.send(with(fresh(path))).await;
            assert!(says(&reply).contains(&format!("detail={word}")), "{path}: {}", says(&reply));
        }
        assert_eq!(origin.requests(), 2 * (number + 1), "{path}");
    }
}

/// So many GETs of `path` at once over one HTTP/2 connection, and how long they took together.
async fn at_once(mesh: &Mesh, path: &str, count: usize) -> (Vec<Reply>, Duration) {
    let mut client = mesh.http2().await;
    let start = Instant::now();
    let under_way: Vec<_> = (0..count).map(|_| client.attempt(get(SERVICE, path))).collect();
    let replies = join_all(under_way)
        .await
        .into_iter()
        .map(|response| outrigger_integration::client::read(response.expect("an answer")));
    (join_all(replies).await, start.elapsed())
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failure() {
    let (origin, mesh) = caching("{ staleIfError: 1h }").await;
    let first = mesh.get(STALE).await;
    let strict = "/with?cache-control=max-age=50,must-revalidate&age=100&etag=a";
    assert_eq!(mesh.get(strict).await.status, 200);
    origin.fail_with(503);
    let second = mesh.get(STALE).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert!(says(&second).contains("hit; detail=stale-if-error; ttl=-"), "{}", says(&second));
    assert_eq!(mesh.get(strict).await.status, 503);
    origin.stop().await;
    assert_eq!(mesh.get(STALE).await.body, first.body);
    let (replies, _) = at_once(&mesh, STALE, 10).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == first.body));
    assert_eq!(mesh.get(strict).await.status, 503);
}

#[tokio::test]
async fn a_head_does_not_take_away_what_it_does_not_speak_against() {
    let (origin, mesh) = caching("{ staleIfError: 1h }").await;
    let first = mesh.get(STALE).await;
    let head = |path: &str| ask(Method::HEAD, SERVICE, path, empty());
    assert!(says(&mesh.send(head(STALE)).await).contains("fwd=stale; fwd-status=200"));
    assert!(says(&mesh.send(head(STALE).with("cache-control", "no-cache")).await).contains("fwd="));
    origin.fail_with(503);
    let second = mesh.get(STALE).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    origin.fail_with(410);
    assert_eq!(mesh.send(head(STALE)).await.status, 410);
    origin.fail_with(503);
    assert_eq!(mesh.get(STALE).await.status, 503, "the service has said that it is gone");
}

#[tokio::test]
async fn a_stale_answer_is_served_while_it_is_asked_for_anew() {
    let (origin, mesh) = caching("{ staleWhileRevalidate: 1h }").await;
    let path = "/with?cache-control=max-age=50&age=100";
    let first = mesh.get(path).await;
    let second = mesh.get(path).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert!(says(&second).contains("hit; detail=stale-while-revalidate"), "{}", says(&second));
    wait::holds("it to be asked for", || origin.requests() == 2).await;
    wait::until("the new one to be served", async || (mesh.get(path).await.body != first.body).then_some(())).await;
}

#[tokio::test]
async fn an_unsafe_request_makes_what_is_kept_be_forgotten() {
    let (origin, mesh) = caching("{}").await;
    let first = mesh.get(FRESH).await;
    origin.fail_next(1, 500);
    assert_eq!(mesh.send(post(SERVICE, FRESH, "x")).await.status, 500);
    assert_eq!(mesh.get(FRESH).await.body, first.body);
    let posted = mesh.send(post(SERVICE, FRESH, "x")).await;
    assert!(says(&posted).starts_with("outrigger; fwd=method"), "{}", says(&posted));
    assert_ne!(mesh.get(FRESH).await.body, first.body);
}

#[tokio::test]
async fn an_unsafe_request_makes_every_key_of_its_target_be_forgotten() {
    let (origin, mesh) = caching("{ key: { headers: [X-Tenant], cookies: [lang] } }").await;
    let ask = |path: &str, tenant: &str| get(SERVICE, path).with("x-tenant", tenant);
    let mut client = mesh.http1().await;
    for tenant in ["t", "u"] {
        client.send(ask(FRESH, tenant)).await;
        client.send(ask(FRESH, tenant)).await;
        client.send(ask("/with?cache-control=max-age=60&of=another", tenant)).await;
    }
    assert_eq!(origin.requests(), 4);
    // Whoever changes a target changes it for all, whatever its own fields are.
    assert_eq!(client.send(post(SERVICE, FRESH, "x").with("x-tenant", "v")).await.status, 200);
    for (path, tenant, requests) in
        [(FRESH, "t", 6), (FRESH, "u", 7), (FRESH, "u", 7), ("/with?cache-control=max-age=60&of=another", "t", 7)]
    {
        assert_eq!(client.send(ask(path, tenant)).await.status, 200);
        assert_eq!(origin.requests(), requests, "{path} {tenant}");
    }
}

#[tokio::test]
async fn who_reads_after_a_write_is_not_told_what_was_asked_for_before_it() {
    let (origin, mesh) = caching("{}").await;
    origin.delay(Duration::from_millis(1500));
    let mut slow = mesh.http1().await;
    let before = tokio::spawn(async move { slow.send(get(SERVICE, FRESH)).await });
    wait::holds("the first to be asked", || origin.requests() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    origin.delay(Duration::ZERO);
    assert_eq!(mesh.send(post(SERVICE, FRESH, "x")).await.status, 200);
    // It does not wait for the answer that is under way either.
    let start = Instant::now();
    let after = mesh.get(FRESH).await;
    let took = start.elapsed();
    assert_ne!(after.body, before.await.expect("answered").body, "{}", says(&after));
    assert!(took < Duration::from_millis(1000), "{took:?}");
    assert_eq!(mesh.get(FRESH).await.body, after.body);
}

#[tokio::test]
async fn a_service_that_fails_is_not_asked_anew_with_every_stale_answer() {
    let (origin, mesh) = caching("{ staleWhileRevalidate: 1h }").await;
    let path = "/with?cache-control=max-age=50&age=100";
    let first = mesh.get(path).await;
    origin.fail_with(503);
    let mut client = mesh.http1().await;
    for _ in 0..100 {
        let stale = client.send(get(SERVICE, path)).await;
        assert_eq!((stale.status, &stale.body), (200, &first.body));
    }
    assert!(origin.requests() <= 10, "{}", origin.requests());
    origin.fail_next(0, 503);
    wait::until("the new one to be served", async || (mesh.get(path).await.body != first.body).then_some(())).await;
}

#[tokio::test]
async fn a_service_in_trouble_keeps_no_other_from_being_asked_anew() {
    let (origin, other) = (Origin::start().await, Origin::start().await);
    let policy = "cache: { staleWhileRevalidate: 1h }";
    let documents = small("http", &[origin.address()]).service("other", "http", &[other.address()]);
    let mesh = Mesh::standalone(documents.route_policy("catalog", policy).route_policy("other", policy)).await;
    let mut client = mesh.http2().await;
    let path = |number: usize| format!("/with?cache-control=max-age=50&age=100&number={number}");
    for fails in [false, true] {
        if fails {
            origin.fail_with(503);
        }
        let all: Vec<_> = (0..300).map(|number| client.attempt(get(SERVICE, &path(number)))).collect();
        assert!(join_all(all).await.into_iter().all(|reply| reply.is_ok_and(|reply| reply.status() == 200)));
        assert_eq!(client.send(get("other", &path(0))).await.status, 200);
    }
    wait::holds("the other to be asked anew", || other.requests() == 2).await;
}

#[tokio::test]
async fn a_part_is_neither_kept_nor_taken_for_the_whole() {
    let (origin, mesh) = caching("{ ttl: 60s }").await;
    let ranged = mesh.send(get(SERVICE, FRESH).with("range", "bytes=0-1")).await;
    assert!(says(&ranged).starts_with("outrigger; fwd=request"), "{}", says(&ranged));
    assert_eq!(mesh.get(FRESH).await.status, 200);
    mesh.send(get(SERVICE, FRESH).with("range", "bytes=0-1")).await;
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn what_breaks_off_or_has_trailers_is_never_kept() {
    let (origin, mesh) = caching("{ ttl: 60s }").await;
    for (number, path) in ["/truncate", "/trailers"].into_iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(mesh.get(path).await.complete, path == "/trailers");
        }
        assert_eq!(origin.requests(), 2 * (number + 1), "{path}");
    }
}

#[tokio::test]
async fn what_is_too_long_passes_and_takes_no_memory() {
    let (origin, mut mesh) = caching("{ ttl: 60s, maxBytes: 100000 }").await;
    for (number, path) in ["/bytes/100001", "/with?size=100001", "/with?size=30000000"].into_iter().enumerate() {
        for _ in 0..2 {
            let reply = mesh.get(path).await;
            assert!(reply.complete && path.ends_with(&reply.body.len().to_string()), "{path}");
        }
        assert_eq!(origin.requests(), 2 * (number + 1), "{path}");
    }
    assert_eq!(mesh.get("/bytes/100000").await.body.len(), 100_000);
    assert!(says(&mesh.get("/bytes/100000").await).contains("; hit"));
    // A gigabyte, whether it says so or not.
    for path in ["/bytes/1000000000", "/with?size=1000000000"] {
        let mut client = mesh.http1().await;
        let mut response = client.start(get(SERVICE, path)).await.into_body();
        let mut read = 0;
        while read < 20_000_000 {
            read += response.frame().await.expect("more").expect("data").into_data().expect("data").len();
        }
    }
    assert!(mesh.caller().process().resident_mib() < 100.0, "{}", mesh.caller().process().resident_mib());
    assert!(mesh.caller().metric("outrigger_cache_bytes", &[]).await < 150_000.0);
}

#[tokio::test]
async fn ten_thousand_variants_take_no_more_than_a_few() {
    let (_origin, mut mesh) = caching("{}").await;
    let mut client = mesh.http2().await;
    let path = "/with?cache-control=max-age=60&vary=x-poison";
    for _ in 0..20 {
        let under_way: Vec<_> = (0..100)
            .map(|_| client.attempt(get(SERVICE, path).with("x-poison", &fastrand::u64(..).to_string())))
            .collect();
        for response in join_all(under_way).await {
            assert_eq!(response.expect("an answer").status(), 200);
        }
    }
    let bytes = mesh.caller().metric("outrigger_cache_bytes", &[]).await;
    assert!((1.0..100_000.0).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_request_says_what_it_takes() {
    let (origin, mesh) = caching("{}").await;
    let only = || get(SERVICE, FRESH).with("cache-control", "only-if-cached");
    let refused = mesh.send(only()).await;
    assert_eq!((refused.status, refused.reason(), origin.requests()), (504, Some("not_cached"), 0));
    assert!(says(&refused).contains("detail=only-if-cached"));
    let first = mesh.get(FRESH).await;
    assert_eq!(mesh.send(only()).await.body, first.body);
    for asks in ["no-cache", "max-age=0", "min-fresh=100"] {
        let before = origin.requests();
        assert_eq!(mesh.send(get(SERVICE, FRESH).with("cache-control", asks)).await.status, 200);
        assert_eq!(origin.requests(), before + 1, "{asks}");
    }
    assert!(mesh.send(get(SERVICE, STALE)).await.complete);
    let stale = mesh.send(get(SERVICE, STALE).with("cache-control", "max-stale=60")).await;
    assert!(says(&stale).contains("hit; detail=max-stale"), "{}", says(&stale));
}

#[tokio::test]
async fn a_key_is_made_of_what_the_policy_names() {
    let (origin, mesh) = caching("{ ttl: 60s, key: { headers: [X-Tenant], query: [page], cookies: [lang] } }").await;
    let ask =
        |path: &str, tenant: &str, cookie: &str| get(SERVICE, path).with("x-tenant", tenant).with("cookie", cookie);
    let mut client = mesh.http1().await;
    for (asked, requests) in [
        (ask("/a?page=1&utm=1", "t", "lang=de"), 1),
        (ask("/a?utm=2&page=1", "t", "session=9; lang=de"), 1),
        (ask("/a?page=2", "t", "lang=de"), 2),
        (ask("/a?page=1", "u", "lang=de"), 3),
        (ask("/a?page=1", "t", "lang=en"), 4),
    ] {
        assert_eq!(client.send(asked).await.status, 200);
        assert_eq!(origin.requests(), requests);
    }
}

#[tokio::test]
async fn a_rehearsed_cache_changes_nothing_and_counts() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", "mode: Observe\ncache: {}");
    let mut mesh = Mesh::standalone(documents).await;
    for path in [FRESH, FRESH, FRESH, "/with?cache-control=no-store", "/with?cache-control=no-store"] {
        assert_eq!(mesh.get(path).await.header("cache-status"), None);
    }
    assert_eq!(origin.requests(), 5);
    assert_eq!(mesh.caller().metric("outrigger_observed_total", &["would=\"cache_hit\""]).await, 2.0);
}

#[tokio::test]
async fn what_is_kept_goes_on_for_a_route_that_stays_as_it_is() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]).route_policy("catalog", "cache: {}");
    let mut mesh = Mesh::steered(documents).await;
    let first = mesh.get(FRESH).await;
    let other = Origin::start().await;
    mesh.apply(Documents::bare().service("other", "http", &[other.address()]).text()).await;
    assert_eq!((mesh.get(FRESH).await.body, origin.requests()), (first.body.clone(), 1));
    mesh.apply(Documents::bare().route_policy("catalog", "cache: { staleIfError: 1s }").text()).await;
    assert_ne!(mesh.get(FRESH).await.body, first.body);
}
