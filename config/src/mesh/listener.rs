//! Listeners: where a workload's sidecar listens, and the names that gRPC clients ask for.

use std::sync::Arc;
use std::time::Duration;

use super::effective::{IDLE_TIMEOUT, beside};
use super::host::{display, hosts};
use super::index::{Index, Known};
use super::name;
use super::reference::outbound_port;
use super::socket::application;
use crate::cluster::{Balancing, Cluster, Discovery, Protocol};
use crate::document::{Service, Workload, WorkloadPort};
use crate::endpoint::{Assignment, Endpoint};
use crate::listener::{ApiListener, Direction, Identity, Listener, TableSource};
use crate::name::{Domain, ObjectName, TableName};
use crate::policy::{AdaptiveConcurrency, Origin, RateLimit, Timeouts};
use crate::resource::Resource;
use crate::route::{AttemptCounts, Priority, Rehearsed, Route, RouteTable, VirtualHost};

/// The listeners of gRPC clients: each host of each service's port, as a namespace sees it.
pub(super) fn api(index: &Index, namespace: &str) -> Vec<ApiListener> {
    let of_service = |(name, known): (&ObjectName, &Known<Service>)| {
        let mut listeners = Vec::new();
        for port in &known.spec.ports {
            let table = name::service_table(name, port);
            let of_host = |host: &String| ApiListener { name: name::api_listener(host), table: table.clone() };
            listeners.extend(hosts(name, &known.spec, port, namespace).iter().map(of_host));
        }
        listeners
    };
    index.services.iter().flat_map(of_service).collect()
}

/// What one workload's sidecar has for itself: its listeners, and a table and a cluster for each inbound port.
pub(super) fn own(index: &Index, name: &ObjectName, workload: &Workload) -> Vec<Resource> {
    let identity = identity(index, name);
    let telemetry = index.telemetry(name.namespace());
    let listener = |resource, address, direction, table: TableName, (adaptive, rehearsed_adaptive)| {
        let (identity, telemetry, table) = (Some(identity.clone()), telemetry.clone(), TableSource::Rds(table));
        let limits = Vec::new();
        Resource::Listener(Listener {
            name: resource,
            address,
            direction,
            table,
            identity,
            telemetry,
            adaptive,
            rehearsed_adaptive,
            limits,
        })
    };
    let mut resources = Vec::new();
    for port in &workload.ports {
        let Some(app_port) = port.app_port else { continue };
        let (address, resource) = ((workload.address, port.port).into(), name::inbound(name, &port.name));
        let adaptive = inbound_adaptive(index, name, port);
        resources.push(listener(resource.clone(), address, Direction::Inbound, resource, adaptive));
        resources.push(Resource::Table(inbound_table(index, name, port)));
        resources.push(Resource::Cluster(local_cluster(index, name, port, app_port, &identity)));
    }
    for outbound in &workload.outbound {
        let table = match &outbound.service {
            None => name::outbound_table(name.namespace()),
            Some(target) => match outbound_port(index, target) {
                Ok(port) => name::service_table(&target.name, port),
                // A mesh in which the port does not exist was never made.
                Err(_) => continue,
            },
        };
        let resource = name::outbound_listener(name, outbound.address.port());
        resources.push(listener(resource, outbound.address, Direction::Outbound, table, (None, None)));
    }
    resources
}

/// A workload goes by the service that takes most of its kind, or by its own name.
fn identity(index: &Index, name: &ObjectName) -> Identity {
    let service: Arc<str> = index.members.services(name).first().map_or(name.name(), ObjectName::name).into();
    let locality = index.workloads.get(name).map(|known| known.spec.locality.clone()).unwrap_or_default();
    Identity { workload: name.clone(), service, version: index.members.version(name), locality }
}

fn inbound_table(index: &Index, name: &ObjectName, port: &WorkloadPort) -> RouteTable {
    let services = services_of(index, name, port);
    let label = match services.first() {
        Some((service, _)) => format!("Service {service}/{}", port.name),
        None => format!("Workload {name}/{}", port.name),
    };
    let origin = label.rsplit_once('/').map_or(label.as_str(), |(object, _)| object);
    let (rate_limit, rehearsed) = inbound_limit(index, &services, port);
    let route = Route {
        origin: Origin(origin.into()),
        timeouts: Timeouts { idle: Some(inbound_idle(index, &services, port)), ..Timeouts::default() },
        rate_limit,
        rehearsed: Rehearsed { rate_limit: rehearsed, ..Rehearsed::default() },
        priority: inbound_priority(index, &services, port),
        ..Route::forward(&label, name::local_cluster(name, &port.name))
    };
    let host = VirtualHost {
        name: "inbound".into(),
        domains: vec![Domain::Any],
        routes: vec![route],
        counts: AttemptCounts::default(),
    };
    RouteTable { name: name::inbound(name, &port.name), hosts: vec![host] }
}

/// What acts, and what is rehearsed beside it: each of one service at most, by `check`.
fn inbound_adaptive(
    index: &Index,
    name: &ObjectName,
    port: &WorkloadPort,
) -> (Option<AdaptiveConcurrency>, Option<AdaptiveConcurrency>) {
    let services = services_of(index, name, port);
    let held = |(name, service): &(&ObjectName, &Service)| {
        let policies = index.service_limit(name, service.port_named(&port.name)?);
        Some(policies.each().filter_map(|known| known.spec.adaptive.clone()))
    };
    let (acting, observed): (Vec<_>, Vec<_>) =
        services.iter().filter_map(held).flatten().partition(|one| one.mode.enforces());
    beside(acting.into_iter().next(), observed.into_iter().next())
}

/// Each of the two comes from one service at most, by `check`.
fn inbound_limit(
    index: &Index,
    services: &[(&ObjectName, &Service)],
    port: &WorkloadPort,
) -> (Option<RateLimit>, Option<RateLimit>) {
    let limits = |(name, service): &(&ObjectName, &Service)| {
        Some(
            index
                .service_limit(name, service.port_named(&port.name)?)
                .each()
                .filter_map(|known| known.spec.rules().cloned()),
        )
    };
    let (acting, observed): (Vec<_>, Vec<_>) =
        services.iter().filter_map(limits).flatten().partition(|limit| limit.mode.enforces());
    beside(acting.into_iter().next(), observed.into_iter().next())
}

/// High where the policy of any whole service says so; which of its rules a request took, only the caller's proxy knows.
fn inbound_priority(index: &Index, services: &[(&ObjectName, &Service)], port: &WorkloadPort) -> Priority {
    let high = |(name, service): &(&ObjectName, &Service)| {
        let policy = service.port_named(&port.name).and_then(|port| index.route_policy(None, name, port).acting());
        policy.is_some_and(|policy| policy.priority == Priority::High)
    };
    if services.iter().any(high) { Priority::High } else { Priority::Default }
}

/// A sidecar before a service must not give up before the callers' proxies do, whichever of the service's routes was
/// taken: the longest idle timeout of any of them.
fn inbound_idle(index: &Index, services: &[(&ObjectName, &Service)], port: &WorkloadPort) -> Duration {
    let ports = services.iter().filter_map(|(name, service)| Some((*name, service.port_named(&port.name)?)));
    let idle = ports.flat_map(|(name, port)| index.idle_timeouts(name, port));
    idle.fold(IDLE_TIMEOUT, Duration::max)
}

/// The services that this port of a workload is behind.
fn services_of<'a>(index: &'a Index, name: &ObjectName, port: &WorkloadPort) -> Vec<(&'a ObjectName, &'a Service)> {
    let known = |service: &ObjectName| index.services.get_key_value(service).map(|(name, known)| (name, &known.spec));
    let services = index.members.services(name).iter().filter_map(known);
    services.filter(|(_, service)| service.port_named(&port.name).is_some()).collect()
}

fn local_cluster(index: &Index, name: &ObjectName, port: &WorkloadPort, app_port: u16, identity: &Identity) -> Cluster {
    let resource = name::local_cluster(name, &port.name);
    let endpoint = Endpoint {
        locality: identity.locality.clone(),
        workload: name.name().into(),
        version: identity.version.clone(),
        ..Endpoint::at(application(app_port))
    };
    let assignment = Assignment {
        name: resource.clone(),
        endpoints: vec![endpoint],
        overprovisioning: Assignment::DEFAULT_OVERPROVISIONING,
        weights: Vec::new(),
    };
    let services = services_of(index, name, port);
    let protocols: Vec<Protocol> =
        services.iter().filter_map(|(_, service)| Some(service.port_named(&port.name)?.protocol)).collect();
    Cluster {
        service: services.first().map(|(service, _)| (*service).clone()),
        host: services.first().map_or_else(|| display(name), |(service, _)| display(service)).into(),
        // Where the services do not agree, the application is spoken to as it was called.
        protocol: match protocols[..] {
            [first, ref rest @ ..] if rest.iter().all(|other| *other == first) => first,
            _ => Protocol::Downstream,
        },
        balancing: Balancing::RoundRobin,
        ..Cluster::new(resource, Discovery::Static(assignment))
    }
}
