//! What proxies keep in a Redis that they share (RoutePolicy `cache.shared`), and that they go on without it.

mod trouble;
mod told;

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use outrigger_integration::behaviour::empty;
use outrigger_integration::client::{Ask, Client, Reply, ask, get, post};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::{Proxy, Start};
use outrigger_integration::redis::Redis;
use outrigger_integration::wait;

const FRESH: &str = "/with?cache-control=max-age=60";

/// Two callers of `catalog`, each with a proxy of its own, that share a Redis.
struct Pair {
    origin: Origin,
    documents: Documents,
    web: Proxy,
    batch: Proxy,
}

impl Pair {
    /// With this `cache`, and these further flags.
    async fn of(cache: &str, redis: &str, flags: &[&str]) -> Pair {
        Pair::with(&format!("cache: {cache}"), redis, flags).await
    }

    /// With a policy of this `spec`.
    async fn with(spec: &str, redis: &str, flags: &[&str]) -> Pair {
        let origin = Origin::start().await;
        let documents = small("http", &[origin.address()]).caller("batch").route_policy("catalog", spec);
        let start = async |workload: &str| {
            let start = Start::standalone(&documents, workload).env("OUTRIGGER_CACHE_REDIS", redis);
            let proxy = flags.iter().fold(start, |start, flag| start.arg(flag)).ready().await;
            // Nobody waits for a connection, but a test.
            if redis.contains("127.0.0.1") {
                connected(&proxy).await;
            }
            proxy
        };
        let (web, batch) = (start("web").await, start("batch").await);
        Pair { origin, documents, web, batch }
    }

    async fn send(&self, caller: &str, ask: Ask) -> Reply {
        Client::http1(self.documents.outbound(caller)).await.send(ask).await
    }

    async fn get(&self, caller: &str, path: &str) -> Reply {
        self.send(caller, get(SERVICE, path)).await
    }

    /// Until `caller` has written what it keeps, `count` times.
    async fn stored(&self, count: usize) {
        self.changes("stored", count).await;
    }

    async fn changes(&self, outcome: &str, count: usize) {
        wait::until("changes to be written", async || {
            let label = format!("outcome=\"{outcome}\"");
            let mut all = 0.0;
            for proxy in [&self.web, &self.batch] {
                all += proxy.metric("outrigger_cache_shared_changes_total", &[&label]).await;
            }
            (all >= count as f64).then_some(())
        })
        .await;
    }

    async fn lookups(&self, proxy: &Proxy, outcome: &str) -> f64 {
        proxy.metric("outrigger_cache_shared_lookups_total", &[&format!("outcome=\"{outcome}\"")]).await
    }
}

async fn connected(proxy: &Proxy) {
    wait::until("a connection to Redis", async || {
        (proxy.metric("outrigger_cache_shared_up", &[]).await == 1.0).then_some(())
    })
    .await;
}

fn says(reply: &Reply) -> &str {
    reply.header("cache-status").expect("every answer of a route with a cache has one")
}

#[tokio::test]
async fn what_one_proxy_asked_for_another_is_given() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let path = format!("{FRESH}&etag=a&x-thing=1");
    let first = pair.get("web", &path).await;
    assert!(says(&first).starts_with("outrigger; fwd=uri-miss; fwd-status=200; stored; ttl="), "{}", says(&first));
    pair.stored(1).await;
    let second = pair.get("batch", &path).await;
    assert!(says(&second).starts_with("outrigger; hit; detail=shared; ttl="), "{}", says(&second));
    assert_eq!((pair.origin.requests(), second.status, &second.body), (1, 200, &first.body));
    for field in ["etag", "x-thing", "cache-control", "date", "content-length"] {
        assert_eq!(second.header(field), first.header(field), "{field}");
    }
    assert!(second.header("age").is_some_and(|age| age.parse::<u64>().is_ok_and(|age| age < 5)));
    // From then on it is in memory.
    let third = pair.get("batch", &path).await;
    assert!(says(&third).starts_with("outrigger; hit; ttl="), "{}", says(&third));
    for (result, count) in [("shared", 1.0), ("hit", 1.0), ("miss", 0.0)] {
        let label = format!("result=\"{result}\"");
        assert_eq!(pair.batch.metric("outrigger_cache_requests_total", &[&label]).await, count, "{result}");
    }
    assert_eq!(pair.lookups(&pair.batch, "found").await, 1.0);
    let head = pair.send("batch", ask(Method::HEAD, SERVICE, &path, empty())).await;
    assert_eq!((head.status, head.body.len(), pair.origin.requests()), (200, 0, 1));
}

#[tokio::test]
async fn without_being_told_to_nothing_is_shared() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{}", &redis.url(), &[]).await;
    pair.get("web", FRESH).await;
    pair.get("batch", FRESH).await;
    assert_eq!((pair.origin.requests(), redis.keys().await.len()), (2, 0));
}

#[tokio::test]
async fn many_that_ask_for_the_same_look_once() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let slow = format!("{FRESH}&wait=300");
    let replies = join_all((0..20).map(|_| pair.get("web", &slow))).await;
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!((pair.origin.requests(), pair.lookups(&pair.web, "miss").await), (1, 1.0));
    pair.stored(1).await;
    join_all((0..20).map(|_| pair.get("batch", &slow))).await;
    assert_eq!((pair.origin.requests(), pair.lookups(&pair.batch, "found").await), (1, 1.0));
}

#[tokio::test]
async fn what_is_private_is_not_shared() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    for path in ["/with?cache-control=private,max-age=60", "/with?cache-control=no-store", "/with?set-cookie=a=b"] {
        pair.get("web", path).await;
    }
    pair.send("web", get(SERVICE, FRESH).with("authorization", "Basic me")).await;
    pair.send("web", get(SERVICE, &format!("{FRESH}&x=1"))).await;
    pair.stored(1).await;
    assert_eq!(redis.keys().await.len(), 1, "the last one alone");
    assert_eq!(pair.web.metric("outrigger_cache_shared_changes_total", &["outcome=\"stored\""]).await, 1.0);
}

#[tokio::test]
async fn a_change_is_seen_by_who_asks_next() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let first = pair.get("web", FRESH).await;
    pair.stored(1).await;
    assert_eq!(pair.send("batch", post(SERVICE, FRESH, "new")).await.status, 200);
    pair.changes("removed", 1).await;
    let second = pair.get("batch", FRESH).await;
    assert!(second.body != first.body && says(&second).contains("fwd=uri-miss"), "{}", says(&second));
    // Where it is in memory it stays for as long as it is fresh.
    assert_eq!(pair.get("web", FRESH).await.body, first.body);
}

#[tokio::test]
async fn what_was_asked_for_before_a_change_is_not_shared_after_it() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    pair.origin.delay(Duration::from_secs(1));
    let change = async {
        wait::until("the old one to be asked for", async || (pair.origin.under_way() == 1).then_some(())).await;
        pair.origin.delay(Duration::ZERO);
        pair.send("batch", post(SERVICE, FRESH, "new")).await;
        pair.changes("removed", 1).await;
    };
    let (old, ()) = tokio::join!(pair.get("web", FRESH), change);
    pair.changes("outdated", 1).await;
    let again = pair.get("batch", FRESH).await;
    assert!(again.body != old.body && says(&again).contains("fwd=uri-miss"), "{}", says(&again));
}

#[tokio::test]
async fn a_change_reaches_a_redis_that_was_away() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let first = pair.get("web", FRESH).await;
    pair.stored(1).await;
    redis.signal("STOP");
    pair.send("batch", post(SERVICE, FRESH, "new")).await;
    // Until it is known there, what stands there is not believed.
    let second = pair.get("batch", FRESH).await;
    assert!(second.body != first.body && says(&second).contains("detail=shared-pending"), "{}", says(&second));
    redis.signal("CONT");
    pair.changes("removed", 1).await;
    let keys = redis.keys().await;
    let fields: Vec<Vec<u8>> = redis.command(&[b"HKEYS", &keys[0]]).await;
    assert_eq!(fields, [b"g"]);
}

#[tokio::test]
async fn a_change_is_remembered_there_however_much_is_kept_after_it() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true, key: { headers: [x-tenant] } }", &redis.url(), &[]).await;
    pair.send("web", post(SERVICE, FRESH, "new")).await;
    pair.changes("removed", 1).await;
    // More than are kept of one target at once, none for longer than a minute.
    for tenant in 0..70 {
        pair.send("web", get(SERVICE, FRESH).with("x-tenant", &tenant.to_string())).await;
    }
    pair.stored(70).await;
    let keys = redis.keys().await;
    let fields: u64 = redis.command(&[b"HLEN", &keys[0]]).await;
    let left: u64 = redis.command(&[b"PTTL", &keys[0]]).await;
    assert!(fields < 2 * 70 && left > 30 * 60 * 1000, "{fields} fields for {left} ms");
}

#[tokio::test]
async fn a_stale_answer_is_confirmed_by_whoever_asks_and_shared_anew() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    // Fresh for a second.
    let path = "/with?cache-control=max-age=51&age=50&etag=a";
    let first = pair.get("web", path).await;
    pair.stored(1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let second = pair.get("batch", path).await;
    assert!(says(&second).starts_with("outrigger; fwd=stale; fwd-status=304;"), "{}", says(&second));
    assert_eq!((second.status, &second.body), (200, &first.body));
    let asked = &pair.origin.seen()[1];
    assert!(format!("{asked:?}").contains("if-none-match"), "{asked:?}");
    pair.stored(2).await;
}

#[tokio::test]
async fn what_is_broken_in_redis_is_not_served() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let mut whole = Vec::new();
    for (number, outcome) in ["corrupt", "corrupt", "foreign", "oversize", "refused", "corrupt"].into_iter().enumerate()
    {
        let path = format!("{FRESH}&number={number}");
        let before = redis.keys().await;
        let first = pair.get("web", &path).await;
        pair.stored(number + 1).await;
        let keys = redis.keys().await;
        let key = keys.iter().find(|key| !before.contains(key)).expect("a new one");
        let fields: Vec<Vec<u8>> = redis.command(&[b"HKEYS", key]).await;
        let field = fields.iter().find(|field| field.len() == 8).expect("the response");
        let mut entry: Vec<u8> = redis.command(&[b"HGET", key, field]).await;
        if number == 0 {
            whole = entry.clone();
        }
        let length = entry.len();
        match number {
            0 => entry[length / 2] ^= 1,
            1 => entry.truncate(length - 7),
            2 => entry[3] = 99,
            3 => entry.resize(4 << 20, 0),
            // What stands there of another target.
            _ => entry = whole.clone(),
        }
        if number == 4 {
            let _: i64 = redis.command(&[b"DEL", key]).await;
            let _: String = redis.command(&[b"SET", key, b"no hash"]).await;
        } else {
            let _: i64 = redis.command(&[b"HSET", key, field, &entry]).await;
        }
        let second = pair.get("batch", &path).await;
        assert!(second.status == 200 && second.body != first.body, "{outcome}");
        assert!(says(&second).contains(&format!("detail=shared-{outcome}")), "{}", says(&second));
        assert!(pair.lookups(&pair.batch, outcome).await >= 1.0);
    }
}

#[tokio::test]
async fn why_redis_refuses_is_in_the_log() {
    let Some(redis) = Redis::start().await else { return };
    let mut pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let _: String = redis.command(&[b"ACL", b"SETUSER", b"default", b"-eval"]).await;
    for _ in 0..3 {
        let reply = pair.send("web", get(SERVICE, FRESH).with("cache-control", "no-cache")).await;
        assert!(reply.status == 200 && says(&reply).contains("detail=shared-refused"), "{}", says(&reply));
    }
    let web = pair.web.process();
    wait::until("it to be said", async || web.said("permissions to run the 'eval' command").then_some(())).await;
    assert_eq!(web.lines().iter().filter(|line| line.contains("Redis refuses")).count(), 1, "once");
}

#[tokio::test]
async fn observed_proxies_see_what_they_would_share_and_share_nothing() {
    let Some(redis) = Redis::start().await else { return };
    let observed = Pair::with("mode: Observe\ncache: { shared: true }", &redis.url(), &[]).await;
    let first = observed.get("web", FRESH).await;
    observed.stored(1).await;
    // Long enough for a look-up beside the request.
    let path = format!("{FRESH}&wait=300");
    observed.get("web", &path).await;
    observed.stored(2).await;
    for path in [FRESH, &path] {
        let reply = observed.get("batch", path).await;
        assert!(reply.header("cache-status").is_none() && reply.body != first.body);
    }
    assert_eq!(observed.origin.requests(), 4);
    let would = observed.batch.metric("outrigger_observed_total", &["would=\"cache_hit\""]).await;
    assert!((1.0..=2.0).contains(&would), "{would}");
    for key in redis.keys().await {
        let entries: Vec<Vec<u8>> = redis.command(&[b"HVALS", &key]).await;
        let body = |entry: &Vec<u8>| entry.windows(6).any(|window| window == b"answer");
        assert!(!entries.iter().any(body), "no body is written");
    }
    // Who acts finds nothing.
    let acting = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    assert!(says(&acting.get("web", FRESH).await).contains("fwd=uri-miss"));
}

#[tokio::test]
async fn a_look_up_is_on_the_record() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let explained = |path: &'static str| get(SERVICE, path).with("x-outrigger-explain", "1");
    let record = |reply: &Reply| reply.header("x-outrigger-explain").expect("a record").to_owned();
    assert!(record(&pair.send("web", explained(FRESH)).await).contains("\"cache\":\"miss\""));
    pair.stored(1).await;
    let found = pair.send("batch", explained(FRESH)).await;
    assert!(record(&found).contains("\"cache\":\"shared\""), "{}", record(&found));
    redis.kill();
    let reply = wait::until("Redis to be known as gone", async || {
        let path = format!("{FRESH}&again={}", fastrand::u32(..));
        let reply = pair.send("batch", get(SERVICE, &path).with("x-outrigger-explain", "1")).await;
        record(&reply).contains("shared-away").then_some(reply)
    })
    .await;
    assert!(record(&reply).contains("\"cache\":\"miss (shared-away)\""), "{}", record(&reply));
}

#[tokio::test]
async fn a_control_plane_tells_all_proxies_the_same() {
    let Some(redis) = Redis::start().await else { return };
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()])
        .caller("batch")
        .route_policy("catalog", "cache: { shared: true, key: { headers: [x-tenant] } }");
    let start = |start: Start| start.env("OUTRIGGER_CACHE_REDIS", &redis.url());
    let mut mesh = Mesh::steered_with(documents.clone(), start).await;
    for caller in ["web", "batch"] {
        connected(mesh.proxy(caller)).await;
    }
    let ask = async |caller: &str| Client::http1(documents.outbound(caller)).await.send(get(SERVICE, FRESH)).await;
    let first = ask("web").await;
    let web = mesh.proxy("web");
    wait::until("it to be stored", async || {
        let stored = web.metric("outrigger_cache_shared_changes_total", &["outcome=\"stored\""]).await;
        (stored == 1.0).then_some(())
    })
    .await;
    let second = ask("batch").await;
    assert!(says(&second).contains("detail=shared"), "{}", says(&second));
    assert_eq!((&second.body, origin.requests()), (&first.body, 1));
    let dump = mesh.proxy("web").admin("/config_dump").await.text();
    assert!(dump.contains("\"shared\": true") || dump.contains("\"shared\":true"), "{dump}");
}
