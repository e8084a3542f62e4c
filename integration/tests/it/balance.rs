//! Balancing: each algorithm's own promise, over three workloads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use outrigger_integration::call::Call;
use outrigger_integration::client::{Reply, get};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, SERVICE, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::peers;
use outrigger_integration::process::Process;
use outrigger_integration::wait;

async fn three() -> [Origin; 3] {
    [Origin::named("a").await, Origin::named("b").await, Origin::named("c").await]
}

async fn balanced(origins: &[Origin; 3], balancing: &str) -> Mesh {
    let documents = small("http", &[origins[0].address(), origins[1].address(), origins[2].address()])
        .backend_policy("catalog", &format!("loadBalancing: {{ {balancing} }}"));
    Mesh::standalone(documents).await
}

fn name(reply: &Reply) -> String {
    reply.header("x-origin").unwrap().to_owned()
}

fn shares(replies: &[Reply]) -> BTreeMap<String, usize> {
    replies.iter().fold(BTreeMap::new(), |mut shares, reply| {
        *shares.entry(name(reply)).or_default() += 1;
        shares
    })
}

#[tokio::test]
async fn every_algorithm_uses_every_workload() {
    // Peak EWMA prefers whoever answers fastest, so that it owes the others no more than a try.
    for (algorithm, least) in [("RoundRobin", 90), ("LeastRequest", 50), ("PeakEwma", 1), ("Random", 50)] {
        let origins = three().await;
        let mesh = balanced(&origins, &format!("algorithm: {algorithm}")).await;
        let shares = shares(&mesh.many("/", 300).await);
        assert_eq!(shares.len(), 3, "{algorithm}: {shares:?}");
        assert!(shares.values().all(|share| *share >= least), "{algorithm}: {shares:?}");
    }
}

#[tokio::test]
async fn round_robin_is_even() {
    let origins = three().await;
    let mesh = balanced(&origins, "algorithm: RoundRobin").await;
    let shares = shares(&mesh.many("/", 300).await);
    assert!(shares.values().all(|share| (95..=105).contains(share)), "{shares:?}");
}

#[tokio::test]
async fn peak_ewma_turns_away_from_the_slow() {
    let origins = three().await;
    let mesh = balanced(&origins, "algorithm: PeakEwma").await;
    origins[0].delay(std::time::Duration::from_millis(100));
    let shares = shares(&mesh.many("/", 300).await);
    assert!(shares.get("a").copied().unwrap_or(0) < 40, "{shares:?}");
}

#[tokio::test]
async fn a_hash_keeps_a_key_at_its_workload() {
    for algorithm in ["RingHash", "Maglev", "Maglev, tableSize: 251"] {
        let origins = three().await;
        let balancing = format!("algorithm: {algorithm}, hashOn: [{{ type: Header, name: x-user }}]");
        let mesh = balanced(&origins, &balancing).await;
        let mut homes = BTreeMap::new();
        for turn in 0..120 {
            let user = format!("user-{}", turn % 40);
            let home = name(&mesh.send(get("catalog", "/").with("x-user", &user)).await);
            assert_eq!(homes.entry(user).or_insert_with(|| home.clone()), &home, "{algorithm}");
        }
        let used: std::collections::BTreeSet<_> = homes.values().collect();
        assert_eq!(used.len(), 3, "{algorithm}: forty keys use all three");
    }
}

#[tokio::test]
async fn a_hash_with_a_bound_spreads_one_hot_key() {
    for (factor, most) in [("", 30..=30), (", balanceFactor: 120", 12..=16)] {
        let origins = three().await;
        let balancing = format!("algorithm: Maglev, hashOn: [{{ type: Header, name: x-user }}]{factor}");
        let mesh = balanced(&origins, &balancing).await;
        let ask = || mesh.send(get("catalog", "/slow/1000").with("x-user", "hot"));
        let replies = futures_util::future::join_all((0..30).map(|_| ask())).await;
        let shares = shares(&replies);
        assert!(most.contains(shares.values().max().unwrap()), "{factor}: {shares:?}");
    }
}

#[tokio::test]
async fn a_newcomer_starts_slowly() {
    let origins = three().await;
    let policy = "loadBalancing: { algorithm: RoundRobin, slowStart: { window: 1h } }";
    let documents = small("http", &[origins[0].address(), origins[1].address()]).backend_policy("catalog", policy);
    let mut mesh = Mesh::steered(documents).await;
    let before = shares(&mesh.many("/", 100).await);
    assert!(before.values().all(|share| (45..=55).contains(share)), "two that begin together are equals: {before:?}");
    mesh.apply(Documents::bare().workload("catalog-3", "app: catalog", origins[2].address()).text()).await;
    wait::until("the newcomer to be asked", async || {
        mesh.many("/", 20).await;
        (origins[2].requests() > 0).then_some(())
    })
    .await;
    let after = shares(&mesh.many("/", 420).await);
    assert!((5..=60).contains(&after["c"]), "about 0.1 of 2.1 parts: {after:?}");
}

#[tokio::test]
async fn ring_hash_reads_cookies_and_addresses() {
    for key in ["{ type: Cookie, name: session }", "{ type: SourceIP }"] {
        let origins = three().await;
        let mesh = balanced(&origins, &format!("algorithm: RingHash, hashOn: [{key}]")).await;
        let mut homes = std::collections::BTreeSet::new();
        for _ in 0..20 {
            homes.insert(name(&mesh.send(get("catalog", "/").with("cookie", "a=1; session=77")).await));
        }
        assert_eq!(homes.len(), 1, "{key}");
    }
}

#[tokio::test]
async fn weights_and_health_of_workloads_count() {
    let origins = three().await;
    let workload = |name: &str, origin: &Origin, rest: &str| {
        format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: shop, labels: {{ app: catalog }} }}
spec: {{ address: 127.0.0.1, ports: [{{ name: http, port: {} }}], {rest} }}",
            origin.address().port()
        )
    };
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .with(&workload("a", &origins[0], "weight: 3"))
        .with(&workload("b", &origins[1], "weight: 1"))
        .with(&workload("c", &origins[2], "health: Draining"))
        .caller(CALLER)
        .backend_policy("catalog", "loadBalancing: { algorithm: RoundRobin }");
    let mesh = Mesh::standalone(documents).await;
    let shares = shares(&mesh.many("/", 400).await);
    assert_eq!(shares.get("c"), None, "{shares:?}");
    assert!((290..=310).contains(&shares["a"]), "{shares:?}");
}

fn workload(name: &str, origin: &Origin, priority: u32) -> String {
    format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: shop, labels: {{ app: catalog }} }}
spec: {{ address: 127.0.0.1, ports: [{{ name: http, port: {} }}], priority: {priority} }}",
        origin.address().port()
    )
}

#[tokio::test]
async fn a_priority_is_asked_when_the_one_before_it_fails() {
    let origins = three().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .with(&workload("a", &origins[0], 0))
        .with(&workload("b", &origins[1], 0))
        .with(&workload("c", &origins[2], 1))
        .caller(CALLER)
        .backend_policy(
            "catalog",
            "loadBalancing: { algorithm: RoundRobin }\n\
             outlierDetection: { consecutiveErrors: 1, ejection: { base: 60s, maxPercent: 100 } }",
        );
    let mesh = Mesh::steered(documents).await;
    let before = shares(&mesh.many("/", 100).await);
    assert_eq!(before.get("c"), None, "{before:?}");
    origins[0].fail_with(500);
    mesh.many("/", 4).await;
    let after = shares(&mesh.many("/", 400).await);
    assert_eq!(after.get("a"), None, "{after:?}");
    assert!((70..=170).contains(&after["c"]), "half of the first is 70 % of what it takes: {after:?}");
}

#[tokio::test]
async fn a_priority_that_lost_all_of_its_own_comes_back() {
    let origins = three().await;
    let documents = Documents::new()
        .selecting("catalog", "http", "app: catalog")
        .with(&workload("a", &origins[0], 0))
        .with(&workload("b", &origins[1], 1))
        .caller(CALLER)
        .backend_policy("catalog", "outlierDetection: { consecutiveErrors: 1, ejection: { base: 300ms, max: 300ms } }");
    let mesh = Mesh::steered(documents).await;
    origins[0].fail_with(500);
    wait::until("the second to be asked", async || (mesh.get("/").await.header("x-origin") == Some("b")).then_some(()))
        .await;
    origins[0].fail_next(0, 200);
    wait::until("the first to be asked again", async || {
        (mesh.get("/").await.header("x-origin") == Some("a")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_follow_the_load_that_workloads_report() {
    let origins = three().await;
    let mut mesh = balanced(&origins, "algorithm: ClientSideWeightedRoundRobin, loadReports: { blackout: 0s }").await;
    let even = shares(&mesh.many("/", 90).await);
    assert!(even.values().all(|share| (28..=32).contains(share)), "nobody reports: {even:?}");
    // Alike busy, and one and two bear four times and twice as much; what a third says is no number.
    origins[0].report("TEXT cpu_utilization=0.5, rps_fractional=400");
    origins[1].report("JSON {\"cpu_utilization\": 0.5, \"rps_fractional\": 200}");
    origins[2].report("TEXT cpu_utilization=NaN, rps_fractional=1");
    wait::until("the reports to count", async || {
        let shares = shares(&mesh.many("/", 90).await);
        // 4 to 2, and the mean of both for whoever reports nothing good.
        let near = |name: &str, part: usize| shares[name].abs_diff(part) <= 2;
        (near("a", 40) && near("b", 20) && near("c", 30)).then_some(())
    })
    .await;
    assert!(mesh.caller().metric("outrigger_load_reports_total", &["result=\"void\""]).await > 0.0);
}

#[tokio::test]
async fn requests_follow_the_load_that_workloads_report_beside_them() {
    let Some(python) = peers::python_grpc() else { return };
    let server = |name: &str, rate: &str| {
        let mut command = Command::new(&python);
        Process::start(name, command.arg(peers::script("grpc_orca.py")).args([name, rate, "0.5"]))
    };
    let mut servers = [server("a", "300"), server("b", "100")];
    let mut addresses = Vec::new();
    for server in &servers {
        let port = wait::until("a server to listen", async || server.lines().first()?.parse::<u16>().ok()).await;
        addresses.push(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let policy = "loadBalancing: { algorithm: ClientSideWeightedRoundRobin, loadReports: { blackout: 0s, outOfBandPeriod: 100ms } }";
    let documents = small("kubernetes.io/h2c", &addresses).backend_policy("catalog", policy);
    let mut mesh = Mesh::standalone(documents).await;
    wait::until("the reports to count", async || {
        let mut client = mesh.http2().await;
        let mut of_first = 0_usize;
        for _ in 0..80 {
            let (said, _) = Call::whole(&mut client, SERVICE, "Unary", "who").await.end().await;
            of_first += usize::from(said == ["a"]);
        }
        (of_first.abs_diff(60) <= 2).then_some(())
    })
    .await;
    assert_eq!(mesh.caller().metric("outrigger_load_report_streams", &[]).await, 2.0);
    servers[0].kill();
    let caller = mesh.caller();
    wait::until("the stream to be missed", async || {
        let ends = caller.metric("outrigger_load_report_stream_ends_total", &[]).await;
        (ends > 0.0 && caller.metric("outrigger_load_report_streams", &[]).await == 1.0).then_some(())
    })
    .await;
}
