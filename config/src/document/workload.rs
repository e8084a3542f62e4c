//! `Workload`: an instance at an address, and what its sidecar listens on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::reader::Field;
use super::reference::PortRef;
use crate::endpoint::{Assignment, Health, Locality};
use crate::error::{Code, Problem};
use crate::name::{ObjectName, check_label};

/// The spec of a Workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Where it is.
    pub address: IpAddr,
    /// What it serves; names and numbers are unique.
    pub ports: Vec<WorkloadPort>,
    /// Where its sidecar listens for what it calls.
    pub outbound: Vec<Outbound>,
    /// Its share among the workloads of a service; absent: 1.
    pub weight: u32,
    /// Where it stands; absent: nowhere in particular.
    pub locality: Locality,
    /// Which group of its service it belongs to: those of 0 are asked first; absent: 0.
    pub priority: u32,
    /// Whether it takes requests; absent: Healthy.
    pub health: Health,
}

/// A port of a Workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPort {
    /// Its name, by which services know it.
    pub name: Arc<str>,
    /// Where the mesh reaches it.
    pub port: u16,
    /// Where the application listens on 127.0.0.1. With it a sidecar listens on `port` and forwards to it; without,
    /// `port` is the application's own.
    pub app_port: Option<u16>,
}

/// An address on which a sidecar takes its workload's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// The address; absent in the document: 127.0.0.1.
    pub address: SocketAddr,
    /// The one service it is for; absent: every service, by the request's host.
    pub service: Option<OutboundService>,
}

/// What an outbound address is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundService {
    /// The service.
    pub name: ObjectName,
    /// Its port; absent: its only one.
    pub port: Option<PortRef>,
}

const HEALTH: &[(&str, Health)] =
    &[("Healthy", Health::Healthy), ("Draining", Health::Draining), ("Unhealthy", Health::Unhealthy)];

impl Workload {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName) -> Self {
        let mut fields = field.fields();
        let address = read_address(&fields.required("address"), |address| {
            if address.is_unspecified() || address.is_multicast() {
                return Err(Problem::invalid(address, "must be the address of one machine, where others reach it"));
            }
            Ok(())
        });
        let ports = fields.optional("ports").map(|field| read_ports(&field)).unwrap_or_default();
        let read_outbound = |field: &Field<'_>| Outbound::read(field, owner);
        let outbound = fields.optional("outbound").map(|field| field.list(read_outbound)).unwrap_or_default();
        // The bound is Gateway API's for weights.
        let weight = fields.optional("weight").map_or(1, |field| field.integer(1..=1_000_000));
        let priority = fields.optional("priority").map_or(0, |field| field.integer(0..=Assignment::MAX_PRIORITY));
        let locality = fields.optional("locality").map(|field| read_locality(&field)).unwrap_or_default();
        let health = fields.optional("health").and_then(|field| field.choice(HEALTH)).unwrap_or_default();
        fields.finish();
        Workload { address, ports, outbound, weight, priority, locality, health }
    }

    /// The port of a name.
    pub fn port_named(&self, name: &str) -> Option<&WorkloadPort> {
        self.ports.iter().find(|port| &*port.name == name)
    }

    /// Whether a sidecar stands beside it: one that takes its calls, or one that takes calls to it.
    pub fn has_sidecar(&self) -> bool {
        !self.outbound.is_empty() || self.ports.iter().any(|port| port.app_port.is_some())
    }
}

impl WorkloadPort {
    fn read(field: &Field<'_>) -> Self {
        let mut fields = field.fields();
        let name = fields.required("name").checked(check_label);
        let port = fields.required("port").port();
        let app_port = fields.optional("appPort").map(|field| field.port());
        fields.finish();
        WorkloadPort { name, port, app_port }
    }
}

impl Outbound {
    fn read(field: &Field<'_>, owner: &ObjectName) -> Self {
        let mut fields = field.fields();
        let port = fields.required("port").port();
        let address = fields.optional("address").map(|field| read_address(&field, |_| Ok(())));
        let address = address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let name = fields.optional("service").and_then(|field| field.parsed(|text| qualify(text, owner)));
        let service_port = fields.optional("servicePort").map(|field| PortRef::read(&field));
        let field = fields.finish();
        if service_port.is_some() && name.is_none() {
            field.note(Problem::new(Code::MissingField, "is required beside servicePort").at_field("service"));
        }
        let service = name.map(|name| OutboundService { name, port: service_port });
        Outbound { address: SocketAddr::new(address, port), service }
    }
}

/// `NAME` in the workload's own namespace, or `NAMESPACE/NAME`.
fn qualify(text: &str, owner: &ObjectName) -> Result<ObjectName, Problem> {
    let (namespace, name) = text.split_once('/').unwrap_or((owner.namespace(), text));
    check_label(name)?;
    // The field is one string, so that the path of a part of it would lead nowhere.
    ObjectName::try_new(namespace, name).map_err(|problem| Problem { path: String::new(), ..problem })
}

fn read_address(field: &Field<'_>, check: fn(IpAddr) -> Result<(), Problem>) -> IpAddr {
    let parse = |text: &str| {
        let wrong = |_| Problem::invalid(text, "must be an IPv4 or IPv6 address, such as 10.0.0.7 or ::1");
        let address = text.parse().map_err(wrong)?;
        check(address).map(|()| address)
    };
    field.parsed(parse).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
}

fn read_ports(field: &Field<'_>) -> Vec<WorkloadPort> {
    let ports = field.list(WorkloadPort::read);
    field.unique("name", ports.iter().map(|port| &*port.name));
    field.unique("port", ports.iter().map(|port| port.port));
    ports
}

fn read_locality(field: &Field<'_>) -> Locality {
    let mut fields = field.fields();
    let region = fields.optional("region").map(|field| field.text()).unwrap_or_default();
    let zone = fields.optional("zone").map(|field| field.text()).unwrap_or_default();
    fields.finish();
    Locality { region, zone }
}
