//! Zones: requests stay in their caller's zone as far as it bears them, and no zone is a trap.

use std::collections::BTreeMap;

use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh};
use outrigger_integration::origin::Origin;
use outrigger_integration::wait;

fn workload(name: &str, origin: &Origin, zone: &str) -> String {
    format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: catalog-{name}, namespace: shop, labels: {{ app: catalog }} }}
spec: {{ address: 127.0.0.1, ports: [{{ name: http, port: {} }}], locality: {{ zone: {zone} }} }}",
        origin.address().port()
    )
}

/// Callers in the zones `callers`, of which the first is asked through, and `catalog` with these workloads.
fn documents(callers: &[&str], catalog: &[(&str, &Origin, &str)], rest: &str) -> Documents {
    let mut documents =
        Documents::new().selecting("catalog", "http", "app: catalog").selecting("web", "http", "app: web");
    for (number, zone) in callers.iter().enumerate() {
        let name = if number == 0 { CALLER.to_owned() } else { format!("web-{number}") };
        documents = documents.caller_in(&name, "web", zone);
    }
    let policy = format!("loadBalancing: {{ algorithm: RoundRobin, zoneAware: true }}\n{rest}");
    let workloads = catalog.iter().map(|(name, origin, zone)| workload(name, origin, zone));
    workloads.fold(documents, |documents, one| documents.with(&one)).backend_policy("catalog", &policy)
}

async fn shares(mesh: &Mesh, count: usize) -> BTreeMap<String, usize> {
    mesh.many("/", count).await.iter().fold(BTreeMap::new(), |mut shares, reply| {
        *shares.entry(reply.header("x-origin").unwrap().to_owned()).or_default() += 1;
        shares
    })
}

#[tokio::test]
async fn all_stays_in_a_zone_that_bears_its_callers() {
    let (near, far) = (Origin::named("near").await, Origin::named("far").await);
    let documents = documents(&["z1", "z2"], &[("1", &near, "z1"), ("2", &far, "z2")], "");
    let mut mesh = Mesh::standalone(documents).await;
    assert_eq!(shares(&mesh, 100).await, BTreeMap::from([("near".into(), 100)]));
    for (label, count) in [("zone=\"local\"", 100.0), ("zone=\"cross\"", 0.0)] {
        assert_eq!(mesh.caller().metric("outrigger_zone_requests_total", &[label]).await, count, "{label}");
    }
}

#[tokio::test]
async fn what_a_zone_does_not_bear_goes_where_there_is_room() {
    let origins = [Origin::named("near").await, Origin::named("b").await, Origin::named("c").await];
    // Half of the callers and a third of the endpoints: two thirds stay, and the rest goes to z2.
    let catalog = [("1", &origins[0], "z1"), ("2", &origins[1], "z2"), ("3", &origins[2], "z2")];
    let mesh = Mesh::standalone(documents(&["z1", "z2"], &catalog, "")).await;
    let shares = shares(&mesh, 600).await;
    assert!((350..=450).contains(&shares["near"]), "{shares:?}");
    assert!(shares["b"].abs_diff(shares["c"]) <= 10, "{shares:?}");
}

#[tokio::test]
async fn a_zone_that_fails_is_left_and_come_back_to() {
    let (near, far) = (Origin::named("near").await, Origin::named("far").await);
    let rest = "outlierDetection: { consecutiveErrors: 1, ejection: { base: 1s, max: 1s, maxPercent: 50 } }";
    let documents = documents(&["z1", "z2"], &[("1", &near, "z1"), ("2", &far, "z2")], rest);
    let mesh = Mesh::standalone(documents).await;
    near.fail_next(1, 500);
    assert_eq!(mesh.get("/").await.status, 500);
    assert_eq!(shares(&mesh, 20).await, BTreeMap::from([("far".into(), 20)]), "never an empty zone's trap");
    wait::until("the zone to be asked again", async || {
        (mesh.get("/").await.header("x-origin") == Some("near")).then_some(())
    })
    .await;
}
