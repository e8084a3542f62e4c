//! Tables: which request goes where, as a namespace sees it.

use std::sync::Arc;

use super::effective::{RuleRef, Sending, sending};
use super::host::hosts;
use super::index::{Attachment, Index, Known};
use super::precedence::Precedence;
use super::{name, subset};
use crate::document::{BackendRef, MirrorRef, RoutePolicy, Rule, Service, ServicePort};
use crate::matching::RouteMatch;
use crate::name::{Domain, ObjectName};
use crate::policy::{Origin, Session};
use crate::rewrite::{Answer, Redirect, Scheme};
use crate::route::{AttemptCounts, Backend, HashKey, Mirror, Rehearsed, Route, RouteTable, VirtualHost};

/// The table of every service, one virtual host for each port.
pub(super) fn outbound(index: &Index, namespace: &str) -> RouteTable {
    let of_service = |(name, service): (&ObjectName, &Known<Service>)| {
        let of_port = |port: &ServicePort| VirtualHost {
            name: format!("{name}/{}", port.name).into(),
            domains: hosts(name, &service.spec, port, namespace).iter().map(|host| exact(host)).collect(),
            routes: routes(index, namespace, name, port),
            counts: AttemptCounts::default(),
        };
        service.spec.ports.iter().map(of_port).collect::<Vec<_>>()
    };
    let hosts = index.services.iter().flat_map(of_service).collect();
    RouteTable { name: name::outbound_table(namespace), hosts }
}

/// The table of one port of a service, whatever host is named.
pub(super) fn service(index: &Index, namespace: &str, name: &ObjectName, port: &ServicePort) -> RouteTable {
    let routes = routes(index, namespace, name, port);
    let (host, counts) = (format!("{name}/{}", port.name), AttemptCounts::default());
    let host = VirtualHost { name: host.into(), domains: vec![Domain::Any], routes, counts };
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
            let precedence = Precedence::new(matches, (rule.created, &rule.route.1), rule.number, entry);
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
    let policies = index.route_policy(None, name, port);
    let route_name = format!("Service {name}/{}", port.name);
    let origin = Origin(Arc::from(format!("Service {name}")));
    let (fault, rehearsed_fault) = policies.part(|policy| policy.fault.clone());
    let rehearsed = Rehearsed { fault: rehearsed_fault, ..Rehearsed::default() };
    if let Some(response) = policies.acting().and_then(|policy| policy.response.as_ref()) {
        let answering = Route::answering(&route_name, Answer::Direct(response.clone()));
        return Route { origin, fault, rehearsed, ..answering };
    }
    let Sending { retry, rehearsed_retry, timeouts } = sending(None, &policies);
    let hash = hash_keys(index, name, port);
    let (cache, rehearsed_cache) = policies.part(|policy| policy.cache.clone());
    let session = session(index, name, port);
    let mut forward = Route::forward(&route_name, name::cluster(name, port));
    let asked = subset::asked(policies.acting(), None);
    forward.backends.iter_mut().for_each(|backend| backend.subset.clone_from(&asked));
    let rehearsed = Rehearsed { retry: rehearsed_retry, cache: rehearsed_cache, ..rehearsed };
    let priority = policies.acting().map(|policy| policy.priority).unwrap_or_default();
    Route { origin, timeouts, retry, fault, cache, hash, rehearsed, session, priority, ..forward }
}

fn route(index: &Index, name: &ObjectName, port: &ServicePort, candidate: &Candidate<'_>) -> Route {
    let RuleRef { route: (kind, route), rule, .. } = candidate.rule;
    let policies = index.route_policy(Some(candidate.rule), name, port);
    let policy = policies.acting();
    let (fault, rehearsed_fault) = policies.part(|policy| policy.fault.clone());
    let (rate_limit, rehearsed_limit) = index.route_limit(candidate.rule).part(|policy| policy.rules().cloned());
    let rehearsed = Rehearsed { fault: rehearsed_fault, rate_limit: rehearsed_limit, ..Rehearsed::default() };
    let common = Route {
        origin: Origin(Arc::from(format!("{kind} {route}"))),
        matches: candidate.matches.clone(),
        headers: rule.filters.headers.clone(),
        fault,
        rate_limit,
        rehearsed,
        ..Route::bare(&candidate.rule.to_string())
    };
    // A policy's answer stands in the place of whatever the rule does: a service can be closed as a whole.
    let direct = policy.and_then(|policy| policy.response.clone()).map(Answer::Direct);
    let redirect = rule.filters.redirect.as_ref().map(|redirect| Answer::Redirect(with_port(redirect, port)));
    if let Some(answer) = direct.or(redirect) {
        return Route { answer: Some(answer), ..common };
    }
    let Sending { retry, rehearsed_retry, timeouts } = sending(Some(rule), &policies);
    let backends = backends(index, rule, policy);
    let (cache, rehearsed_cache) = policies.part(|policy| policy.cache.clone());
    Route {
        backends: backends.iter().map(|(backend, _)| backend.clone()).collect(),
        answer: None,
        sticky: policy.map(|policy| policy.sticky.clone()).unwrap_or_default(),
        mirrors: rule.filters.mirrors.iter().filter_map(|mirror| mirror_of(index, mirror)).collect(),
        rewrite: rule.filters.rewrite.clone(),
        timeouts,
        retry,
        rehearsed: Rehearsed { retry: rehearsed_retry, cache: rehearsed_cache, ..common.rehearsed },
        cache,
        priority: policy.map(|policy| policy.priority).unwrap_or_default(),
        // One cookie for all of a rule's backends: it names an endpoint, and with it the backend.
        session: ports(index, rule).find_map(|(reference, port)| session(index, &reference.service, port)),
        hash: backends.into_iter().flat_map(|(_, keys)| keys).fold(Vec::new(), with),
        ..common
    }
}

fn mirror_of(index: &Index, mirror: &MirrorRef) -> Option<Mirror> {
    let port = index.services.get(&mirror.service)?.spec.port_numbered(mirror.port)?;
    let cluster = name::cluster(&mirror.service, port);
    Some(Mirror { cluster, percent: mirror.percent, subset: mirror.subset.clone() })
}

/// A redirect to another host stays on the port that was asked for, which is the service's, unless it says more
/// (Gateway API, `HTTPRequestRedirectFilter.port`).
fn with_port(redirect: &Redirect, port: &ServicePort) -> Redirect {
    let asked =
        (redirect.host.is_some() && redirect.scheme.is_none() && port.port != Scheme::Http.port()).then_some(port.port);
    Redirect { port: redirect.port.or(asked), ..redirect.clone() }
}

/// The backends of a rule, each with what its service hashes by. A port named twice in a rule is one backend, unless
/// something else is changed on the way to it, or other workloads of it are asked.
fn backends(index: &Index, rule: &Rule, policy: Option<&RoutePolicy>) -> Vec<(Backend, Vec<HashKey>)> {
    let mut backends: Vec<(Backend, Vec<HashKey>)> = Vec::new();
    for (reference, port) in ports(index, rule) {
        let cluster = name::cluster(&reference.service, port);
        let one = Backend {
            headers: reference.filters.headers.clone(),
            subset: subset::asked(policy, Some(reference)),
            ..Backend::new(cluster, reference.weight)
        };
        let same = |other: &Backend| Backend { weight: one.weight, ..other.clone() } == one;
        match backends.iter_mut().find(|(backend, _)| same(backend)) {
            Some((backend, _)) => backend.weight = backend.weight.saturating_add(reference.weight),
            None => {
                let keys = hash_keys(index, &reference.service, port);
                backends.push((one, keys));
            }
        }
    }
    backends
}

fn ports<'a>(index: &'a Index, rule: &'a Rule) -> impl Iterator<Item = (&'a BackendRef, &'a ServicePort)> {
    rule.backends.iter().filter_map(|one| Some((one, backend_port(index, one)?)))
}

fn session(index: &Index, name: &ObjectName, port: &ServicePort) -> Option<Session> {
    index.backend_policy(name, port).acting().and_then(|policy| policy.session.as_deref().cloned())
}

/// The service's port that a backend reference names.
pub(super) fn backend_port<'a>(index: &'a Index, reference: &BackendRef) -> Option<&'a ServicePort> {
    index.services.get(&reference.service)?.spec.port_numbered(reference.port)
}

fn hash_keys(index: &Index, name: &ObjectName, port: &ServicePort) -> Vec<HashKey> {
    index.backend_policy(name, port).acting().map(|policy| policy.load_balancing.hash.clone()).unwrap_or_default()
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
