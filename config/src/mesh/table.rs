//! Tables: which request goes where, as a namespace sees it.

use std::sync::Arc;

use super::effective::{RuleRef, retry_and_timeouts};
use super::host::hosts;
use super::index::{Attachment, Index, Known};
use super::name;
use super::precedence::Precedence;
use crate::document::{BackendRef, Rule, Service, ServicePort};
use crate::matching::RouteMatch;
use crate::name::{Domain, ObjectName};
use crate::policy::Origin;
use crate::route::{Backend, HashKey, Route, RouteTable, VirtualHost};

/// The table of every service, one virtual host for each port.
pub(super) fn outbound(index: &Index, namespace: &str) -> RouteTable {
    let of_service = |(name, service): (&ObjectName, &Known<Service>)| {
        let of_port = |port: &ServicePort| VirtualHost {
            name: format!("{name}/{}", port.name).into(),
            domains: hosts(name, &service.spec, port, namespace).iter().map(|host| exact(host)).collect(),
            routes: routes(index, namespace, name, port),
        };
        service.spec.ports.iter().map(of_port).collect::<Vec<_>>()
    };
    let hosts = index.services.iter().flat_map(of_service).collect();
    RouteTable { name: name::outbound_table(namespace), hosts }
}

/// The table of one port of a service, whatever host is named.
pub(super) fn service(index: &Index, namespace: &str, name: &ObjectName, port: &ServicePort) -> RouteTable {
    let routes = routes(index, namespace, name, port);
    let host = VirtualHost { name: format!("{name}/{}", port.name).into(), domains: vec![Domain::Any], routes };
    RouteTable { name: name::service_table(name, port), hosts: vec![host] }
}

/// A match of a rule, and where it stands.
pub(super) struct Candidate<'a> {
    precedence: Precedence,
    pub(super) rule: RuleRef<'a>,
    /// Which of the rule's matches it is.
    pub(super) entry: usize,
    pub(super) matches: &'a RouteMatch,
}

/// The matches that hold for one port of a service as a namespace sees it, in the order they are tried; nothing when no
/// route is for it.
///
/// Routes of the service's own namespace are for every caller. Those of another are for callers there, and where there
/// are some, the others do not count.
pub(super) fn candidates<'a>(
    index: &'a Index,
    namespace: &str,
    name: &ObjectName,
    port: &ServicePort,
) -> Option<Vec<Candidate<'a>>> {
    let all = index.attachments.get(name).map_or(&[][..], Vec::as_slice);
    let of = |namespace: &str| -> Vec<&'a Attachment> {
        all.iter().filter(|one| one.route.1.namespace() == namespace && one.takes(port)).collect()
    };
    let mut chosen = of(namespace);
    if chosen.is_empty() {
        chosen = of(name.namespace());
    }
    // A route may have the same port as its parent twice, by number and by name.
    chosen.dedup_by(|a, b| a.route == b.route);
    let found: Vec<_> = chosen.iter().filter_map(|one| Some((&one.route, index.routes.get(&one.route)?))).collect();
    let rules = found.iter().flat_map(|(route, known)| RuleRef::all(route, known));
    let mut candidates: Vec<Candidate<'a>> = rules.flat_map(Candidate::of_rule).collect();
    candidates.sort_by(|a, b| a.precedence.cmp(&b.precedence));
    (!found.is_empty()).then_some(candidates)
}

impl<'a> Candidate<'a> {
    fn of_rule(rule: RuleRef<'a>) -> impl Iterator<Item = Self> {
        rule.rule.matches.iter().enumerate().map(move |(entry, matches)| {
            let precedence = Precedence::new(matches, &rule.route.1, rule.number, entry);
            Candidate { precedence, rule, entry, matches }
        })
    }
}

/// The routes of one port of a service, in order. Without any for it, everything goes to the service itself; with some,
/// what none of them takes is not found.
fn routes(index: &Index, namespace: &str, name: &ObjectName, port: &ServicePort) -> Vec<Route> {
    match candidates(index, namespace, name, port) {
        None => vec![default_route(index, name, port)],
        Some(candidates) => candidates.iter().map(|candidate| route(index, name, port, candidate)).collect(),
    }
}

fn default_route(index: &Index, name: &ObjectName, port: &ServicePort) -> Route {
    let policy = index.route_policy(None, name, port).map(|known| &known.spec);
    let (retry, timeouts) = retry_and_timeouts(None, policy);
    let origin = Origin(Arc::from(format!("Service {name}")));
    let hash = hash_keys(index, name, port);
    let forward = Route::forward(&format!("Service {name}/{}", port.name), name::cluster(name, port));
    Route { origin, timeouts, retry, hash, ..forward }
}

fn route(index: &Index, name: &ObjectName, port: &ServicePort, candidate: &Candidate<'_>) -> Route {
    let RuleRef { route: (kind, route), rule, .. } = candidate.rule;
    let policy = index.route_policy(Some(candidate.rule), name, port).map(|known| &known.spec);
    let (retry, timeouts) = retry_and_timeouts(Some(rule), policy);
    let backends = backends(index, rule);
    Route {
        name: candidate.rule.to_string().into(),
        origin: Origin(Arc::from(format!("{kind} {route}"))),
        matches: candidate.matches.clone(),
        backends: backends.iter().map(|(backend, _)| backend.clone()).collect(),
        timeouts,
        retry,
        rate_limit: index.route_limit(candidate.rule).map(|known| known.spec.limit.clone()),
        hash: backends.into_iter().flat_map(|(_, keys)| keys).fold(Vec::new(), with),
    }
}

/// The backends of a rule, each with what its service hashes by. A port named twice in a rule is one backend.
fn backends(index: &Index, rule: &Rule) -> Vec<(Backend, Vec<HashKey>)> {
    let mut backends: Vec<(Backend, Vec<HashKey>)> = Vec::new();
    for (reference, port) in rule.backends.iter().filter_map(|one| Some((one, backend_port(index, one)?))) {
        let cluster = name::cluster(&reference.service, port);
        match backends.iter_mut().find(|(backend, _)| backend.cluster == cluster) {
            Some((backend, _)) => backend.weight = backend.weight.saturating_add(reference.weight),
            None => {
                let keys = hash_keys(index, &reference.service, port);
                backends.push((Backend { cluster, weight: reference.weight }, keys));
            }
        }
    }
    backends
}

/// The service's port that a backend reference names.
pub(super) fn backend_port<'a>(index: &'a Index, reference: &BackendRef) -> Option<&'a ServicePort> {
    index.services.get(&reference.service)?.spec.port_numbered(reference.port)
}

fn hash_keys(index: &Index, name: &ObjectName, port: &ServicePort) -> Vec<HashKey> {
    index.backend_policy(name, port).map(|known| known.spec.load_balancing.hash.clone()).unwrap_or_default()
}

fn with(mut keys: Vec<HashKey>, key: HashKey) -> Vec<HashKey> {
    if !keys.contains(&key) {
        keys.push(key);
    }
    keys
}

fn exact(host: &str) -> Domain {
    Domain::Exact(host.into())
}
