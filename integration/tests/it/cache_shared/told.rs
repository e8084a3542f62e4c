//! What others keep is told apart, has its age and is confirmed like one's own.

use std::time::Duration;

use outrigger_integration::client::{get, post};
use outrigger_integration::mesh::SERVICE;
use outrigger_integration::redis::Redis;
use outrigger_integration::wait;

use super::{FRESH, Pair, says};

#[tokio::test]
async fn what_varies_is_never_given_to_another() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let path = format!("{FRESH}&vary=x-tenant");
    let of = |tenant: &str| get(SERVICE, &path).with("x-tenant", tenant);
    let mut bodies = Vec::new();
    for tenant in ["a", "b", ""] {
        bodies.push(pair.send("web", of(tenant)).await.body);
    }
    bodies.push(pair.get("web", &path).await.body);
    pair.stored(4).await;
    for (index, tenant) in ["a", "b", ""].into_iter().enumerate() {
        let reply = pair.send("batch", of(tenant)).await;
        assert!(says(&reply).contains("detail=shared") && reply.body == bodies[index], "{tenant}: {}", says(&reply));
    }
    assert_eq!(pair.get("batch", &path).await.body, bodies[3]);
    assert_eq!(pair.origin.requests(), 4);
    let other = pair.send("batch", of("c")).await;
    assert!(!bodies.contains(&other.body) && pair.origin.requests() == 5, "{}", says(&other));
}

#[tokio::test]
async fn what_hangs_on_a_field_is_shared_among_its_own_and_changed_for_all() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true, key: { headers: [x-tenant] } }", &redis.url(), &[]).await;
    let as_tenant = |tenant: &str| get(SERVICE, FRESH).with("x-tenant", tenant);
    for tenant in ["one", "two"] {
        pair.send("web", as_tenant(tenant)).await;
    }
    pair.stored(2).await;
    for tenant in ["one", "two", "one"] {
        assert_eq!(pair.send("batch", as_tenant(tenant)).await.status, 200);
    }
    assert_eq!(pair.origin.requests(), 2, "each tenant's answer was asked for once");
    pair.send("batch", as_tenant("three")).await;
    assert_eq!(pair.origin.requests(), 3);
    pair.send("batch", post(SERVICE, FRESH, "new")).await;
    pair.changes("removed", 1).await;
    for tenant in ["one", "two"] {
        pair.send("batch", as_tenant(tenant)).await;
    }
    assert_eq!(pair.origin.requests(), 6, "the change was seen for every tenant");
}

#[tokio::test]
async fn stale_answers_of_others_stand_in_too() {
    let Some(redis) = Redis::start().await else { return };
    let cache = "{ shared: true, staleIfError: 1m }";
    let pair = Pair::of(cache, &redis.url(), &[]).await;
    let path = "/with?cache-control=max-age=51&age=50";
    let first = pair.get("web", path).await;
    pair.stored(1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    pair.origin.fail_with(503);
    let second = pair.get("batch", path).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert!(says(&second).contains("hit; detail=shared-stale-if-error"), "{}", says(&second));
}

#[tokio::test]
async fn a_stale_answer_of_another_is_served_while_it_is_asked_for_anew() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true, staleWhileRevalidate: 1m }", &redis.url(), &[]).await;
    let path = "/with?cache-control=max-age=51&age=50";
    let first = pair.get("web", path).await;
    pair.stored(1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let second = pair.get("batch", path).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert!(says(&second).contains("hit; detail=shared-stale-while-revalidate"), "{}", says(&second));
    wait::until("it to be asked for anew", async || (pair.origin.requests() == 2).then_some(())).await;
    pair.stored(2).await;
    // The first proxy finds that one, and asks for nothing.
    let third = wait::until("the new one", async || {
        let reply = pair.get("web", path).await;
        (reply.body != first.body).then_some(reply)
    })
    .await;
    assert!(third.status == 200 && pair.origin.requests() <= 3, "{}", pair.origin.requests());
}

#[tokio::test]
async fn ages_add_up() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let path = "/with?cache-control=max-age=160&age=50";
    pair.get("web", path).await;
    pair.stored(1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let age: u64 = pair.get("batch", path).await.header("age").expect("an age").parse().expect("a number");
    assert!((51..60).contains(&age), "{age}");
}

#[tokio::test]
async fn only_if_cached_is_answered_from_what_others_keep() {
    let Some(redis) = Redis::start().await else { return };
    let pair = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let only = || get(SERVICE, FRESH).with("cache-control", "only-if-cached");
    let none = pair.send("batch", only()).await;
    assert_eq!((none.status, none.reason()), (504, Some("not_cached")));
    let first = pair.get("web", FRESH).await;
    pair.stored(1).await;
    let found = pair.send("batch", only()).await;
    assert_eq!((found.status, &found.body, pair.origin.requests()), (200, &first.body, 1));
}

#[tokio::test]
async fn another_policy_or_another_secret_is_another_cache() {
    let Some(redis) = Redis::start().await else { return };
    let one = Pair::of("{ shared: true }", &redis.url(), &[]).await;
    let first = one.get("web", FRESH).await;
    one.stored(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "sixteen-or-more-characters").expect("a file");
    let flag = ["--cache-redis-secret", secret.to_str().expect("a path")];
    for (cache, flags) in [("{ shared: true, defaultTtl: 1m }", &[][..]), ("{ shared: true }", &flag)] {
        let other = Pair::of(cache, &redis.url(), flags).await;
        let reply = other.get("web", FRESH).await;
        assert!(reply.body != first.body && says(&reply).contains("fwd=uri-miss"), "{}", says(&reply));
    }
}
