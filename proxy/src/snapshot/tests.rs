//! What goes on from one snapshot to the next, and what begins anew.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use outrigger_config::cluster::{Balancing, Cluster as ClusterModel, Discovery};
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel};
use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::policy::rate_limit::{GlobalLimit, Scope};
use outrigger_config::policy::{Mode, Origin, Per, Priority, RateLimit, RateLimitRule, Tell};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::route::{Backend, Mirror as MirrorModel, Route as RouteModel, RouteTable, VirtualHost};
use outrigger_config::subset::Criteria;
use outrigger_config::value::Percent;

use super::{Context, ResourceSet, Snapshot, Snapshots, compile};
use crate::route::mirror::MAX_UNDER_WAY;
use crate::route::{Caller, Facts, Found, Route, Verdict};
use crate::telemetry::Metrics;

fn name(text: &str) -> ResourceName {
    ResourceName::try_new(text).expect("a name")
}

fn cluster(text: &str) -> Resource {
    Resource::Cluster(ClusterModel::new(name(text), Discovery::Eds(name(text))))
}

fn assignment(text: &str, ports: &[u16]) -> Resource {
    let endpoint = |port: &u16| EndpointModel::at(([127, 0, 0, 1], *port).into());
    Resource::Assignment(Assignment::try_new(name(text), ports.iter().map(endpoint).collect()).expect("an assignment"))
}

fn listener(text: &str, table: &str) -> Resource {
    Resource::Listener(Listener {
        name: name(text),
        address: ([127, 0, 0, 1], 15001).into(),
        direction: Direction::Outbound,
        table: TableSource::Rds(name(table)),
        identity: None,
        telemetry: Telemetry::default(),
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    })
}

fn limit(origin: &str, requests: u32) -> RateLimit {
    let interval = Duration::from_secs(3600);
    let (per, max_keys, scope) = (Per::Total, RateLimitRule::DEFAULT_KEYS, Scope::Proxy);
    let rule = RateLimitRule {
        name: "all".into(),
        matches: Vec::new(),
        requests,
        interval,
        burst: requests,
        per,
        max_keys,
        scope,
    };
    let origin = Origin(origin.into());
    let (headers, tell, global) = (Vec::new(), Tell::default(), GlobalLimit::default());
    RateLimit { origin, mode: Mode::Enforce, rules: vec![rule], status: 429, headers, tell, global }
}

fn table(text: &str, clusters: &[&str], limit: Option<RateLimit>) -> Resource {
    let backends = clusters.iter().map(|cluster| Backend::new(name(cluster), 1)).collect();
    let route = RouteModel { backends, rate_limit: limit, ..RouteModel::forward("rule-0", name(clusters[0])) };
    let host =
        VirtualHost { name: "all".into(), domains: vec![Domain::Any], routes: vec![route], counts: Default::default() };
    Resource::Table(RouteTable { name: name(text), hosts: vec![host] })
}

fn shop() -> ResourceSet {
    [cluster("a"), assignment("a", &[1, 2]), cluster("b"), listener("in", "t"), table("t", &["a"], None)]
        .into_iter()
        .collect()
}

fn build(set: &ResourceSet, previous: Option<&Snapshot>) -> Snapshot {
    let context = Context { workers: 1, metrics: Arc::new(Metrics::default()), seed: 7, now: Instant::now() };
    compile(set, previous, &context)
}

fn route(snapshot: &Snapshot) -> Arc<Route> {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let facts = Facts { authority: "", path: "/", query: None, method: &method, headers: &headers, grpc: false };
    match snapshot.table_for(&name("in")).expect("a table").find(&facts) {
        Found::Route(route) => Arc::clone(route),
        other => panic!("{other:?}"),
    }
}

fn allowed(snapshot: &Snapshot, tries: usize) -> usize {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let facts = Facts { authority: "", path: "/", query: None, method: &method, headers: &headers, grpc: false };
    let caller = Caller { headers: &headers, address: IpAddr::from([127, 0, 0, 1]), workload: None };
    let route = route(snapshot);
    let limiter = route.limiter.as_ref().expect("a limiter");
    (0..tries).filter(|_| limiter.check(|| facts, &caller, Instant::now()) == Verdict::Allowed).count()
}

#[test]
fn the_number_grows_and_readers_see_the_latest() {
    let snapshots = Snapshots::new();
    assert_eq!((snapshots.load().number, snapshots.load().clusters().count()), (0, 0));
    let reader = snapshots.clone();
    for number in 1..4 {
        let next = build(&shop(), Some(&snapshots.load()));
        snapshots.store(Arc::new(next));
        assert_eq!(reader.load().number, number);
    }
}

#[test]
fn what_did_not_change_is_the_same() {
    let mut set = shop();
    let first = build(&set, None);
    set.insert(table("t", &["b"], None));
    let second = build(&set, Some(&first));
    for cluster in ["a", "b"].map(name) {
        assert!(Arc::ptr_eq(first.cluster(&cluster).expect("before"), second.cluster(&cluster).expect("after")));
    }
    assert!(Arc::ptr_eq(&first.listeners[0], &second.listeners[0]));
    assert_eq!(route(&second).targets.as_ref().expect("targets").iter().next().expect("a target").name, name("b"));
    // Who still holds the old route reaches the old destination.
    assert_eq!(route(&first).targets.as_ref().expect("targets").iter().next().expect("a target").name, name("a"));
}

#[test]
fn a_changed_cluster_keeps_its_endpoints_by_address() {
    let mut set = shop();
    let first = build(&set, None);
    let model = ClusterModel { balancing: Balancing::Random, ..set.clusters[&name("a")].clone() };
    set.insert(Resource::Cluster(model));
    set.insert(assignment("a", &[2, 3]));
    let second = build(&set, Some(&first));
    let (old, new) = (first.cluster(&name("a")).expect("before"), second.cluster(&name("a")).expect("after"));
    assert!(
        !Arc::ptr_eq(old, new)
            && Arc::ptr_eq(&old.budget, &new.budget)
            && Arc::ptr_eq(old.limits(Priority::Default), new.limits(Priority::Default))
    );
    let ports: Vec<_> = new.picker().endpoints().iter().map(|endpoint| endpoint.address.port()).collect();
    assert_eq!(ports, [2, 3]);
    assert!(Arc::ptr_eq(&old.picker().endpoints()[1], &new.picker().endpoints()[0]));
}

#[test]
fn endpoints_stay_while_their_assignment_is_on_its_way() {
    let mut set = shop();
    let first = build(&set, None);
    set.remove(ResourceType::Assignment, &name("a"));
    let model = ClusterModel { balancing: Balancing::Random, ..set.clusters[&name("a")].clone() };
    set.insert(Resource::Cluster(model));
    let second = build(&set, Some(&first));
    assert_eq!(second.cluster(&name("a")).expect("after").picker().endpoints().len(), 2);
}

#[test]
fn there_are_never_more_copies_than_places_whatever_the_snapshot() {
    let mut set = shop();
    let Resource::Table(mut model) = table("t", &["a"], None) else { panic!("a table") };
    let mirror = MirrorModel { cluster: name("b"), percent: Percent::HUNDRED, subset: Criteria::default() };
    model.hosts[0].routes[0].mirrors = vec![mirror];
    set.insert(Resource::Table(model));
    let first = build(&set, None);
    let enter = |snapshot: &Snapshot| route(snapshot).mirrors[0].enter();
    let mut places: Vec<_> = std::iter::from_fn(|| enter(&first)).take(MAX_UNDER_WAY + 1).collect();
    assert_eq!(places.len(), MAX_UNDER_WAY);
    let model = ClusterModel { balancing: Balancing::Random, ..set.clusters[&name("b")].clone() };
    set.insert(Resource::Cluster(model));
    let second = build(&set, Some(&first));
    assert!(enter(&second).is_none());
    places.pop();
    assert!(enter(&second).is_some());
}

#[test]
fn a_route_may_lead_to_a_cluster_that_is_not_there() {
    let mut set = shop();
    set.remove(ResourceType::Cluster, &name("a"));
    let snapshot = build(&set, None);
    assert!(route(&snapshot).targets.as_ref().expect("targets").iter().all(|target| target.cluster.is_none()));
    assert!(snapshot.table_for(&name("elsewhere")).is_none());
}

#[test]
fn a_limit_of_the_same_numbers_keeps_its_bucket() {
    let mut set = shop();
    set.insert(table("t", &["a"], Some(limit("RateLimitPolicy shop/calm", 5))));
    let first = build(&set, None);
    assert_eq!(allowed(&first, 3), 3);
    set.insert(table("t", &["b"], Some(limit("RateLimitPolicy shop/calm", 5))));
    let second = build(&set, Some(&first));
    assert_eq!(allowed(&second, 9), 2);
    set.insert(table("t", &["b"], Some(limit("RateLimitPolicy shop/calm", 6))));
    let third = build(&set, Some(&second));
    assert_eq!(allowed(&third, 9), 6);
}

#[test]
fn who_is_away_stays_away_over_a_change_of_routes() {
    let mut asking = limit("RateLimitPolicy shop/calm", 5);
    asking.rules[0].scope = Scope::Global;
    let mut set = shop();
    set.insert(table("t", &["a"], Some(asking.clone())));
    let first = build(&set, None);
    let circuit = |snapshot: &Snapshot| Arc::clone(&route(snapshot).globals.as_ref().expect("a global rule").circuit);
    assert!((0..5).any(|_| circuit(&first).failed(0)));
    set.insert(table("t", &["b"], Some(asking)));
    let second = build(&set, Some(&first));
    assert!(circuit(&second).is_open());
    set.insert(table("t", &["b"], Some(limit("RateLimitPolicy shop/calm", 5))));
    assert!(route(&build(&set, Some(&second))).globals.is_none());
}

#[test]
fn routes_share_the_bucket_of_their_policy_and_no_other() {
    let limited = |origin: &str| {
        let mut set = shop();
        for which in ["t", "u"] {
            set.insert(table(which, &["a"], Some(limit(origin, 5))));
        }
        let snapshot = build(&set, None);
        let mut others = set;
        others.insert(listener("in", "u"));
        (allowed(&snapshot, 9), allowed(&build(&others, Some(&snapshot)), 9))
    };
    assert_eq!(limited("RateLimitPolicy shop/calm"), (5, 0));
    assert_eq!(limited(""), (5, 5));
}
