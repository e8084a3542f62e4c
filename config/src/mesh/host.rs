//! Under which hosts a service is known.

use crate::document::{Service, ServicePort};
use crate::name::ObjectName;

/// The hosts of one port of a service as a namespace sees them: `catalog` (from its own namespace only),
/// `catalog.shop`, `catalog.shop.svc` and `catalog.shop.svc.cluster.local`, each with the port; and without it for port
/// 80, or for the first port of a service that has no port 80.
pub(super) fn hosts(name: &ObjectName, service: &Service, port: &ServicePort, namespace: &str) -> Vec<String> {
    let qualified = display(name);
    let mut names = vec![qualified.clone(), format!("{qualified}.svc"), format!("{qualified}.svc.cluster.local")];
    if name.namespace() == namespace {
        names.insert(0, name.name().to_owned());
    }
    let plain = service.port_numbered(80).or(service.ports.first()).is_some_and(|main| main.port == port.port);
    let with_port = names.iter().map(|host| format!("{host}:{}", port.port)).collect::<Vec<_>>();
    if plain { names.into_iter().chain(with_port).collect() } else { with_port }
}

/// What a service is called in spans and metrics: `catalog.shop`.
pub(super) fn display(name: &ObjectName) -> String {
    format!("{}.{}", name.name(), name.namespace())
}
