//! Our proxy and a control plane of another make: what is bad is refused with a reason, what was good goes on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_config::policy::fault::{Abort, AbortWith, Fault, Scope};
use outrigger_config::policy::{Mode, Origin as PolicyOrigin};
use outrigger_config::resource::{ClientKind, Resource, ResourceType};
use outrigger_config::rewrite::{Answer, DirectResponse};
use outrigger_config::route::{Mirror, PathMatch, Route};
use outrigger_config::subset::Criteria;
use outrigger_config::value::Percent;
use outrigger_config::xds;
use outrigger_integration::ads::{Ads, Sets, resources};
use outrigger_integration::client::{Client, get, read};
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::proxy::{Proxy, Start};
use outrigger_integration::wait;

async fn steered(documents: &Documents) -> (Ads, Proxy) {
    let ads = Ads::start(resources(documents, CALLER)).await;
    let proxy = Start::steered(ads.address(), CALLER).ready().await;
    (ads, proxy)
}

async fn status(documents: &Documents) -> u16 {
    Client::http1(documents.outbound(CALLER)).await.send(get("catalog", "/")).await.status
}

#[tokio::test]
async fn a_server_without_delta_is_spoken_to_in_sotw() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let (_ads, _proxy) = steered(&documents).await;
    assert_eq!(status(&documents).await, 200);
}

#[tokio::test]
async fn a_bad_resource_is_refused_and_the_last_good_one_serves() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let (ads, proxy) = steered(&documents).await;
    for kind in [ResourceType::Cluster, ResourceType::Listener, ResourceType::Table] {
        let good = resources(&documents, CALLER)[&kind].clone();
        let bad = ads.change(|sets| {
            for (_, value) in sets.get_mut(&kind).unwrap() {
                *value = Bytes::from_static(b"\xff\xff not a resource");
            }
        });
        let verdict = ads.verdict(kind, bad).await;
        assert!(verdict.error.is_some() && verdict.runs != bad.to_string(), "{verdict:?}");
        assert_eq!(status(&documents).await, 200, "{}", kind.short());
        assert!(proxy.is_ready().await);
        let mended = ads.change(|sets| drop(sets.insert(kind, good)));
        let verdict = ads.verdict(kind, mended).await;
        assert_eq!((verdict.error, verdict.runs), (None, mended.to_string()), "{}", kind.short());
    }
}

#[tokio::test]
async fn the_good_neighbours_of_a_bad_resource_are_taken() {
    let (old, new) = (Origin::named("old").await, Origin::named("new").await);
    let documents = small("http", &[old.address()]);
    let (ads, _proxy) = steered(&documents).await;
    let moved = resources(&small("http", &[new.address()]), CALLER);
    let version = ads.change(|sets| {
        *sets.get_mut(&ResourceType::Assignment).unwrap() = moved[&ResourceType::Assignment].clone();
        sets.get_mut(&ResourceType::Cluster).unwrap().push(("bad".into(), Bytes::from_static(b"\xff\xff")));
    });
    assert_eq!(ads.verdict(ResourceType::Assignment, version).await.error, None);
    wait::until("the new endpoints", async || {
        let reply = Client::http1(documents.outbound(CALLER)).await.send(get("catalog", "/")).await;
        (reply.header("x-origin") == Some("new")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_is_gone_is_closed() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let (ads, _proxy) = steered(&documents).await;
    assert_eq!(status(&documents).await, 200);
    ads.change(|sets| sets.get_mut(&ResourceType::Listener).unwrap().clear());
    wait::until("the port to close", async || {
        tokio::net::TcpStream::connect(documents.outbound(CALLER)).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_left_of_a_listener_that_is_gone_has_the_drain_timeout() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let ads = Ads::start(resources(&documents, CALLER)).await;
    let mut proxy = Start::steered(ads.address(), CALLER).arg("--drain-timeout").arg("2s").ready().await;
    let address = documents.outbound(CALLER);
    let (mut one, mut other) = (Client::http1(address).await, Client::http2(address).await);
    let short = tokio::spawn(one.attempt(get("catalog", "/slow/1000")));
    let long = tokio::spawn(async move { read(other.start(get("catalog", "/stall")).await).await });
    wait::holds("both to be under way", || origin.under_way() == 2).await;
    let begun = Instant::now();
    ads.change(|sets| sets.get_mut(&ResourceType::Listener).unwrap().clear());
    assert_eq!(read(short.await.unwrap().unwrap()).await.status, 200, "what ends in time is not touched");
    let cut = wait::at_most("the cut", long).await.unwrap();
    assert!(!cut.complete && begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    assert!(proxy.process().runs());
    wait::holds("the origin to hear of it", || origin.under_way() == 0).await;
}

/// The routes of every table of `sets`, changed.
fn with_routes(sets: &mut Sets, change: impl Fn(&mut Vec<Route>)) {
    for (_, value) in sets.get_mut(&ResourceType::Table).unwrap() {
        let Ok(Resource::Table(mut table)) = xds::decode(ResourceType::Table, value) else { panic!("a table") };
        table.hosts.iter_mut().filter(|host| !host.routes.is_empty()).for_each(|host| change(&mut host.routes));
        *value = xds::encode(&Resource::Table(table), ClientKind::Outrigger).unwrap();
    }
}

#[tokio::test]
async fn an_inbound_route_does_all_that_it_is_told_to() {
    let origin = Origin::start().await;
    let documents =
        Documents::new().selecting("catalog", "http", "app: catalog").sidecar("catalog-1", "catalog", origin.address());
    let mut sets = resources(&documents, "catalog-1");
    with_routes(&mut sets, |routes| {
        let plain = routes[0].clone();
        let below = |path: &str| {
            let mut route = plain.clone();
            (route.name, route.matches.path) = (path.into(), PathMatch::Prefix(path.into()));
            route
        };
        let (mut edited, mut aborted, mut copied) = (below("/edited"), below("/aborted"), below("/copied"));
        edited.headers.request.set = vec![("x-asked".into(), "changed".into())];
        edited.headers.response.set = vec![("x-answered".into(), "changed".into())];
        let mut answered =
            Route::answering("answered", Answer::Direct(DirectResponse { status: 418, body: "".into() }));
        answered.matches.path = PathMatch::Prefix("/answered".into());
        aborted.fault = Some(Fault {
            origin: PolicyOrigin::default(),
            mode: Mode::Enforce,
            scope: Scope::Request,
            headers: Vec::new(),
            delay: None,
            abort: Some(Abort { with: AbortWith::Status(429), percent: Percent::HUNDRED }),
            throttle: None,
        });
        let cluster = plain.backends[0].cluster.clone();
        copied.mirrors = vec![Mirror { cluster, percent: Percent::HUNDRED, subset: Criteria::default() }];
        let mut attempt = aborted.clone();
        (attempt.name, attempt.matches.path) = ("/attempt".into(), PathMatch::Prefix("/attempt".into()));
        attempt.fault.as_mut().unwrap().scope = Scope::Attempt;
        routes.splice(0..0, [edited, answered, aborted, attempt, copied]);
    });
    let ads = Ads::start(sets).await;
    let _proxy = Start::steered(ads.address(), "catalog-1").ready().await;
    let mut client = Client::http1(documents.inbound("catalog-1")).await;
    for (path, status) in [("/answered", 418), ("/aborted", 429), ("/attempt", 429)] {
        assert_eq!(client.send(get("catalog", path)).await.status, status, "{path}");
    }
    assert_eq!(origin.requests(), 0);
    assert_eq!(client.send(get("catalog", "/edited")).await.header("x-answered"), Some("changed"));
    assert_eq!(origin.seen()[0].headers["x-asked"], "changed");
    assert_eq!(client.send(get("catalog", "/copied")).await.status, 200);
    wait::holds("the request and its copy", || origin.requests() == 3).await;
}
