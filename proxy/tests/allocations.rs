//! How many allocations a request costs, hyper's included, from the caller's bytes to the caller's bytes. Origin and
//! caller are plain sockets with buffers of their own, so that all that is counted is the proxy's.

#![expect(clippy::disallowed_methods, reason = "threads of a test need no name")]
#![expect(clippy::print_stdout, reason = "the count is what one runs this for")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::{Cluster, Discovery, Protocol};
use outrigger_config::endpoint::{Assignment, Endpoint};
use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry as ListenerTelemetry};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::policy::{Cache, Condition, Limits, Origin, Outlier, Retry, Timeouts};
use outrigger_config::resource::Resource;
use outrigger_config::route::{Route, RouteTable, VirtualHost};
use outrigger_config::subset::{Fallback, Known, PlaceWeights, Selector, Subsets, Value};
use outrigger_config::value::Percent;
use outrigger_proxy::cache::Caching;
use outrigger_proxy::cache::second::{Address, Second, TIMEOUT};
use outrigger_proxy::drain::Drain;
use outrigger_proxy::exchange::Shared;
use outrigger_proxy::listener::DataPlane;
use outrigger_proxy::rls::LimitService;
use outrigger_proxy::snapshot::{Context, ResourceSet, Snapshots, compile};
use outrigger_proxy::telemetry::Telemetry;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: catalog\r\nUser-Agent: counter\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

fn name(text: &str) -> ResourceName {
    ResourceName::try_new(text).expect("a name")
}

/// Answers every request on every connection, in its own threads.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    stream.write_all(ANSWER).expect("the proxy reads");
                }
            });
        }
    });
    address
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A data plane with one worker and one route; the test ends before it needs to stop.
fn proxy(route: impl FnOnce(&mut Route), cluster: impl FnOnce(&mut Cluster)) -> (DataPlane, SocketAddr) {
    sharing(None, route, cluster)
}

/// The same with a cache that has this second level.
fn sharing(
    second: Option<Arc<Second>>,
    route: impl FnOnce(&mut Route),
    cluster: impl FnOnce(&mut Cluster),
) -> (DataPlane, SocketAddr) {
    let address = free_port();
    let endpoint = Endpoint {
        workload: "catalog-1".into(),
        metadata: [("version".into(), Known::One(Value::Text("v1".into())))].into(),
        ..Endpoint::at(origin())
    };
    let assignment = Assignment::try_new(name("catalog"), vec![endpoint]).expect("one endpoint");
    let mut destination = Cluster::new(name("catalog"), Discovery::Static(assignment));
    destination.protocol = Protocol::Http1;
    cluster(&mut destination);
    let mut rule = Route::forward("all", name("catalog"));
    route(&mut rule);
    let hosts = vec![VirtualHost {
        name: "all".into(),
        domains: vec![Domain::Any],
        routes: vec![rule],
        counts: Default::default(),
    }];
    let listener = Listener {
        name: name("outbound"),
        address,
        direction: Direction::Outbound,
        table: TableSource::Inline(RouteTable { name: name("inline"), hosts }),
        identity: None,
        telemetry: ListenerTelemetry { sample: Percent::ZERO, access_log: false },
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    };
    let set: ResourceSet = [Resource::Cluster(destination), Resource::Listener(listener)].into_iter().collect();
    let telemetry = Arc::new(Telemetry::default());
    let context = Context { workers: 1, metrics: Arc::clone(&telemetry.metrics), seed: 1, now: Instant::now() };
    let snapshot = compile(&set, None, &context);
    let shared = Arc::new(Shared {
        snapshots: Snapshots::new(),
        telemetry,
        caching: Caching::new(1 << 20).sharing(second),
        workers: 1,
        limits: LimitService::default(),
        drain: Drain::new(),
        overload: Arc::default(),
        carried: Arc::default(),
        replay: Arc::default(),
    });
    let plane = DataPlane::start(Arc::clone(&shared)).expect("threads");
    assert_eq!(plane.apply(&snapshot), []);
    shared.snapshots.store(Arc::new(snapshot));
    (plane, address)
}

fn allocations_a_request(address: SocketAddr) -> f64 {
    const COUNT: usize = 2000;
    let mut stream = TcpStream::connect(address).expect("the proxy listens");
    let mut buffer = [0; 4096];
    let mut exchange = |times: usize| {
        for _ in 0..times {
            stream.write_all(REQUEST).expect("the proxy reads");
            let mut got = 0;
            while !buffer[..got].ends_with(b"hello") {
                let count = stream.read(&mut buffer[got..]).expect("an answer");
                assert!(count > 0, "the proxy closed");
                got += count;
            }
        }
    };
    exchange(100);
    let region = Region::new(ALLOCATOR);
    exchange(COUNT);
    region.change().allocations as f64 / COUNT as f64
}

/// One test, since whatever runs beside it would be counted too.
#[test]
fn a_request_costs_few_allocations() {
    let (_plain, address) = proxy(|_| {}, |_| {});
    let bare = allocations_a_request(address);
    let every_policy = |route: &mut Route| {
        route.timeouts = Timeouts { request: Some(std::time::Duration::from_secs(5)), ..Timeouts::default() };
        let mut retry = Retry::default_policy();
        retry.on = [Condition::ServerError].into_iter().collect();
        retry.per_try_timeout = Some(std::time::Duration::from_secs(2));
        route.retry = Some(retry);
    };
    let (_policy, address) = proxy(every_policy, |cluster| {
        cluster.limits = Some(Limits { max_requests: Some(1000), ..Limits::default() });
        cluster.outlier = Some(Outlier::with_defaults(Origin::default()));
    });
    let policies = allocations_a_request(address);
    let version_one = |route: &mut Route| route.backends[0].subset = [("version", "v1")].into_iter().collect();
    let (_subset, address) = proxy(version_one, |cluster| {
        cluster.subsets = Some(Subsets {
            selectors: vec![Selector { keys: ["version".into()].into(), fallback: None }],
            fallback: Fallback::Nobody,
            default: [("version", "v1")].into_iter().collect(),
            panic_any: false,
            lists: false,
            places: PlaceWeights::Ignored,
        });
    });
    let subset = allocations_a_request(address);
    // What memory has is served without a thought of what others have.
    let cached = |shared: bool| {
        move |route: &mut Route| {
            let default_ttl = Some(std::time::Duration::from_secs(3600));
            route.cache = Some(Cache { default_ttl, shared, ..Cache::with_defaults(Origin::default()) });
        }
    };
    let (_alone, address) = proxy(cached(false), |_| {});
    let hit = allocations_a_request(address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let second = runtime.block_on(async {
        let address = Address::read(&format!("redis://{}", free_port())).expect("an address");
        Arc::new(Second::at(&address, b"", TIMEOUT))
    });
    let (_shared, address) = sharing(Some(second), cached(true), |_| {});
    let shared = allocations_a_request(address);
    println!(
        "allocations a request: {bare:.1} without policies, {policies:.1} with timeouts, retry, limits and outliers, \
         {subset:.1} with a subset, {hit:.1} for a kept response, {shared:.1} where that is shared"
    );
    assert!(subset - bare < 0.1, "{subset} with a subset, {bare} without");
    assert!(hit <= LIMIT_HIT && shared <= hit + 0.1, "{hit} for a kept response, {shared} where that is shared");
    assert!(bare <= LIMIT_BARE, "{bare} without policies");
    assert!(policies <= LIMIT_POLICIES, "{policies} with policies");
}

/// What was measured, and one to spare.
const LIMIT_BARE: f64 = 20.0;
const LIMIT_POLICIES: f64 = 24.0;
const LIMIT_HIT: f64 = 13.0;
