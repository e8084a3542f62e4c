//! The names of resources. They are made here and opaque everywhere else.

use crate::document::ServicePort;
use crate::name::{ObjectName, ResourceName};

/// The cluster of a service's port, and its endpoints: `shop/catalog/http`.
pub(super) fn cluster(service: &ObjectName, port: &ServicePort) -> ResourceName {
    resource(&format!("{service}/{}", port.name))
}

/// The application behind a sidecar's inbound port: `local/shop/catalog-1/http`.
pub(super) fn local_cluster(workload: &ObjectName, port: &str) -> ResourceName {
    resource(&format!("local/{workload}/{port}"))
}

/// The table of all services as a namespace sees them: `outbound/shop`.
pub(super) fn outbound_table(namespace: &str) -> ResourceName {
    resource(&format!("outbound/{namespace}"))
}

/// The table of one port of a service, for any host: `service/shop/catalog/http`.
pub(super) fn service_table(service: &ObjectName, port: &ServicePort) -> ResourceName {
    resource(&format!("service/{service}/{}", port.name))
}

/// The table and the listener of a sidecar's inbound port: `inbound/shop/catalog-1/http`.
pub(super) fn inbound(workload: &ObjectName, port: &str) -> ResourceName {
    resource(&format!("inbound/{workload}/{port}"))
}

/// The listener of a sidecar's outbound port: `outbound/shop/storefront-1/9000`.
pub(super) fn outbound_listener(workload: &ObjectName, port: u16) -> ResourceName {
    resource(&format!("outbound/{workload}/{port}"))
}

/// A listener of gRPC clients: the host itself.
pub(super) fn api_listener(host: &str) -> ResourceName {
    resource(host)
}

fn resource(name: &str) -> ResourceName {
    // Each part was checked, and the longest that a namespace, a name and a port can be together is below 600 bytes.
    ResourceName::try_new(name).expect("checked parts make a name within bounds")
}
