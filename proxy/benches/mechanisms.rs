//! What each mechanism costs a request: `cargo bench -p outrigger-proxy --bench mechanisms`. Numbers to look at, never
//! a gate. All on one thread without contention, everything in cache.
#![allow(missing_docs)]

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use outrigger_config::cluster::{Balancing, Cluster as ClusterModel, Discovery, SlowStart};
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel};
use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::policy::rate_limit::{OnError, Scope};
use outrigger_config::policy::{
    Budget as BudgetModel, FailurePercentage, Limits as LimitsModel, Mode, Origin, Outlier, Per, PerEndpoint,
    RateLimitRule, SlowEndpoint, SuccessRate,
};
use outrigger_config::resource::Resource;
use outrigger_config::route::{Route as RouteModel, RouteTable, VirtualHost};
use outrigger_proxy::cluster::{Budget, Cluster, Limit, Limits, Outcome, Report, Setting};
use outrigger_proxy::endpoint::{Latency, Load};
use outrigger_proxy::route::{Bucket, Caller, Facts, Found, Split};
use outrigger_proxy::snapshot::{Context, ResourceSet, Snapshots, compile};

const ROUNDS: u32 = 2_000_000;

fn main() -> std::io::Result<()> {
    for balancing in [
        Balancing::RoundRobin,
        Balancing::LeastRequest,
        Balancing::default(),
        Balancing::Random,
        Balancing::RingHash { min_size: 1024, max_size: 8192 },
        Balancing::Maglev { table_size: Balancing::DEFAULT_TABLE },
    ] {
        for (count, heaviest) in [(3, 1), (3, 5), (100, 1), (100, 5)] {
            pick(balancing, count, heaviest)?;
        }
    }
    policies()?;
    let now = Instant::now();
    let policy = LimitsModel { max_requests: Some(1024), ..LimitsModel::default() };
    let limits = Arc::new(Limits::new(Some(&policy)));
    measure("limit: take and give back", || limits.try_acquire(Limit::Requests))?;
    let budget = Budget::new(BudgetModel::default(), now);
    measure("budget: count a request", || budget.request(black_box(now)))?;
    let load = Load::new(Latency::default(), now);
    measure("load: begin, end and observe", || {
        load.begin();
        load.end(black_box(now + Duration::from_millis(1)), Some(Duration::from_micros(900)));
    })?;
    let interval = Duration::from_secs(1);
    let (requests, burst, per, max_keys) = (1_000_000, 100, Per::Total, RateLimitRule::DEFAULT_KEYS);
    let scope = Scope::Proxy;
    let rule =
        RateLimitRule { name: "all".into(), matches: Vec::new(), requests, interval, burst, per, max_keys, scope };
    let mut headers = http::HeaderMap::new();
    headers.insert("x-user", http::HeaderValue::from_static("alice@example.com"));
    let caller = Caller { headers: &headers, address: std::net::IpAddr::from([127, 0, 0, 1]), workload: None };
    let mut rng = fastrand::Rng::with_seed(1);
    let bucket = Bucket::new(&rule, OnError::Allow, now, &mut rng);
    measure("bucket: take a token, clock included", || bucket.take(&caller, Instant::now()))?;
    let rule = RateLimitRule { per: Per::Header("x-user".into()), ..rule };
    let bucket = Bucket::new(&rule, OnError::Allow, now, &mut rng);
    measure("bucket: one of a header's, clock included", || bucket.take(&caller, Instant::now()))?;
    let split = Split::new([(90, 1), (10, 2)]).expect("weights above zero");
    let mut rng = fastrand::Rng::with_seed(1);
    measure("split: 90/10", || *split.pick(&mut rng))?;
    find()
}

fn measure<T>(what: &str, mut run: impl FnMut() -> T) -> std::io::Result<()> {
    (0..ROUNDS / 10).for_each(|_| drop(black_box(run())));
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| drop(black_box(run())));
    let nanos = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS);
    writeln!(std::io::stdout(), "{what:48} {nanos:8.1} ns")
}

fn name(text: &str) -> ResourceName {
    ResourceName::try_new(text).expect("a valid name")
}

/// What a pick, its place and its report cost with each policy of a destination alone; ten endpoints.
fn policies() -> std::io::Result<()> {
    type Change = fn(&mut ClusterModel, &mut Assignment);
    let cases: [(&str, Change); 6] = [
        ("none", |_, _| {}),
        ("outlier detection", |model, _| model.outlier = Some(Outlier::with_defaults(Origin::default()))),
        ("outlier detection, all comparisons", |model, _| {
            model.outlier = Some(Outlier {
                success_rate: Some(SuccessRate::with_defaults(Mode::Enforce)),
                failure_percentage: Some(FailurePercentage::with_defaults(Mode::Enforce)),
                latency: Some(SlowEndpoint::with_defaults(Mode::Observe)),
                ..Outlier::with_defaults(Origin::default())
            });
        }),
        ("slow start", |model, _| model.slow_start = Some(SlowStart::with_defaults(Duration::from_secs(60)))),
        ("limits of each endpoint", |model, _| {
            let per_endpoint = PerEndpoint { max_connections: Some(100), max_requests: Some(100) };
            model.limits = Some(LimitsModel { per_endpoint, ..LimitsModel::default() });
        }),
        ("priorities", |_, assignment| {
            assignment.endpoints.iter_mut().skip(5).for_each(|endpoint| endpoint.priority = 1);
        }),
    ];
    for (what, change) in cases {
        let name = name("shop/catalog/http");
        let mut model = ClusterModel::new(name.clone(), Discovery::Eds(name.clone()));
        let mut assignment =
            Assignment::try_new(name, (0..10).map(|index| endpoint(index, 1)).collect()).expect("distinct addresses");
        change(&mut model, &mut assignment);
        let now = Instant::now();
        let cluster = Cluster::new(model, Some(&assignment), None, Setting { workers: 1, seed: 0, now });
        let mut rng = fastrand::Rng::with_seed(1);
        measure(&format!("pick and report with {what}"), || {
            let seat = cluster.pick(None, &[], now, &mut rng)?;
            let latency = Some(Duration::from_millis(5));
            cluster.report(seat.endpoint(), Report { outcome: Outcome::Success, latency, probe: false }, now)
        })?;
    }
    Ok(())
}

fn endpoint(index: u8, heaviest: u32) -> EndpointModel {
    EndpointModel { weight: 1 + u32::from(index) % heaviest, ..EndpointModel::at(([10, 0, 0, index], 80).into()) }
}

fn pick(balancing: Balancing, count: u8, heaviest: u32) -> std::io::Result<()> {
    let name = name("shop/catalog/http");
    let endpoints = (0..count).map(|index| endpoint(index, heaviest)).collect();
    let assignment = Assignment::try_new(name.clone(), endpoints).expect("distinct addresses");
    let model = ClusterModel { balancing, ..ClusterModel::new(name.clone(), Discovery::Eds(name)) };
    let now = Instant::now();
    let cluster = Cluster::new(model, Some(&assignment), None, Setting { workers: 1, seed: 0, now });
    for endpoint in cluster.picker().endpoints() {
        endpoint.load.begin();
        endpoint.load.end(now, Some(Duration::from_millis(5)));
    }
    let (mut rng, mut key, later) = (fastrand::Rng::with_seed(1), 0_u64, now + Duration::from_millis(7));
    let method = format!("{balancing:?}");
    let method = method.split_whitespace().next().unwrap_or_default();
    measure(&format!("pick: {method}, {count} of weights up to {heaviest}"), || {
        key = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
        cluster.pick(Some(key), &[], later, &mut rng)
    })
}

/// The route of a request in a table of 100 services with four names each, from the snapshot on.
fn find() -> std::io::Result<()> {
    let host = |index: u32| {
        let names = ["", ".shop", ".shop.svc", ".shop.svc.cluster.local"];
        let domains = names.iter().map(|rest| Domain::Exact(format!("service-{index}{rest}").into())).collect();
        let route = RouteModel::forward("HTTPRoute shop/all/rule-0", name("shop/catalog/http"));
        VirtualHost { name: index.to_string().into(), domains, routes: vec![route], counts: Default::default() }
    };
    let listener = Listener {
        name: name("outbound/shop/storefront-1/15001"),
        address: ([127, 0, 0, 1], 15001).into(),
        direction: Direction::Outbound,
        table: TableSource::Rds(name("outbound/shop")),
        identity: None,
        telemetry: Telemetry::default(),
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    };
    let entrance = listener.name.clone();
    let table = RouteTable { name: name("outbound/shop"), hosts: (0..100).map(host).collect() };
    let set: ResourceSet = [Resource::Listener(listener), Resource::Table(table)].into_iter().collect();
    let context = Context { workers: 1, metrics: Arc::default(), seed: 0, now: Instant::now() };
    let snapshots = Snapshots::new();
    snapshots.store(Arc::new(compile(&set, None, &context)));
    let (method, headers) = (Method::GET, HeaderMap::new());
    let authority = "service-77.shop.svc.cluster.local";
    let facts = Facts { authority, path: "/a/b", query: None, method: &method, headers: &headers, grpc: false };
    measure("route: snapshot, table, host and route", || {
        let snapshot = snapshots.load();
        match snapshot.table_for(&entrance).map(|table| table.find(&facts)) {
            Some(Found::Route(route)) => Some(Arc::clone(route)),
            _ => None,
        }
    })
}
