//! Documents for a mesh of the tests: services and workloads by a line each, everything else as the YAML a user would
//! write. All names are in the namespace `shop`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use crate::ports;

/// The namespace of every document.
pub const NAMESPACE: &str = "shop";

/// A growing set of documents.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    text: String,
    outbound: BTreeMap<String, SocketAddr>,
    inbound: BTreeMap<String, SocketAddr>,
}

impl Documents {
    /// Every trace is kept, and nothing else is there.
    pub fn new() -> Documents {
        Documents::bare().with(
            "
apiVersion: outrigger.dev/v1alpha1
kind: MeshPolicy
metadata: { name: default, namespace: outrigger-system }
spec: { tracing: { samplePercent: 100 } }",
        )
    }

    /// Nothing at all.
    pub fn bare() -> Documents {
        Documents::default()
    }

    /// A service `name` of workloads labelled `app: name`, one without a sidecar for each address. `protocol` is the
    /// port's appProtocol; empty leaves the caller's.
    #[must_use]
    pub fn service(self, name: &str, protocol: &str, addresses: &[SocketAddr]) -> Documents {
        let with_service = self.selecting(name, protocol, &format!("app: {name}"));
        addresses.iter().enumerate().fold(with_service, |documents, (index, address)| {
            documents.workload(&format!("{name}-{}", index + 1), &format!("app: {name}"), *address)
        })
    }

    /// A service of the workloads that carry `labels` (`app: catalog, version: v1`); its port is 80, named `http`.
    #[must_use]
    pub fn selecting(self, name: &str, protocol: &str, labels: &str) -> Documents {
        let protocol = if protocol.is_empty() { String::new() } else { format!(", appProtocol: {protocol}") };
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {{ name: {name}, namespace: {NAMESPACE} }}
spec:
  selector: {{ {labels} }}
  ports: [{{ name: http, port: 80{protocol} }}]"
        ))
    }

    /// A workload without a sidecar: the mesh reaches it directly.
    #[must_use]
    pub fn workload(self, name: &str, labels: &str, address: SocketAddr) -> Documents {
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: {NAMESPACE}, labels: {{ {labels} }} }}
spec:
  address: {}
  ports: [{{ name: http, port: {} }}]",
            address.ip(),
            address.port(),
        ))
    }

    /// A workload of service `service` with a sidecar: its proxy listens on a free port, forwards to `app`, and has an
    /// outbound listener of its own.
    #[must_use]
    pub fn sidecar(mut self, name: &str, service: &str, app: SocketAddr) -> Documents {
        let (inbound, outbound) = (ports::free(), ports::free());
        self.inbound.insert(name.to_owned(), inbound);
        self.outbound.insert(name.to_owned(), outbound);
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: {NAMESPACE}, labels: {{ app: {service} }} }}
spec:
  address: 127.0.0.1
  ports: [{{ name: http, port: {}, appPort: {} }}]
  outbound: [{{ port: {} }}]",
            inbound.port(),
            app.port(),
            outbound.port(),
        ))
    }

    /// A workload that only calls, every service by its host.
    #[must_use]
    pub fn caller(mut self, name: &str) -> Documents {
        let outbound = ports::free();
        self.outbound.insert(name.to_owned(), outbound);
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: {NAMESPACE}, labels: {{ app: {name} }} }}
spec:
  address: 127.0.0.1
  outbound: [{{ port: {} }}]",
            outbound.port(),
        ))
    }

    /// A workload of the service `service` that stands in a zone, with an application nobody calls.
    #[must_use]
    pub fn caller_in(mut self, name: &str, service: &str, zone: &str) -> Documents {
        let outbound = ports::free();
        self.outbound.insert(name.to_owned(), outbound);
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: {NAMESPACE}, labels: {{ app: {service} }} }}
spec:
  address: 127.0.0.1
  ports: [{{ name: http, port: {} }}]
  locality: {{ zone: {zone} }}
  outbound: [{{ port: {} }}]",
            ports::free().port(),
            outbound.port(),
        ))
    }

    /// A workload whose outbound listener is bound to one service, whatever the host.
    #[must_use]
    pub fn bound(mut self, name: &str, service: &str) -> Documents {
        let outbound = ports::free();
        self.outbound.insert(name.to_owned(), outbound);
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: {NAMESPACE}, labels: {{ app: {name} }} }}
spec:
  address: 127.0.0.1
  outbound: [{{ port: {}, service: {service}, servicePort: http }}]",
            outbound.port(),
        ))
    }

    /// A BackendPolicy on the service `name`; `spec` is its other fields, as lines.
    #[must_use]
    pub fn backend_policy(self, name: &str, spec: &str) -> Documents {
        self.policy("BackendPolicy", "{ group: \"\", kind: Service, name: NAME }", name, spec)
    }

    /// A RateLimitPolicy on the service `name`, inbound.
    #[must_use]
    pub fn rate_limit_policy(self, name: &str, spec: &str) -> Documents {
        self.policy("RateLimitPolicy", "{ group: \"\", kind: Service, name: NAME }", name, spec)
    }

    /// An HTTPRoute for service `name` with one rule that leads to it, and a RoutePolicy on that route.
    #[must_use]
    pub fn route_policy(self, name: &str, spec: &str) -> Documents {
        let rule = format!("- backendRefs: [{{ name: {name}, port: 80 }}]");
        self.route(name, &rule).policy_of_route(name, spec)
    }

    /// A RoutePolicy on the HTTPRoute that [`Documents::route`] makes for service `name`.
    #[must_use]
    pub fn policy_of_route(self, name: &str, spec: &str) -> Documents {
        let target = "{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: NAME }";
        self.policy("RoutePolicy", target, name, spec)
    }

    /// An HTTPRoute on the service `name`; `rules` is its list of rules, as lines.
    #[must_use]
    pub fn route(self, name: &str, rules: &str) -> Documents {
        self.with(&format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: {NAMESPACE} }}
spec:
  parentRefs: [{{ group: \"\", kind: Service, name: {name} }}]
  rules:
{}",
            indented(rules),
        ))
    }

    fn policy(self, kind: &str, target: &str, name: &str, spec: &str) -> Documents {
        let target = target.replace("NAME", name);
        self.with(&format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: {kind}
metadata: {{ name: {name}, namespace: {NAMESPACE} }}
spec:
  targetRefs: [{target}]
{}",
            indented(spec),
        ))
    }

    /// Further documents, as they are written.
    #[must_use]
    pub fn with(mut self, text: &str) -> Documents {
        let _ = writeln!(self.text, "---\n{}", text.trim());
        self
    }

    /// All of it, as YAML.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the outbound listener of `workload` is.
    pub fn outbound(&self, workload: &str) -> SocketAddr {
        *self.outbound.get(workload).unwrap_or_else(|| panic!("{workload} has no outbound listener"))
    }

    /// Where the sidecar of `workload` takes what comes in.
    pub fn inbound(&self, workload: &str) -> SocketAddr {
        *self.inbound.get(workload).unwrap_or_else(|| panic!("{workload} has no sidecar"))
    }

    /// The workloads that have a proxy.
    pub fn with_proxies(&self) -> impl Iterator<Item = &str> {
        self.outbound.keys().map(String::as_str)
    }
}

/// The lines of `text`, without their common margin, two spaces in.
fn indented(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines().map(|line| format!("  {}", &line[margin..])).collect::<Vec<_>>().join("\n")
}
