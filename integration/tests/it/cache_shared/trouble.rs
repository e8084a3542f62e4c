//! A Redis that is away, hangs, lies or lets nobody in: nobody waits for it, and nothing wrong is served.

use std::time::{Duration, Instant};

use outrigger_integration::client::post;
use outrigger_integration::mesh::{SERVICE, small};
use outrigger_integration::proxy::Start;
use outrigger_integration::redis::Redis;
use outrigger_integration::wait;
use outrigger_integration::wire::Script;

use super::{FRESH, Pair, says};

#[tokio::test]
async fn a_redis_that_is_killed_costs_nothing_but_what_it_kept() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let first = pair.get("web", FRESH).await;
    pair.stored(1).await;
    redis.kill();
    let second = pair.get("batch", FRESH).await;
    assert!(second.status == 200 && second.body != first.body && pair.origin.requests() == 2);
    // Both go on with what they have themselves.
    for (caller, body) in [("web", &first.body), ("batch", &second.body)] {
        assert_eq!(pair.get(caller, FRESH).await.body, *body);
    }
    wait::until("it to be known as gone", async || {
        (pair.batch.metric("outrigger_cache_shared_up", &[]).await == 0.0).then_some(())
    })
    .await;
    let start = Instant::now();
    for number in 0..20 {
        let reply = pair.get("batch", &format!("{FRESH}&number={number}")).await;
        assert!(reply.status == 200 && says(&reply).contains("detail=shared-away"), "{}", says(&reply));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_redis_that_hangs_costs_a_few_timeouts_and_then_none() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &["--cache-redis-timeout", "200ms"]).await;
    redis.signal("STOP");
    let start = Instant::now();
    for number in 0..40 {
        assert_eq!(pair.get("web", &format!("{FRESH}&number={number}")).await.status, 200);
    }
    let (took, timeouts) = (start.elapsed(), pair.lookups(&pair.web, "timeout").await);
    assert!((1.0..8.0).contains(&timeouts) && took < Duration::from_secs(5), "{timeouts} timeouts, {took:?}");
    redis.signal("CONT");
    wait::until("it to be used again", async || {
        let path = format!("{FRESH}&again={}", fastrand::u32(..));
        (!says(&pair.get("web", &path).await).contains("shared-")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_says_anything_is_no_answer() {
    // To whatever is said, the greeting first.
    let longest = "*4\r\n$-1\r\n:1073741824\r\n$1073741824\r\n";
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n", "-NOAUTH first\r\n", "*1000000000\r\n", longest] {
        let said = Script::start(move |mut wire, _| async move {
            loop {
                let mut seen = wire.read_until(b"\r\n").await;
                if seen.is_empty() || !wire.offer(answer).await {
                    return;
                }
                if answer == longest {
                    // The gibibyte that was announced, for as long as somebody reads.
                    seen.clear();
                    while wire.offer(vec![b'x'; 1 << 16]).await {}
                    return;
                }
            }
        })
        .await;
        let redis = format!("redis://localhost:{}", said.address().port());
        let mut pair = Pair::of("{ shared: true }", &redis, &[]).await;
        let start = Instant::now();
        for number in 0..10 {
            let path = format!("{FRESH}&number={number}");
            let first = pair.get("web", &path).await;
            assert_eq!(first.status, 200);
            assert_eq!(pair.get("web", &path).await.body, first.body, "it keeps what it has itself");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{answer:?}: {:?}", start.elapsed());
        let memory = pair.web.process().resident_mib();
        assert!(memory < 200.0, "{answer:?}: {memory} MiB");
        assert_eq!(pair.lookups(&pair.web, "found").await, 0.0);
    }
}

#[tokio::test]
async fn a_user_that_may_do_little_is_enough_and_a_wrong_password_does_no_harm() {
    let Some(redis) = Redis::start().await else { return };
    let words = "ACL SETUSER proxies on >hidden ~outrigger:cache:* -@all +eval +time +del +hdel +hexists +hget +hlen \
                 +hmget +hset +hstrlen +pexpire +pttl";
    let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
    let _: String = redis.command(&words).await;
    let address = redis.url().replace("redis://", "");
    let pair = Pair::of("{ shared: true }", &format!("redis://proxies:hidden@{address}"), &[]).await;
    let first = pair.get("web", FRESH).await;
    pair.stored(1).await;
    assert_eq!(pair.get("batch", FRESH).await.body, first.body);
    pair.send("batch", post(SERVICE, FRESH, "new")).await;
    pair.changes("removed", 1).await;
    let wrong = format!("redis://proxies:hidden2@{}", address.replace("127.0.0.1", "localhost"));
    let mut pair = Pair::of("{ shared: true }", &wrong, &[]).await;
    assert!(says(&pair.get("web", FRESH).await).contains("detail=shared-away"));
    wait::until("it to be said", async || pair.web.process().said("Redis cannot be reached").then_some(())).await;
    let dump = pair.web.admin("/config_dump").await.text();
    assert!(!pair.web.process().lines().join("\n").contains("hidden") && !dump.contains("hidden"));
}

#[tokio::test]
async fn what_is_stored_last_is_written_before_a_proxy_stops() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    pair.get("web", FRESH).await;
    pair.stored(1).await;
    redis.signal("STOP");
    pair.send("web", post(SERVICE, FRESH, "new")).await;
    let Pair { mut web, .. } = pair;
    web.process().signal("TERM");
    wait::until("it to stop", async || web.process().said("Draining").then_some(())).await;
    redis.signal("CONT");
    assert_eq!(web.ended().await.code, Some(0));
    let keys = redis.keys().await;
    let fields: Vec<Vec<u8>> = redis.command(&[b"HKEYS", &keys[0]]).await;
    assert_eq!(fields, [b"g"], "the change");
}

#[tokio::test]
async fn what_cannot_be_is_refused_without_showing_a_password() {
    let documents = small("http", &["127.0.0.1:1".parse().expect("an address")]);
    for (flags, says) in [
        (&["--cache-redis", "rediss://:hidden@127.0.0.1"][..], "tunnel"),
        (&["--cache-redis", "http://:hidden@127.0.0.1"], "redis://127.0.0.1:6379"),
        (&["--cache-redis-file", "/nowhere"], "/nowhere"),
        (&["--cache-redis", "redis://127.0.0.1", "--cache-redis-secret", "/nowhere"], "/nowhere"),
    ] {
        let start = Start::standalone(&documents, "web");
        let ended = flags.iter().fold(start, |start, flag| start.arg(flag)).start().ended().await;
        let said = ended.lines.join("\n");
        assert!(ended.code == Some(2) && said.contains(says) && !said.contains("hidden"), "{ended:?}");
    }
}
