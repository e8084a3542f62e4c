//! Requests that would go round for ever: a sidecar that takes another listening address of the mesh for its
//! application, from which the way leads back to it.
//!
//! Names cannot form a circle, since policies name routes, routes services and services workloads. Addresses can: from
//! an inbound port to its application's port, and from an outbound port to the endpoints of the service it is bound to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::backend::assignment;
use super::finding::Findings;
use super::index::Index;
use super::reference::outbound_port;
use super::socket::{Machine, Role, Socket, Sockets, application, machine};
use super::table::{backend_port, candidates};
use crate::document::{OutboundService, ServicePort};
use crate::error::{Code, Problem};
use crate::name::ObjectName;

/// Notes every inbound port whose application is, in the end, the port itself, or its own sidecar's outbound port.
pub(super) fn check(index: &Index, sockets: &Sockets, findings: &mut Findings<'_>) {
    for (machine, socket) in sockets.iter() {
        let Role::Inbound { app_port } = &socket.role else { continue };
        let Some(next) = sockets.at(machine, application(*app_port)) else { continue };
        let problem = if leads_back(index, sockets, machine, socket) {
            let there = format!("{} of Workload {}", next.field(), next.workload);
            let reason = format!("leads to {there}, and from there back to this port");
            Problem::new(Code::Cycle, reason)
        } else if !matches!(next.role, Role::Application) && next.workload == socket.workload {
            Problem::new(Code::Conflict, "the sidecar listens there itself; name the application's own port")
        } else {
            continue;
        };
        let (document, field, number) = socket.place;
        findings.note(document, problem.at_field("appPort").at_index(number).at_field(field));
    }
}

/// Whether requests to `start` can come back to it.
fn leads_back(index: &Index, sockets: &Sockets, machine: Machine, start: &Socket) -> bool {
    let (mut open, mut seen) = (next(index, sockets, machine, start), BTreeSet::new());
    while let Some((machine, socket)) = open.pop() {
        if socket.place == start.place {
            return true;
        }
        if seen.insert(socket.place) {
            open.extend(next(index, sockets, machine, socket));
        }
    }
    false
}

/// The listening addresses of the mesh that one passes requests to.
fn next<'a>(index: &Index, sockets: &'a Sockets, from: Machine, socket: &Socket) -> Vec<(Machine, &'a Socket)> {
    let addresses = match &socket.role {
        Role::Application | Role::Outbound { service: None } => Vec::new(),
        Role::Inbound { app_port } => vec![application(*app_port)],
        Role::Outbound { service: Some(target) } => endpoints(index, socket.workload.namespace(), target),
    };
    let reach = |address: SocketAddr| {
        let socket = sockets.at(from, address)?;
        Some((machine(&index.workloads.get(&socket.workload)?.spec), socket))
    };
    addresses.into_iter().filter_map(reach).collect()
}

/// Where calls to a service may end, as its routes have it.
fn endpoints(index: &Index, namespace: &str, target: &OutboundService) -> Vec<SocketAddr> {
    let Ok(port) = outbound_port(index, target) else { return Vec::new() };
    let mut backends: BTreeMap<(&ObjectName, u16), &ServicePort> = BTreeMap::new();
    match candidates(index, namespace, &target.name, port) {
        None => {
            backends.insert((&target.name, port.port), port);
        }
        Some(candidates) => {
            let references = candidates.iter().flat_map(|candidate| &candidate.rule.rule.backends);
            backends.extend(references.filter_map(|one| Some(((&one.service, one.port), backend_port(index, one)?))));
        }
    }
    let endpoints = backends.into_iter().flat_map(|((name, _), port)| assignment(index, name, port).endpoints);
    endpoints.map(|endpoint| endpoint.address).collect()
}
