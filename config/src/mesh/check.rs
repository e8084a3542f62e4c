//! What documents mean together: conflicts, timeouts of different documents, and what is probably not meant.

use std::collections::{BTreeMap, BTreeSet};

use super::backend::served;
use super::effective::{RuleRef, Sending, sending};
use super::finding::Findings;
use super::index::{Index, Known};
use crate::document::{Kind, Service, ServicePort, Workload};
use crate::error::{Code, Problem};
use crate::name::ObjectName;
use crate::policy::fault::Scope;
use crate::policy::{Fault, Mode, Retry};
use crate::value::format_duration;

/// Holds documents against each other that refer to one another rightly.
pub(super) fn check(index: &Index, findings: &mut Findings<'_>) {
    for (name, known) in &index.services {
        for port in &known.spec.ports {
            check_route_kinds(index, name, port, findings);
            check_timeouts(index, name, port, findings);
            check_ends(index, name, port, findings);
        }
        warn_service(index, name, known, findings);
    }
    for (name, known) in &index.workloads {
        check_limits(index, name, &known.spec, findings);
        if index.members.services(name).is_empty() && known.spec.outbound.is_empty() {
            let reason = "no Service selects it and it calls nothing; does it have the labels it should?";
            findings.note_at_root(known.document, Problem::new(Code::Suspicious, reason).at_field("metadata"));
        }
    }
    check_budgets(index, findings);
    check_mesh_policies(index, findings);
}

/// A budget that no retry fits into does the same as no retries, and says it less clearly.
fn check_budgets(index: &Index, findings: &mut Findings<'_>) {
    for known in index.backend_policies.values() {
        let Some(budget) = known.spec.budget.filter(|one| one.min_concurrent == 0 && one.min_per_second == 0) else {
            continue;
        };
        let problem = match budget.percent.millionths() {
            0 => {
                let reason = "is smaller than one retry; attempts: 0 of a RoutePolicy says that nothing is retried";
                Problem::new(Code::Conflict, reason)
            }
            millionths => {
                let (requests, interval) = (1_000_000_u32.div_ceil(millionths), format_duration(budget.interval));
                let reason = format!(
                    "is smaller than one retry until {requests} requests came within {interval}; minConcurrent or \
                     minRetryRate would always allow one"
                );
                Problem::new(Code::Suspicious, reason)
            }
        };
        findings.note(known.document, problem.at_field("retryConstraint"));
    }
}

/// HTTPRoutes and GRPCRoutes of one namespace do not mix on one port: neither says how it ranks beside the other.
fn check_route_kinds(index: &Index, name: &ObjectName, port: &ServicePort, findings: &mut Findings<'_>) {
    let attachments = index.attachments.get(name).into_iter().flatten().filter(|one| one.takes(port));
    let mut first: BTreeMap<&str, (Kind, &ObjectName)> = BTreeMap::new();
    for one in attachments {
        let (kind, route) = &one.route;
        let (first_kind, first_route) = *first.entry(route.namespace()).or_insert((*kind, route));
        if first_kind != *kind
            && let Some(known) = index.routes.get(&one.route)
        {
            let port = format!("port {} of {name}", port.port);
            let reason = format!("{port} has the {first_kind} {first_route} already; it can have routes of one kind");
            let problem = Problem::new(Code::Conflict, reason).at_index(one.parent).at_field("parentRefs");
            findings.note(known.document, problem);
        }
    }
}

/// A rule without backends must answer by itself.
fn check_ends(index: &Index, name: &ObjectName, port: &ServicePort, findings: &mut Findings<'_>) {
    let attachments = index.attachments.get(name).into_iter().flatten().filter(|one| one.takes(port));
    let routes = attachments.filter_map(|one| Some((&one.route, index.routes.get(&one.route)?)));
    for rule in routes.flat_map(|(route, known)| RuleRef::all(route, known)) {
        let policies = index.route_policy(Some(rule), name, port);
        let answered =
            rule.rule.filters.redirect.is_some() || policies.acting().is_some_and(|policy| policy.response.is_some());
        let inner = |fault: &Fault| fault.scope == Scope::Attempt;
        for known in policies.each().filter(|known| answered && known.spec.fault.as_ref().is_some_and(inner)) {
            let reason = format!("{rule} answers by itself, so that there is never an attempt to meet the fault");
            findings.note(known.document, Problem::new(Code::Suspicious, reason).at_field("scope").at_field("fault"));
        }
        if rule.rule.backends.is_empty() && !answered {
            let reason = "is required, unless the rule has a RequestRedirect or a RoutePolicy with a directResponse";
            let problem = Problem::new(Code::MissingField, reason).at_field("backendRefs");
            findings.note(rule.document, problem.at_index(rule.number).at_field("rules"));
        }
    }
}

/// The route's request timeout and the policy's per-try timeout may stand in different documents.
fn check_timeouts(index: &Index, name: &ObjectName, port: &ServicePort, findings: &mut Findings<'_>) {
    let attachments = index.attachments.get(name).into_iter().flatten().filter(|one| one.takes(port));
    let routes = attachments.filter_map(|one| Some((&one.route, index.routes.get(&one.route)?)));
    let rules = routes.flat_map(|(route, known)| RuleRef::all(route, known));
    for rule in rules.map(Some).chain([None]) {
        let policies = index.route_policy(rule, name, port);
        let Sending { retry, rehearsed_retry, timeouts } = sending(rule.map(|rule| rule.rule), &policies);
        for policy in policies.each() {
            let of_policy = |retry: &&Retry| retry.mode == policy.spec.mode;
            let retry = [&retry, &rehearsed_retry].into_iter().flatten().find(of_policy);
            let Some(problem) = timeouts.check(retry).err().or_else(|| timeouts.leaves_no_time(retry)) else {
                continue;
            };
            // The document with the inner timeout is the one to look at.
            match rule {
                Some(rule) if problem.path.starts_with("timeouts.backendRequest") => {
                    findings.note(rule.document, problem.at_index(rule.number).at_field("rules"));
                }
                Some(rule) => {
                    let reason = format!("{}, which holds for {rule}", problem.reason);
                    findings.note(policy.document, Problem { reason, ..problem });
                }
                None => findings.note(policy.document, problem),
            }
        }
    }
}

/// A sidecar's inbound port cannot tell which of several services was called, so only one of them may limit it, and one
/// rehearse a limit.
fn check_limits(index: &Index, name: &ObjectName, workload: &Workload, findings: &mut Findings<'_>) {
    let ports = workload.ports.iter().filter(|port| port.app_port.is_some());
    for (port, mode) in ports.flat_map(|port| [(port, Mode::Enforce), (port, Mode::Observe)]) {
        let services = index.members.services(name).iter();
        let limits = services.filter_map(|service| {
            let port = index.services.get(service)?.spec.port_named(&port.name)?;
            index.service_limit(service, port).each().find(|known| known.spec.limit.mode == mode)
        });
        let distinct: BTreeMap<usize, &Known<_>> = limits.map(|known| (known.document, known)).collect();
        let origins: Vec<_> = distinct.values().map(|known| known.spec.limit.origin.to_string()).collect();
        if let [first, .., last] = &origins[..]
            && let Some(document) = distinct.keys().next_back()
        {
            let reason = format!("{first} and {last} both limit port {} of Workload {name}", port.name);
            findings.note(*document, Problem::new(Code::Conflict, reason).at_field("targetRefs"));
        }
    }
}

fn warn_service(index: &Index, name: &ObjectName, known: &Known<Service>, findings: &mut Findings<'_>) {
    let mut warn = |reason: String, field: &str| {
        findings.note(known.document, Problem::new(Code::Suspicious, reason).at_field(field));
    };
    let workloads = index.members.workloads(name);
    if workloads.is_empty() {
        warn("no Workload has these labels, so that every call to the service fails".into(), "selector");
        return;
    }
    let everywhere: BTreeSet<&str> =
        workloads.iter().flat_map(|workload| served(index, &known.spec, workload)).map(|port| &*port.name).collect();
    for (number, port) in known.spec.ports.iter().enumerate() {
        if !everywhere.contains(&*port.name) {
            warn(format!("no Workload behind the service has a port {:?}", port.name), &format!("ports[{number}]"));
        }
        let bare = |workload: &&ObjectName| {
            let known = index.workloads.get(*workload);
            known.and_then(|known| known.spec.port_named(&port.name)).is_some_and(|port| port.app_port.is_none())
        };
        let Some(workload) = workloads.iter().find(bare) else { continue };
        for limit in index.service_limit(name, port).each() {
            let origin = &limit.spec.limit.origin;
            let reason = format!("{origin} does not hold for Workload {workload}, whose port has no sidecar (appPort)");
            warn(reason, &format!("ports[{number}]"));
        }
    }
}

fn check_mesh_policies(index: &Index, findings: &mut Findings<'_>) {
    let mut first: BTreeMap<&str, &ObjectName> = BTreeMap::new();
    for (name, known) in &index.mesh_policies {
        let owner = *first.entry(name.namespace()).or_insert(name);
        if owner != name {
            let reason = format!("the namespace has the MeshPolicy {owner} already, and there can be one");
            let problem = Problem::new(Code::Conflict, reason).at_field("name").at_field("metadata");
            findings.note_at_root(known.document, problem);
        }
    }
}
