//! Who listens where, and that no two listen in one place.
//!
//! Workloads on loopback addresses are taken to share one machine, where loopback addresses are one space; every other
//! workload has loopback addresses of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::finding::Findings;
use super::index::Index;
use crate::document::{OutboundService, Workload};
use crate::error::{Code, Problem};
use crate::name::ObjectName;

/// Whose loopback addresses are meant: a machine's, by its address; absent: this one's, with all that is on loopback.
pub(super) type Machine = Option<IpAddr>;

/// What stands behind a listening address.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// The application itself.
    Application,
    /// A sidecar that passes requests to the application at this port of 127.0.0.1.
    Inbound { app_port: u16 },
    /// A sidecar that takes its workload's calls, to one service or by host.
    Outbound { service: Option<OutboundService> },
}

/// A listening address of the mesh.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    pub(super) address: SocketAddr,
    pub(super) role: Role,
    pub(super) workload: ObjectName,
    /// The document, the field of its spec and the index there.
    pub(super) place: (usize, &'static str, usize),
}

impl Socket {
    /// The field of the workload that says it: `ports[0]`.
    pub(super) fn field(&self) -> String {
        format!("{}[{}]", self.place.1, self.place.2)
    }
}

/// The listening addresses of the mesh.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    by_port: BTreeMap<(Machine, u16), Vec<Socket>>,
}

impl Sockets {
    /// Gathers all, and notes those that clash.
    pub(super) fn new(index: &Index, findings: &mut Findings<'_>) -> Self {
        let mut sockets = Sockets::default();
        for (name, known) in &index.workloads {
            let machine = machine(&known.spec);
            for socket in of_workload(name, known.document, &known.spec) {
                sockets.add(machine, socket, findings);
            }
        }
        sockets
    }

    /// The one that a connection to `address` reaches.
    pub(super) fn at(&self, machine: Machine, address: SocketAddr) -> Option<&Socket> {
        // An address that is not loopback means the same from everywhere.
        let machine = if address.ip().is_loopback() { machine } else { Some(address.ip()) };
        self.by_port.get(&(machine, address.port()))?.iter().find(|one| overlap(one.address.ip(), address.ip()))
    }

    /// All of them, with their machines.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Machine, &Socket)> {
        self.by_port.iter().flat_map(|((machine, _), sockets)| sockets.iter().map(|socket| (*machine, socket)))
    }

    fn add(&mut self, machine: Machine, socket: Socket, findings: &mut Findings<'_>) {
        let neighbours = self.by_port.entry((machine, socket.address.port())).or_default();
        if let Some(other) = neighbours.iter().find(|other| clash(other, &socket)) {
            let whose = match other.workload == socket.workload {
                true => "this workload".to_owned(),
                false => format!("Workload {}", other.workload),
            };
            let reason = format!("{} is taken already by {} of {whose}", socket.address, other.field());
            let (document, field, number) = socket.place;
            let problem = Problem::new(Code::Conflict, reason).at_field("port").at_index(number).at_field(field);
            findings.note(document, problem);
            return;
        }
        neighbours.push(socket);
    }
}

/// The machine a workload is on.
pub(super) fn machine(workload: &Workload) -> Machine {
    (!workload.address.is_loopback()).then_some(workload.address)
}

fn of_workload(name: &ObjectName, document: usize, workload: &Workload) -> Vec<Socket> {
    let inbound = workload.ports.iter().enumerate().map(|(number, port)| Socket {
        address: SocketAddr::new(workload.address, port.port),
        role: port.app_port.map_or(Role::Application, |app_port| Role::Inbound { app_port }),
        workload: name.clone(),
        place: (document, "ports", number),
    });
    let outbound = workload.outbound.iter().enumerate().map(|(number, outbound)| Socket {
        address: outbound.address,
        role: Role::Outbound { service: outbound.service.clone() },
        workload: name.clone(),
        place: (document, "outbound", number),
    });
    inbound.chain(outbound).collect()
}

/// Whether two cannot both be: they take the same address, or they are outbound ports of one workload with one number,
/// which names the listener.
fn clash(a: &Socket, b: &Socket) -> bool {
    let outbound = |socket: &Socket| matches!(socket.role, Role::Outbound { .. });
    overlap(a.address.ip(), b.address.ip()) || (a.workload == b.workload && outbound(a) && outbound(b))
}

/// Whether one socket takes what is meant for the other: the same address, or one that takes all.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// Where a sidecar finds its application.
pub(super) fn application(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}
