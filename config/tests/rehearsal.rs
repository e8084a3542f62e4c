//! A policy in Observe beside ones that act: whatever it is for and says, what acts stays as it was.
#![allow(missing_docs)]

use std::fmt::Write;

use outrigger_config::cluster::Cluster;
use outrigger_config::document::parse;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use outrigger_config::policy::{Limits, Mode, Outlier};
use outrigger_config::resource::Resource;
use outrigger_config::route::Route;

const SHOP: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {address: 10.0.0.1, ports: [{name: http, port: 8080, appPort: 18080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{name: only, backendRefs: [{name: web, port: 80}]}]
";

/// From the nearest to the widest.
const TARGETS: [&str; 4] = [
    "{kind: HTTPRoute, name: web, sectionName: only}",
    "{kind: HTTPRoute, name: web}",
    "{kind: Service, name: web, sectionName: http}",
    "{kind: Service, name: web}",
];

/// A policy of this kind for a target, if that kind can have it.
fn policy(kind: &str, mode: Mode, place: usize) -> Option<String> {
    let spec = match kind {
        "RoutePolicy" => "retry: {attempts: 5}, fault: {abort: {status: 503, percent: 1}}",
        "RateLimitPolicy" => "rules: [{name: all, limit: {requests: 1, interval: 1s}}]",
        "BackendPolicy" if place < 2 => return None,
        "BackendPolicy" => "limits: {maxRequests: 1}, outlierDetection: {consecutiveErrors: 1}",
        other => panic!("{other}"),
    };
    let name = format!("{mode:?}-{place}").to_lowercase();
    Some(format!(
        "---\napiVersion: outrigger.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{mode: {mode:?}, targetRefs: [{}], {spec}}}\n",
        TARGETS[place]
    ))
}

/// The resources of the shop with policies of all kinds where `modes` wants them.
fn resources(wanted: impl Fn(usize, Mode) -> bool) -> Vec<Resource> {
    let mut text = SHOP.to_owned();
    for kind in ["RoutePolicy", "RateLimitPolicy", "BackendPolicy"] {
        for (place, mode) in (0..TARGETS.len()).flat_map(|place| [(place, Mode::Enforce), (place, Mode::Observe)]) {
            let policy = wanted(place, mode).then(|| policy(kind, mode, place)).flatten();
            text.write_str(policy.as_deref().unwrap_or_default()).expect("a string takes all");
        }
    }
    let mesh =
        parse(&text, "shop.yaml").and_then(Mesh::try_new).unwrap_or_else(|problems| panic!("{problems}\n{text}")).0;
    let mut resources = mesh.shared("shop");
    resources.extend(mesh.own(&ObjectName::parse("shop/web-1").expect("a name")));
    resources
}

fn acts(limits: &Limits) -> bool {
    limits.mode.enforces()
}

/// A resource without what is only observed.
fn acting(resource: &Resource) -> Resource {
    let route = |route: &mut Route| {
        route.rehearsed = Default::default();
        route.retry = route.retry.take().filter(|policy| policy.mode.enforces());
        route.fault = route.fault.take().filter(|policy| policy.mode.enforces());
        route.rate_limit = route.rate_limit.take().filter(|policy| policy.mode.enforces());
    };
    let mut resource = resource.clone();
    match &mut resource {
        Resource::Table(table) => table.hosts.iter_mut().flat_map(|host| &mut host.routes).for_each(route),
        Resource::Cluster(cluster) => {
            cluster.rehearsed = Default::default();
            cluster.limits = cluster.limits.take().filter(acts);
            cluster.outlier = cluster.outlier.take().filter(Outlier::enforces);
        }
        _ => {}
    }
    resource
}

/// Where the policy stands whose origin this is, if it is in Observe.
fn observed<'a>(origins: impl IntoIterator<Item = Option<&'a str>>) -> Option<usize> {
    let place = |origin: &str| Some(origin.rsplit_once("/observe-")?.1.parse().expect("a number"));
    origins.into_iter().flatten().find_map(place)
}

/// The places of the observed policies of a route and of a cluster: retry, fault, rate limit; limits, outlier detection.
fn observed_of_route(route: &Route) -> [Option<usize>; 3] {
    let Route { retry, fault, rate_limit, rehearsed, .. } = route;
    [
        observed([retry, &rehearsed.retry].map(|one| one.as_ref().map(|one| &*one.origin.0))),
        observed([fault, &rehearsed.fault].map(|one| one.as_ref().map(|one| &*one.origin.0))),
        observed([rate_limit, &rehearsed.rate_limit].map(|one| one.as_ref().map(|one| &*one.origin.0))),
    ]
}

fn observed_of_cluster(cluster: &Cluster) -> [Option<usize>; 2] {
    let Cluster { limits, outlier, rehearsed, .. } = cluster;
    [
        observed([limits, &rehearsed.limits].map(|one| one.as_ref().map(|one| &*one.origin.0))),
        observed([outlier, &rehearsed.outlier].map(|one| one.as_ref().map(|one| &*one.origin.0))),
    ]
}

#[test]
fn what_is_observed_leaves_what_acts_as_it_was() {
    // Each target has none, one that acts, one that is observed, or both.
    for choice in 0..4_usize.pow(4) {
        let has = |place: usize, mode: Mode| choice >> (2 * place) & if mode.enforces() { 1 } else { 2 } != 0;
        let (with, without) = (resources(has), resources(|place, mode| mode.enforces() && has(place, mode)));
        assert_eq!(with.len(), without.len());
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(acting(with), acting(without), "{choice:#x}");
        }
        // The nearest in Observe is rehearsed, unless one that acts is nearer.
        let rehearsed = |places: std::ops::Range<usize>| {
            let first = |mode| places.clone().find(|place| has(*place, mode));
            first(Mode::Observe).filter(|place| first(Mode::Enforce).is_none_or(|acting| *place <= acting))
        };
        for resource in &with {
            match resource {
                Resource::Table(table) if table.name.as_str() == "service/shop/web/http" => {
                    let [retry, fault, limit] = observed_of_route(&table.hosts[0].routes[0]);
                    assert_eq!((retry, fault), (rehearsed(0..4), rehearsed(0..4)), "{choice:#x}");
                    assert_eq!(limit, rehearsed(0..2), "{choice:#x}");
                }
                Resource::Table(table) if table.name.as_str().starts_with("inbound") => {
                    assert_eq!(
                        observed_of_route(&table.hosts[0].routes[0]),
                        [None, None, rehearsed(2..4)],
                        "{choice:#x}"
                    );
                }
                Resource::Cluster(cluster) if cluster.name.as_str() == "service/shop/web/http" => {
                    assert_eq!(observed_of_cluster(cluster), [rehearsed(2..4); 2], "{choice:#x}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_must_act_to_be_seen_is_not_observed() {
    for (kind, part, path) in [
        ("RoutePolicy", "timeouts: {request: 1s}", "spec.timeouts"),
        ("RoutePolicy", "stickyOn: [{sourceIp: true}]", "spec.stickyOn"),
        ("RoutePolicy", "directResponse: {status: 503}", "spec.directResponse"),
        ("RoutePolicy", "retry: {attempts: 0}", "spec.retry"),
        ("BackendPolicy", "loadBalancing: {algorithm: Random}", "spec.loadBalancing"),
        ("BackendPolicy", "retryConstraint: {budget: {percent: 1}}", "spec.retryConstraint"),
        ("BackendPolicy", "timeouts: {connect: 1s}", "spec.timeouts"),
        ("BackendPolicy", "limits: {mode: Enforce, maxRequests: 1}", "spec.limits"),
        ("BackendPolicy", "outlierDetection: {mode: Enforce}", "spec.outlierDetection"),
        ("BackendPolicy", "admissionControl: {mode: Enforce}", "spec.admissionControl"),
        ("BackendPolicy", "outlierDetection: {latency: {mode: Enforce}}", "spec.outlierDetection"),
    ] {
        let text = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p, namespace: shop}}\n\
             spec: {{mode: Observe, targetRefs: [{{kind: Service, name: web}}], {part}}}\n"
        );
        let problems = parse(&text, "p.yaml").expect_err(part).0;
        assert_eq!(problems[0].path, path, "{part}: {problems:?}");
    }
}
