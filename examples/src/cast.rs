//! Who takes part: every instance of the shop with its ports, and the two callers from outside that have a sidecar but
//! no service. The documents, the processes and the story all read this one list.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use crate::ports::Ports;

/// The namespace of everything in the demo.
pub(crate) const NAMESPACE: &str = "shop";

/// `recommend` without its version is three instances: two of v1 and the canary.
const INSTANCES: [(&str, &str, &str); 11] = [
    ("storefront-1", "storefront", "v1"),
    ("storefront-2", "storefront", "v1"),
    ("catalog-1", "catalog", "v1"),
    ("catalog-2", "catalog", "v1"),
    ("cart-1", "cart", "v1"),
    ("cart-2", "cart", "v1"),
    ("recommend-v1-1", "recommend", "v1"),
    ("recommend-v1-2", "recommend", "v1"),
    ("recommend-v2-1", "recommend", "v2"),
    ("pricing-1", "pricing", "v1"),
    ("pricing-2", "pricing", "v1"),
];

/// One process of the shop and the ports of its sidecar.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its name, which is its workload's too.
    pub(crate) name: &'static str,
    /// Its service.
    pub(crate) service: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// Where the process itself listens.
    pub(crate) app: u16,
    /// Where its fault switch listens; only `recommend` has one.
    pub(crate) control: Option<u16>,
    /// Its sidecar.
    pub(crate) sidecar: Sidecar,
}

/// The ports of a sidecar.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    /// The workload it stands beside.
    pub(crate) workload: &'static str,
    /// Where the mesh reaches the workload; none for one that only calls.
    pub(crate) inbound: Option<u16>,
    /// Where the workload sends its calls.
    pub(crate) outbound: u16,
    /// Readiness and metrics.
    pub(crate) admin: u16,
}

/// Everybody.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    /// The shop.
    pub(crate) instances: Vec<Instance>,
    /// Where customers come in.
    pub(crate) gateway: Sidecar,
    /// A batch job that asks `recommend` for many customers at once.
    pub(crate) newsletter: Sidecar,
    /// The control plane's xDS port.
    pub(crate) xds: u16,
    /// Its API port.
    pub(crate) api: u16,
}

impl Cast {
    /// A cast on free ports.
    pub(crate) fn on_free_ports() -> Result<Self> {
        let mut ports = Ports::new();
        Cast::with(|| ports.take())
    }

    /// A cast on ports that are the same every time: for the document that people read.
    #[cfg(test)]
    pub(crate) fn on_fixed_ports() -> Self {
        let mut next = 8_000;
        let cast = Cast::with(|| {
            next += 1;
            Ok(next)
        });
        cast.expect("counting does not fail")
    }

    fn with(mut port: impl FnMut() -> Result<u16>) -> Result<Self> {
        let mut instances = Vec::new();
        for (name, service, version) in INSTANCES {
            let control = if service == "recommend" { Some(port()?) } else { None };
            let app = port()?;
            let sidecar = Sidecar { workload: name, inbound: Some(port()?), outbound: port()?, admin: port()? };
            instances.push(Instance { name, service, version, app, control, sidecar });
        }
        let gateway = Sidecar { workload: "gateway", inbound: None, outbound: port()?, admin: port()? };
        let newsletter = Sidecar { workload: "newsletter", inbound: None, outbound: port()?, admin: port()? };
        Ok(Cast { instances, gateway, newsletter, xds: port()?, api: port()? })
    }

    /// Every sidecar.
    pub(crate) fn sidecars(&self) -> impl Iterator<Item = &Sidecar> {
        self.instances.iter().map(|instance| &instance.sidecar).chain([&self.gateway, &self.newsletter])
    }

    /// The instances of a service, or of one version of it.
    pub(crate) fn of(&self, service: &str, version: Option<&str>) -> Vec<&Instance> {
        let wanted = |one: &&Instance| one.service == service && version.is_none_or(|version| one.version == version);
        self.instances.iter().filter(wanted).collect()
    }

    /// The addresses of a service's processes, past any sidecar.
    pub(crate) fn direct(&self, service: &str, version: Option<&str>) -> Vec<SocketAddr> {
        self.of(service, version).into_iter().map(|instance| loopback(instance.app)).collect()
    }

    /// The services, each once.
    pub(crate) fn services(&self) -> Vec<&'static str> {
        let mut services: Vec<&str> = self.instances.iter().map(|instance| instance.service).collect();
        services.dedup();
        services
    }
}

/// A port of this machine alone.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::Cast;

    #[test]
    fn every_service_is_there_and_only_the_canary_is_alone() {
        let cast = Cast::on_fixed_ports();
        assert_eq!(cast.services(), ["storefront", "catalog", "cart", "recommend", "pricing"]);
        assert!(cast.services().iter().all(|service| cast.of(service, Some("v1")).len() == 2));
        assert_eq!(cast.direct("recommend", Some("v2")).len(), 1);
        assert_eq!(cast.sidecars().count(), 13);
    }
}
