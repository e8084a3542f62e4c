//! What the control plane sends and the proxy receives: the four types of xDS resource, and who may ask for them.
//!
//! The types stand in the order in which a server sends them (make before break): clusters, their endpoints,
//! listeners, their tables. A [`Resource`] is validated already; `xds` alone knows its bytes.

use crate::cluster::Cluster;
use crate::endpoint::Assignment;
use crate::listener::{ApiListener, Listener};
use crate::name::ResourceName;
use crate::route::RouteTable;

/// A type of xDS resource, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Assignment,
    /// LDS.
    Listener,
    /// RDS.
    Table,
}

impl ResourceType {
    /// Every type, in the order of sending.
    pub const ALL: [ResourceType; 4] =
        [ResourceType::Cluster, ResourceType::Assignment, ResourceType::Listener, ResourceType::Table];

    /// The type's URL, as a `DiscoveryRequest` and an `Any` have it.
    pub fn type_url(self) -> &'static str {
        match self {
            ResourceType::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ResourceType::Assignment => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            ResourceType::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            ResourceType::Table => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type of a URL.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        ResourceType::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// What people call it: `CDS`, `EDS`, `LDS`, `RDS`.
    pub fn short(self) -> &'static str {
        match self {
            ResourceType::Cluster => "CDS",
            ResourceType::Assignment => "EDS",
            ResourceType::Listener => "LDS",
            ResourceType::Table => "RDS",
        }
    }
}

/// What kind of client asks, because each understands another part of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKind {
    /// Our proxy: standard fields and our own.
    Outrigger,
    /// Envoy, and whatever else reads the standard fields.
    Envoy,
    /// A gRPC library: API listeners, and no address to listen on.
    Grpc,
}

impl ClientKind {
    /// By `Node.user_agent_name`. Whoever is not known is taken for an Envoy, which everybody imitates.
    pub fn from_user_agent(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        if lower == "outrigger-proxy" {
            ClientKind::Outrigger
        } else if lower.starts_with("grpc") {
            ClientKind::Grpc
        } else {
            ClientKind::Envoy
        }
    }

    /// The kind as the API prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientKind::Outrigger => "outrigger",
            ClientKind::Envoy => "envoy",
            ClientKind::Grpc => "grpc",
        }
    }
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most are clusters, and each is moved only a few times")]
pub enum Resource {
    /// A listener with an address.
    Listener(Listener),
    /// A listener of a gRPC client.
    ApiListener(ApiListener),
    /// A table of routes.
    Table(RouteTable),
    /// A destination.
    Cluster(Cluster),
    /// The endpoints of a destination.
    Assignment(Assignment),
}

impl Resource {
    /// The resource's name, unique among those of its type.
    pub fn name(&self) -> &ResourceName {
        match self {
            Resource::Listener(listener) => &listener.name,
            Resource::ApiListener(listener) => &listener.name,
            Resource::Table(table) => &table.name,
            Resource::Cluster(cluster) => &cluster.name,
            Resource::Assignment(assignment) => &assignment.name,
        }
    }

    /// The resource's type.
    pub fn resource_type(&self) -> ResourceType {
        match self {
            Resource::Listener(_) | Resource::ApiListener(_) => ResourceType::Listener,
            Resource::Table(_) => ResourceType::Table,
            Resource::Cluster(_) => ResourceType::Cluster,
            Resource::Assignment(_) => ResourceType::Assignment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientKind, ResourceType};

    #[test]
    fn type_urls_read_back() {
        for kind in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
        }
        assert_eq!(ResourceType::from_type_url(""), None);
    }

    #[test]
    fn clusters_are_sent_first_and_tables_last() {
        assert_eq!(ResourceType::ALL.map(ResourceType::short), ["CDS", "EDS", "LDS", "RDS"]);
        assert!(ResourceType::ALL.is_sorted());
    }

    #[test]
    fn clients_are_known_by_their_user_agent() {
        for (name, kind) in [
            ("outrigger-proxy", ClientKind::Outrigger),
            ("envoy", ClientKind::Envoy),
            ("gRPC C-core", ClientKind::Grpc),
            ("gRPC Go", ClientKind::Grpc),
            ("grpc-java", ClientKind::Grpc),
            ("", ClientKind::Envoy),
        ] {
            assert_eq!(ClientKind::from_user_agent(name), kind, "{name}");
        }
    }
}
