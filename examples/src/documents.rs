//! The shop's mesh as documents, with the ports of the day. The text is meant to be read: the same, on fixed ports, is
//! `examples/mesh/shop.yaml`.

use std::fmt::Write;

use crate::cast::{Cast, NAMESPACE, Sidecar};

/// Calls a second that each storefront lets the scraper make.
pub(crate) const SCRAPER_LIMIT: u32 = 20;
/// Requests that one caller may have under way at `recommend-v2`.
pub(crate) const MODEL_LIMIT: u32 = 24;

/// Everything: services, workloads, routes, policies.
pub(crate) fn shop(cast: &Cast) -> String {
    let mut text = String::from(HEAD);
    for service in cast.services() {
        let ports = if service == "pricing" { GRPC_PORTS } else { HTTP_PORTS };
        push_service(&mut text, service, ports, &format!("app: {service}"));
    }
    text.push_str("# The two versions of recommend, for its route to choose between.\n");
    for version in ["v1", "v2"] {
        let selector = format!("app: recommend, version: {version}");
        push_service(&mut text, &format!("recommend-{version}"), HTTP_PORTS, &selector);
    }
    text.push_str(
        "# Instances: `port` is the sidecar's, where the mesh comes in; `appPort` is the process behind it;\n",
    );
    text.push_str("# `outbound` is where the process sends its own calls, whatever service they are for.\n");
    for instance in &cast.instances {
        let labels = format!("app: {}, version: {}", instance.service, instance.version);
        let protocol = if instance.service == "pricing" { "grpc" } else { "http" };
        push_workload(&mut text, &instance.sidecar, &labels, Some((protocol, instance.app)));
    }
    text.push_str("# Two that only call: where customers come in, and a batch job.\n");
    for caller in [&cast.gateway, &cast.newsletter] {
        push_workload(&mut text, caller, &format!("app: {}", caller.workload), None);
    }
    text.push_str(&split(90, 10));
    text.push_str(&policies());
    text
}

const HEAD: &str = "\
# A small shop: storefront calls catalog, cart and recommend; catalog and recommend call pricing over gRPC.
# Try it: outrigger analyze -f shop.yaml

";
const HTTP_PORTS: &str = "{name: http, port: 80, appProtocol: http}";
const GRPC_PORTS: &str = "{name: grpc, port: 50051, appProtocol: grpc}";

fn push_service(text: &mut String, name: &str, ports: &str, selector: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "apiVersion: outrigger.dev/v1alpha1\n\
         kind: Service\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  ports:\n  - {ports}\n  selector: {{{selector}}}\n---"
    );
}

fn push_workload(text: &mut String, sidecar: &Sidecar, labels: &str, app: Option<(&str, u16)>) {
    let _ = writeln!(
        text,
        "apiVersion: outrigger.dev/v1alpha1\n\
         kind: Workload\n\
         metadata:\n  name: {}\n  namespace: {NAMESPACE}\n  labels: {{{labels}}}\n\
         spec:\n  address: 127.0.0.1",
        sidecar.workload
    );
    if let (Some(port), Some((protocol, app))) = (sidecar.inbound, app) {
        let _ = writeln!(text, "  ports:\n  - {{name: {protocol}, port: {port}, appPort: {app}}}");
    }
    let _ = writeln!(text, "  outbound:\n  - {{port: {}}}\n---", sidecar.outbound);
}

/// The route of `recommend`, with the shares of its versions.
pub(crate) fn split(v1: u32, v2: u32) -> String {
    format!(
        "\
# The canary: of every hundred calls {v1} go to v1 and {v2} to v2. Batch jobs use v2 alone.
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: recommend, namespace: {NAMESPACE}}}
spec:
  parentRefs:
  - {{group: \"\", kind: Service, name: recommend, port: 80}}
  rules:
  - name: batch
    matches:
    - path: {{type: PathPrefix, value: /batch}}
    backendRefs:
    - {{name: recommend-v2, port: 80}}
  - name: default
    timeouts: {{request: 3s}}
    backendRefs:
    - {{name: recommend-v1, port: 80, weight: {v1}}}
    - {{name: recommend-v2, port: 80, weight: {v2}}}
---
"
    )
}

fn policies() -> String {
    format!(
        "\
# A failed call of recommend is tried up to five times more, on whatever instance looks best by then.
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: recommend, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: gateway.networking.k8s.io, kind: HTTPRoute, name: recommend, sectionName: default}}
  retry:
    attempts: 5
    on: [connect-failure, refused-stream, reset-before-request, reset]
    codes: [502, 503, 504]
    perTryTimeout: 900ms
    backoff: {{base: 5ms, max: 50ms}}
---
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: parts, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: catalog}}
  - {{group: \"\", kind: Service, name: cart}}
  retry:
    attempts: 2
    on: [connect-failure, refused-stream, reset-before-request, reset]
    codes: [502, 503, 504]
    perTryTimeout: 900ms
    backoff: {{base: 5ms, max: 50ms}}
---
# A quote changes nothing, so it may be asked for again although gRPC sends it as a POST.
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: pricing, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: pricing}}
  retry:
    attempts: 2
    on: [connect-failure, refused-stream, reset-before-request, reset]
    grpcCodes: [UNAVAILABLE]
    methods: [POST]
    backoff: {{base: 5ms, max: 50ms}}
---
# The instance with fewer requests under way gets the next one; after three failures in a row it is left alone for a
# while.
apiVersion: outrigger.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: parts, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: catalog}}
  - {{group: \"\", kind: Service, name: cart}}
  loadBalancing: {{algorithm: LeastRequest}}
  outlierDetection:
    consecutiveErrors: 3
    interval: 500ms
    ejection: {{base: 1s, max: 30s, maxPercent: 50}}
---
# The model server is the slow dependency: no caller may have more than {MODEL_LIMIT} requests under way there, and
# retries may be half as many as the requests themselves.
apiVersion: outrigger.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: model, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: recommend-v2}}
  limits: {{maxRequests: {MODEL_LIMIT}}}
  retryConstraint:
    budget: {{percent: 50, interval: 10s}}
    minRetryRate: {{count: 20, interval: 1s}}
  outlierDetection:
    consecutiveErrors: 20
---
# One client that takes more than its share. Each storefront counts for itself.
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{name: scraper, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: storefront}}
  rules:
  - name: scraper
    matches:
    - headers: [{{name: x-client, value: scraper}}]
    limit: {{requests: {SCRAPER_LIMIT}, interval: 1s, burst: {SCRAPER_LIMIT}}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshPolicy
metadata: {{name: default, namespace: {NAMESPACE}}}
spec:
  tracing: {{samplePercent: 100}}
"
    )
}

/// A policy with two mistakes: it must be refused as a whole.
pub(crate) fn mistaken() -> String {
    format!(
        "\
apiVersion: outrigger.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: recommend, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: gateway.networking.k8s.io, kind: HTTPRoute, name: recommend, sectionName: default}}
  retry:
    attempts: 3
    codes: [502, 503, 504]
    perTryTimeout: 5s
---
apiVersion: outrigger.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: recomend, namespace: {NAMESPACE}}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: recomend}}
  limits: {{maxRequests: 64}}
"
    )
}

#[cfg(test)]
mod tests {
    use outrigger_config::document::Document;
    use outrigger_config::mesh::Mesh;

    use super::{mistaken, shop, split};
    use crate::cast::Cast;

    #[test]
    fn the_document_for_readers_is_what_the_demo_applies() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/mesh/shop.yaml");
        let wanted = shop(&Cast::on_fixed_ports());
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            std::fs::write(path, &wanted).expect("the example can be written");
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == wanted, "{path} is not up to date; UPDATE_EXAMPLES=1 cargo test writes it anew");
    }

    fn parse(text: &str) -> Vec<Document> {
        outrigger_config::document::parse(text, "shop.yaml").expect("well-formed documents")
    }

    #[test]
    fn the_documents_are_accepted_without_a_warning() {
        let (mesh, warnings) = Mesh::try_new(parse(&shop(&Cast::on_fixed_ports()))).expect("a valid mesh");
        assert!(warnings.0.is_empty(), "{warnings:?}");
        assert_eq!(mesh.workloads().count(), 13);
        let shifted = parse(&split(50, 50));
        assert_eq!(shifted.len(), 1);
    }

    #[test]
    fn both_mistakes_are_found_at_once() {
        let mistakes = parse(&mistaken());
        let replaced =
            |known: &Document| mistakes.iter().any(|new| (new.kind(), new.name()) == (known.kind(), known.name()));
        let mut documents = parse(&shop(&Cast::on_fixed_ports()));
        documents.retain(|known| !replaced(known));
        documents.extend(mistakes.iter().cloned());
        let problems = Mesh::try_new(documents).expect_err("two mistakes");
        let text = format!("{problems:?}");
        assert!(text.contains("perTryTimeout") && text.contains("recomend"), "{text}");
    }
}
