//! Subsets of a service's workloads: what they are made by, which one a rule's backend picks, and whether it is there.

use super::effective::RuleRef;
use super::finding::Findings;
use super::index::{Attachment, Index, Known};
use crate::document::{BackendPolicy, BackendRef, Route, RoutePolicy, ServicePort};
use crate::error::{Code, Problem};
use crate::name::ObjectName;
use crate::subset::{Criteria, Keys, Lead, Metadata, Subsets};
use crate::value::Percent;

/// What mostly asks.
const REQUEST: &str = "request";

/// What a rule's policy and its backend ask of the backend's workloads together.
pub(super) fn asked(policy: Option<&RoutePolicy>, reference: Option<&BackendRef>) -> Criteria {
    let wider = policy.map(|policy| policy.subset.clone()).unwrap_or_default();
    reference.map_or(wider.clone(), |reference| wider.with(&reference.subset))
}

/// How the endpoints of a service's port are divided, and by which policy.
fn divided<'a>(
    index: &'a Index,
    name: &ObjectName,
    port: &ServicePort,
) -> Option<(&'a Known<BackendPolicy>, &'a Subsets)> {
    let known = index.backend_policy(name, port).enforced?;
    known.spec.load_balancing.subsets.as_ref().map(|subsets| (known, subsets))
}

/// By which labels the endpoints of a service's port are divided.
pub(super) fn keys(index: &Index, name: &ObjectName, port: &ServicePort) -> Keys {
    divided(index, name, port).map(|(_, subsets)| subsets.keys()).unwrap_or_default()
}

/// What is known of each workload that has the port.
fn all_known(index: &Index, name: &ObjectName, port: &ServicePort, keys: &Keys) -> Vec<Metadata> {
    let has = |workload: &&ObjectName| {
        index.workloads.get(*workload).is_some_and(|known| known.spec.port_named(&port.name).is_some())
    };
    let workloads = index.members.workloads(name).iter().filter(has);
    workloads.map(|workload| index.members.known(workload, keys)).collect()
}

/// Notes subsets that nobody is in, and references to none.
pub(super) fn check(index: &Index, findings: &mut Findings<'_>) {
    for (name, known) in &index.services {
        for port in &known.spec.ports {
            check_selectors(index, name, port, findings);
            let attached = index.attachments.get(name).into_iter().flatten().filter(|one| one.takes(port));
            let routes: Vec<_> = attached.filter_map(|one| Some((&one.route, index.routes.get(&one.route)?))).collect();
            check_service(index, name, port, findings);
            for rule in routes.iter().flat_map(|(route, known): &(_, &Known<Route>)| RuleRef::all(route, known)) {
                check_rule(index, rule, (name, port), findings);
            }
        }
    }
}

fn check_selectors(index: &Index, name: &ObjectName, port: &ServicePort, findings: &mut Findings<'_>) {
    let Some((policy, subsets)) = divided(index, name, port) else { return };
    let known = all_known(index, name, port, &subsets.keys());
    // That there is nobody at all is said of the service.
    if known.is_empty() {
        return;
    }
    let mut warn = |reason: String, field: &str| {
        let problem = Problem::new(Code::Suspicious, reason).at_field(field);
        findings.note(policy.document, problem.at_field("subsets").at_field("loadBalancing"));
    };
    for (number, selector) in subsets.selectors.iter().enumerate() {
        if !known.iter().any(|metadata| selector.keys.iter().all(|key| metadata.contains_key(key))) {
            let (labels, whose) = (listed(&selector.keys), format!("no Workload behind Service {name} has"));
            let reason = match selector.keys.len() {
                1 => format!("{whose} a label {labels}, so that the selector makes no subset"),
                _ => format!("{whose} all of the labels {labels}, so that the selector makes no subset"),
            };
            warn(reason, &format!("selectors[{number}].keys"));
        }
    }
    if !subsets.default.is_empty() && !known.iter().any(|metadata| subsets.default.fits(metadata, false)) {
        let reason =
            format!("no Workload behind Service {name} has these labels, so that requests that fall back to them fail");
        warn(reason, "defaultSubset");
    }
}

/// What requests get that no route takes up.
fn check_service(index: &Index, name: &ObjectName, port: &ServicePort, findings: &mut Findings<'_>) {
    let Some(policy) = index.route_policy(None, name, port).enforced else { return };
    // Routes of other namespaces leave everybody else with none.
    let own = |one: &Attachment| one.takes(port) && one.route.1.namespace() == name.namespace();
    if index.attachments.get(name).is_some_and(|all| all.iter().any(own)) {
        return;
    }
    if policy.spec.response.is_none()
        && let Some(problem) = missed(index, (REQUEST, &asked(Some(&policy.spec), None)), (name, port))
    {
        findings.note(policy.document, problem.at_field("subset"));
    }
}

fn check_rule(
    index: &Index,
    rule: RuleRef<'_>,
    (name, port): (&ObjectName, &ServicePort),
    findings: &mut Findings<'_>,
) {
    let policy = index.route_policy(Some(rule), name, port).enforced;
    if policy.is_some_and(|policy| policy.spec.response.is_some()) {
        return;
    }
    for (number, reference) in rule.rule.backends.iter().enumerate() {
        let service = index.services.get(&reference.service);
        let Some(port) = service.and_then(|known| known.spec.port_numbered(reference.port)) else { continue };
        let asked = asked(policy.map(|policy| &policy.spec), Some(reference));
        let Some(problem) = missed(index, (REQUEST, &asked), (&reference.service, port)) else { continue };
        // A backend of weight 0 may be of workloads that are still to come.
        if !problem.code.is_error() && reference.weight == 0 {
            continue;
        }
        match policy.filter(|_| reference.subset.is_empty()) {
            Some(policy) => {
                let reason = format!("{}, which holds for {rule}", problem.reason);
                findings.note(policy.document, Problem { reason, ..problem }.at_field("subset"));
            }
            None => {
                let problem = problem.at_field("subset").at_index(number).at_field("backendRefs");
                findings.note(rule.document, problem.at_index(rule.number).at_field("rules"));
            }
        }
    }
    for mirror in &rule.rule.filters.mirrors {
        let service = index.services.get(&mirror.service);
        let Some(port) = service.and_then(|known| known.spec.port_numbered(mirror.port)) else { continue };
        let Some(problem) = missed(index, ("copy", &mirror.subset), (&mirror.service, port)) else { continue };
        if problem.code.is_error() || mirror.percent != Percent::ZERO {
            let problem = problem.at_field("subset").at_field("backendRef").at_field("requestMirror");
            let problem = problem.at_index(mirror.filter).at_field("filters");
            findings.note(rule.document, problem.at_index(rule.number).at_field("rules"));
        }
    }
}

/// Why none that asks so gets it; `each`: what is sent, a request or a copy.
fn missed(
    index: &Index,
    (each, asked): (&str, &Criteria),
    (name, port): (&ObjectName, &ServicePort),
) -> Option<Problem> {
    if asked.is_empty() {
        return None;
    }
    let Some((_, subsets)) = divided(index, name, port) else {
        let reason = format!("Service {name} has no subsets; a BackendPolicy makes some with loadBalancing.subsets");
        return Some(Problem::new(Code::DanglingReference, reason).with_value(asked));
    };
    if subsets.selector(&asked.keys()).is_none() {
        let there: Vec<_> = subsets.selectors.iter().map(|selector| listed(&selector.keys)).collect();
        let reason = format!(
            "no selector of the BackendPolicy of Service {name} has exactly the keys {}; those of its selectors are {}",
            listed(&asked.keys()),
            there.join("; ")
        );
        return Some(Problem::new(Code::DanglingReference, reason).with_value(asked));
    }
    let known = all_known(index, name, port, &subsets.keys());
    if known.is_empty() {
        return None;
    }
    let get = match subsets.lead(asked, &|criteria| known.iter().any(|metadata| criteria.fits(metadata, false))) {
        Lead::Subset { fewer: false, .. } => return None,
        Lead::Subset { of, .. } => format!("every {each} goes to those with {of}"),
        Lead::Any(_) => format!("every {each} goes to any of them"),
        Lead::Default { .. } => format!("every {each} goes to the default subset"),
        Lead::Nobody(_) => format!("every {each} fails"),
    };
    let reason = format!("no Workload behind Service {name} has these labels, so that {get}");
    Some(Problem::new(Code::Suspicious, reason).with_value(asked))
}

fn listed(keys: &Keys) -> String {
    keys.iter().map(|key| &**key).collect::<Vec<_>>().join(", ")
}
