//! The kinds of documents, each with its API version.

use std::fmt;

/// A kind of document. The order is that of listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A service: a name with ports, and the labels of the workloads behind it.
    Service,
    /// A workload: an instance at an address, and what its sidecar listens on.
    Workload,
    /// Which HTTP request to a service goes where.
    HttpRoute,
    /// Which gRPC call to a service goes where.
    GrpcRoute,
    /// Retries and timeouts of routes, on the caller's side.
    RoutePolicy,
    /// Balancing, limits and outlier detection of a service, on the caller's side.
    BackendPolicy,
    /// Rate limits, before a service's workloads or on a route.
    RateLimitPolicy,
    /// What holds for a whole namespace or mesh.
    MeshPolicy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] = [
        Kind::Service,
        Kind::Workload,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::RoutePolicy,
        Kind::BackendPolicy,
        Kind::RateLimitPolicy,
        Kind::MeshPolicy,
    ];

    /// The kind as a document writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Service => "Service",
            Kind::Workload => "Workload",
            Kind::HttpRoute => "HTTPRoute",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::RoutePolicy => "RoutePolicy",
            Kind::BackendPolicy => "BackendPolicy",
            Kind::RateLimitPolicy => "RateLimitPolicy",
            Kind::MeshPolicy => "MeshPolicy",
        }
    }

    /// The API version that a document of this kind states.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::HttpRoute | Kind::GrpcRoute => "gateway.networking.k8s.io/v1",
            _ => "outrigger.dev/v1alpha1",
        }
    }

    /// The API group in the way a reference states it. A Service is also found under the empty group, where
    /// Kubernetes has it.
    pub fn group(self) -> &'static str {
        match self {
            Kind::Service => "",
            _ => self.api_version().split_once('/').map_or("", |(group, _)| group),
        }
    }

    /// Reads a kind as people type it: in any case, singular or plural (`httproute`, `HTTPRoutes`, `backendpolicies`).
    pub fn parse(text: &str) -> Option<Kind> {
        let lower = text.to_ascii_lowercase();
        let plural = |singular: &str| match singular.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{singular}s"),
        };
        Kind::ALL.into_iter().find(|kind| {
            let singular = kind.as_str().to_ascii_lowercase();
            lower == singular || lower == plural(&singular)
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn kinds_are_read_as_people_type_them() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("httproutes"), Some(Kind::HttpRoute));
        assert_eq!(Kind::parse("backendpolicies"), Some(Kind::BackendPolicy));
        assert_eq!(Kind::parse("services"), Some(Kind::Service));
        assert_eq!(Kind::parse("pods"), None);
    }
}
