//! Whether everything that is named exists: services, ports, routes, rules.

use super::finding::Findings;
use super::index::{Index, Known};
use crate::document::{Kind, OutboundService, PortRef, Route, Service, ServicePort, TargetRef, Workload};
use crate::error::{Code, Problem};
use crate::name::ObjectName;

/// Notes every reference that leads nowhere.
pub(super) fn check(index: &Index, findings: &mut Findings<'_>) {
    for known in index.routes.values() {
        check_route(index, known, findings);
    }
    for known in index.workloads.values() {
        check_workload(index, known, findings);
    }
    for policy in index.policies() {
        for (number, target) in policy.targets.iter().enumerate() {
            if let Err(problem) = find_target(index, target) {
                findings.note(policy.document, problem.at_index(number).at_field("targetRefs"));
            }
        }
    }
}

fn check_route(index: &Index, known: &Known<Route>, findings: &mut Findings<'_>) {
    for (number, parent) in known.spec.parents.iter().enumerate() {
        let found = find_service(index, &parent.service).and_then(|service| {
            let number = parent.port.map(|port| find_port(service, &PortRef::Number(port)).map_err(at("port")));
            let name =
                parent.section.clone().map(|name| find_port(service, &PortRef::Name(name)).map_err(at("sectionName")));
            match (number.transpose()?, name.transpose()?) {
                (Some(a), Some(b)) if a != b => {
                    let reason = format!("port {} is called {:?}", a.port, a.name);
                    Err(Problem::new(Code::Conflict, reason).at_field("sectionName"))
                }
                _ => Ok(()),
            }
        });
        if let Err(problem) = found {
            findings.note(known.document, problem.at_index(number).at_field("parentRefs"));
        }
    }
    for (rule, mirrors) in known.spec.rules.iter().map(|rule| &rule.filters.mirrors).enumerate() {
        for mirror in mirrors {
            let port = PortRef::Number(mirror.port);
            let found =
                find_service(index, &mirror.service).and_then(|service| find_port(service, &port).map_err(at("port")));
            if let Err(problem) = found {
                let problem = problem.at_field("backendRef").at_field("requestMirror").at_index(mirror.filter);
                findings.note(known.document, problem.at_field("filters").at_index(rule).at_field("rules"));
            }
        }
    }
    for (rule, backends) in known.spec.rules.iter().map(|rule| &rule.backends).enumerate() {
        for (number, backend) in backends.iter().enumerate() {
            let port = PortRef::Number(backend.port);
            let found =
                find_service(index, &backend.service).and_then(|service| find_port(service, &port).map_err(at("port")));
            if let Err(problem) = found {
                let problem = problem.at_index(number).at_field("backendRefs").at_index(rule).at_field("rules");
                findings.note(known.document, problem);
            }
        }
    }
}

fn check_workload(index: &Index, known: &Known<Workload>, findings: &mut Findings<'_>) {
    for (number, outbound) in known.spec.outbound.iter().enumerate() {
        let Some(target) = &outbound.service else { continue };
        if let Err(problem) = outbound_port(index, target) {
            findings.note(known.document, problem.at_index(number).at_field("outbound"));
        }
    }
}

/// The port that an outbound address is bound to; a service with one port need not have it named.
pub(super) fn outbound_port<'a>(index: &'a Index, target: &OutboundService) -> Result<&'a ServicePort, Problem> {
    let Some(known) = index.services.get(&target.name) else {
        return Err(missing(&target.name).at_field("service"));
    };
    match (&target.port, &known.spec.ports[..]) {
        (Some(port), _) => find_port(&known.spec, port).map_err(at("servicePort")),
        (None, [only]) => Ok(only),
        (None, _) => {
            let reason = format!("is required, because the service has several; {}", ports(&known.spec));
            Err(Problem::new(Code::MissingField, reason).at_field("servicePort"))
        }
    }
}

fn find_target(index: &Index, target: &TargetRef) -> Result<(), Problem> {
    let Some(section) = &target.section else { return find_whole(index, target) };
    find_whole(index, target)?;
    if target.kind == Kind::Service {
        let service = find_service(index, &target.name)?;
        return find_port(service, &PortRef::Name(section.clone())).map(|_| ()).map_err(at("sectionName"));
    }
    let rules = index.routes.get(&(target.kind, target.name.clone())).map_or(&[][..], |known| &known.spec.rules);
    if rules.iter().any(|rule| rule.name.as_ref() == Some(section)) {
        return Ok(());
    }
    let names: Vec<&str> = rules.iter().filter_map(|rule| rule.name.as_deref()).collect();
    let reason = match names.is_empty() {
        true => "the rules of that route have no names".to_owned(),
        false => format!("that route has no such rule; its rules are {}", names.join(", ")),
    };
    Err(Problem::new(Code::DanglingReference, reason).at_field("sectionName"))
}

fn find_whole(index: &Index, target: &TargetRef) -> Result<(), Problem> {
    if target.kind == Kind::Service {
        return find_service(index, &target.name).map(|_| ());
    }
    if index.routes.contains_key(&(target.kind, target.name.clone())) {
        return Ok(());
    }
    let reason = format!("there is no {} {}", target.kind, target.name);
    Err(Problem::new(Code::DanglingReference, reason).at_field("name"))
}

fn find_service<'a>(index: &'a Index, name: &ObjectName) -> Result<&'a Service, Problem> {
    index.services.get(name).map(|known| &known.spec).ok_or_else(|| missing(name).at_field("name"))
}

fn find_port<'a>(service: &'a Service, port: &PortRef) -> Result<&'a ServicePort, Problem> {
    let found = match port {
        PortRef::Name(name) => service.port_named(name),
        PortRef::Number(number) => service.port_numbered(*number),
    };
    found.ok_or_else(|| {
        Problem::new(Code::DanglingReference, format!("the service has no such port; {}", ports(service)))
            .with_value(port)
    })
}

fn missing(name: &ObjectName) -> Problem {
    Problem::new(Code::DanglingReference, format!("there is no Service {name}"))
}

fn ports(service: &Service) -> String {
    let ports: Vec<_> = service.ports.iter().map(|port| format!("{} ({})", port.name, port.port)).collect();
    format!("its ports are {}", ports.join(", "))
}

fn at(field: &'static str) -> impl Fn(Problem) -> Problem {
    move |problem| problem.at_field(field)
}
