//! Weighted routing: the split that was asked for is the split that is seen.

use outrigger_integration::client::get;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;

/// `catalog` in front of versions v1 and v2 with these weights.
async fn split(v1: u32, v2: u32) -> (Origin, Origin, Mesh) {
    let (first, second) = (Origin::named("v1").await, Origin::named("v2").await);
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .selecting("catalog-v1", "http", "app: catalog, version: v1")
        .selecting("catalog-v2", "http", "app: catalog, version: v2")
        .workload("catalog-1", "app: catalog, version: v1", first.address())
        .workload("catalog-2", "app: catalog, version: v2", second.address())
        .caller(CALLER)
        .route(
            "catalog",
            &format!(
                "- backendRefs: [{{ name: catalog-v1, port: 80, weight: {v1} }}, {{ name: catalog-v2, port: 80, weight: {v2} }}]"
            ),
        );
    (first, second, Mesh::standalone(documents).await)
}

#[tokio::test]
async fn ninety_to_ten_is_ninety_to_ten() {
    let (first, second, mesh) = split(90, 10).await;
    mesh.many("/", 2000).await;
    let share = second.requests() as f64 / (first.requests() + second.requests()) as f64;
    assert!((0.08..=0.12).contains(&share), "v2 got {share}");
}

#[tokio::test]
async fn a_weight_of_zero_gets_nothing() {
    let (first, second, mesh) = split(1, 0).await;
    mesh.many("/", 200).await;
    assert_eq!((first.requests(), second.requests()), (200, 0));
}

#[tokio::test]
async fn a_retry_stays_with_the_version_that_was_chosen() {
    let (first, second) = (Origin::named("v1").await, Origin::named("v2").await);
    let documents = small("http", &[first.address()]).service("beta", "http", &[second.address()]).route(
        "catalog",
        "- backendRefs: [{ name: catalog, port: 80, weight: 50 }, { name: beta, port: 80, weight: 50 }]",
    );
    let documents = documents.policy_of_route("catalog", "retry: { attempts: 1, codes: [503] }");
    let mesh = Mesh::standalone(documents).await;
    first.fail_with(503);
    for reply in mesh.many("/", 40).await {
        let expected = if reply.header("x-origin") == Some("v1") { 503 } else { 200 };
        assert_eq!(reply.status, expected, "the canary's failures are not hidden by the other version");
    }
    assert_eq!(mesh.send(get("beta", "/")).await.status, 200);
}

#[tokio::test]
async fn the_same_user_gets_the_same_version() {
    let (first, second) = (Origin::named("v1").await, Origin::named("v2").await);
    let documents = small("http", &[first.address()]).service("beta", "http", &[second.address()]).route(
        "catalog",
        "- backendRefs: [{ name: catalog, port: 80, weight: 70 }, { name: beta, port: 80, weight: 30 }]",
    );
    let documents =
        documents.policy_of_route("catalog", "stickyOn: [{ type: Header, name: x-user }, { type: Cookie, name: sid }]");
    let mesh = Mesh::steered(documents).await;
    let mut client = mesh.http1().await;
    let mut beta = 0;
    for user in 0..200 {
        let mut versions = Vec::new();
        for (name, value) in [("x-user", format!("user-{user}")), ("cookie", format!("a=b; sid=user-{user}"))] {
            let reply = client.send(get("catalog", "/").with(name, &value)).await;
            versions.push(reply.header("x-origin").expect("the origin says its name").to_owned());
        }
        assert_eq!(versions[0], versions[1], "user {user}");
        beta += usize::from(versions[0] == "v2");
    }
    // Six standard deviations.
    assert!((21..=99).contains(&beta), "{beta} of 200");
}
