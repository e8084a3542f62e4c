//! `Service`: a name with ports, and the labels of the workloads behind it.

use std::sync::Arc;

use super::metadata::Labels;
use super::reader::Field;
use crate::cluster::Protocol;
use crate::name::check_label;

/// The spec of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its ports, at least one; names and numbers are unique.
    pub ports: Vec<ServicePort>,
    /// The labels that a workload of its namespace must have to be behind it; none selects no workload.
    pub selector: Labels,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, by which workloads have it too.
    pub name: Arc<str>,
    /// The port that callers name.
    pub port: u16,
    /// `appProtocol`: `http` is HTTP/1.1; `h2c`, `kubernetes.io/h2c` and `grpc` are HTTP/2; absent: the caller's.
    pub protocol: Protocol,
}

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("http", Protocol::Http1),
    ("h2c", Protocol::Http2),
    ("kubernetes.io/h2c", Protocol::Http2),
    ("grpc", Protocol::Http2),
];

impl Service {
    pub(super) fn read(field: &Field<'_>) -> Self {
        let mut fields = field.fields();
        let field = fields.required("ports");
        let ports = field.some(ServicePort::read);
        field.unique("name", ports.iter().map(|port| &*port.name));
        field.unique("port", ports.iter().map(|port| port.port));
        let selector = fields.optional("selector").map(|field| field.labels()).unwrap_or_default();
        fields.finish();
        Service { ports, selector }
    }

    /// The port of a name.
    pub fn port_named(&self, name: &str) -> Option<&ServicePort> {
        self.ports.iter().find(|port| &*port.name == name)
    }

    /// The port of a number.
    pub fn port_numbered(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// Whether a workload with these labels is behind it.
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl ServicePort {
    fn read(field: &Field<'_>) -> Self {
        let mut fields = field.fields();
        let name = fields.required("name").checked(check_label);
        let port = fields.required("port").port();
        let protocol = fields.optional("appProtocol").and_then(|field| field.choice(PROTOCOLS)).unwrap_or_default();
        fields.finish();
        ServicePort { name, port, protocol }
    }
}
