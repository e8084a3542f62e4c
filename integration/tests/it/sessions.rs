//! Session persistence: a caller that brings its cookie back goes where it went, as long as there is such a place.

use outrigger_integration::client::{Reply, get};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

async fn three() -> [Origin; 3] {
    [Origin::named("a").await, Origin::named("b").await, Origin::named("c").await]
}

fn documents(origins: &[Origin; 3], rest: &str) -> Documents {
    let addresses = [origins[0].address(), origins[1].address(), origins[2].address()];
    small("http", &addresses).backend_policy(
        "catalog",
        &format!("loadBalancing: {{ algorithm: RoundRobin }}\nsessionPersistence: {{ sessionName: shop{rest} }}"),
    )
}

fn name(reply: &Reply) -> String {
    reply.header("x-origin").unwrap().to_owned()
}

/// What a browser would bring back.
fn brought(reply: &Reply) -> String {
    reply.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned()
}

async fn ask(mesh: &Mesh, cookie: &str) -> Reply {
    mesh.send(get("catalog", "/").with("cookie", cookie)).await
}

#[tokio::test]
async fn a_cookie_leads_back_and_says_no_address() {
    let origins = three().await;
    let rest = ", absoluteTimeout: 1h, cookieConfig: { lifetimeType: Permanent, path: /, sameSite: Lax }";
    let mut mesh = Mesh::standalone(documents(&origins, rest)).await;
    let first = mesh.get("/").await;
    let set = first.header("set-cookie").unwrap().to_owned();
    assert!(set.ends_with("; Path=/; Max-Age=3600; SameSite=Lax; HttpOnly"), "{set}");
    assert!(!set.contains("127.0.0.1"), "{set}");
    for _ in 0..10 {
        let again = ask(&mesh, &format!("x=1; {}", brought(&first))).await;
        assert_eq!((name(&again), again.header("set-cookie")), (name(&first), None));
    }
    let spread: std::collections::BTreeSet<String> = mesh.many("/", 6).await.iter().map(name).collect();
    assert_eq!(spread.len(), 3, "whoever brings none is balanced");
    let made_up = ask(&mesh, "shop=00000000000000000000000000000000").await;
    assert!(made_up.status == 200 && made_up.header("set-cookie").is_some());
    for (word, count) in [("begun", 7.0), ("kept", 10.0), ("renewed", 1.0)] {
        let label = format!("session=\"{word}\"");
        assert_eq!(mesh.caller().metric("outrigger_session_requests_total", &[&label]).await, count, "{word}");
    }
}

#[tokio::test]
async fn a_session_outlives_an_ejection_and_not_its_workload() {
    let origins = three().await;
    let addresses = [origins[0].address(), origins[1].address(), origins[2].address()];
    let documents = small("http", &addresses).backend_policy(
        "catalog",
        "loadBalancing: { algorithm: RoundRobin }
sessionPersistence: { sessionName: shop }
outlierDetection: { consecutiveErrors: 1, ejection: { base: 1s, max: 1s } }",
    );
    let mut mesh = Mesh::steered(documents).await;
    let first = mesh.get("/").await;
    let home = origins.iter().position(|origin| origin.requests() == 1).unwrap();
    origins[home].fail_next(1, 500);
    assert_eq!(ask(&mesh, &brought(&first)).await.status, 500);
    let stand_in = ask(&mesh, &brought(&first)).await;
    assert!(name(&stand_in) != name(&first) && stand_in.header("set-cookie").is_none());
    wait::until("the session to come home", async || {
        (name(&ask(&mesh, &brought(&first)).await) == name(&first)).then_some(())
    })
    .await;
    mesh.control_plane().delete("Workload", &format!("catalog-{}", home + 1)).await;
    wait::until("a new session", async || {
        let reply = ask(&mesh, &brought(&first)).await;
        reply.header("set-cookie").is_some().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_stays_with_the_version_that_was_chosen() {
    let (first, second) = (Origin::named("v1").await, Origin::named("v2").await);
    let policy = "sessionPersistence: { sessionName: shop }";
    let documents = small("http", &[first.address()])
        .service("beta", "http", &[second.address()])
        .backend_policy("catalog", policy)
        .backend_policy("beta", policy)
        .route(
            "catalog",
            "- backendRefs: [{ name: catalog, port: 80, weight: 50 }, { name: beta, port: 80, weight: 50 }]",
        );
    let mesh = Mesh::standalone(documents).await;
    for _ in 0..10 {
        let begun = mesh.get("/").await;
        let again = ask(&mesh, &brought(&begun)).await;
        assert_eq!(name(&again), name(&begun));
    }
    assert!(first.requests() > 0 && second.requests() > 0, "whoever brings none is split");
}
