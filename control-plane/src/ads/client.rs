//! Who is at the other end of a stream: read once, from the node of its first request.
//!
//! A client says who it is and is believed: until mutual TLS lands the listener is plaintext and on loopback. What it
//! says only chooses its view; a workload or namespace that does not exist gets what namespace `default` sees.

use outrigger_config::name::{ObjectName, check_label};
use outrigger_config::resource::ClientKind;
use outrigger_config::xds::transport::Node;

/// The longest node id that is accepted, bytes.
pub const MAX_NODE_ID: usize = 512;
/// The namespace of whoever names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The client of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    id: String,
    kind: ClientKind,
    namespace: String,
    workload: Option<ObjectName>,
}

impl Client {
    /// Reads a node; `None` when its id is empty or too long to be one.
    pub fn read(node: &Node) -> Option<Self> {
        if node.id.is_empty() || node.id.len() > MAX_NODE_ID {
            return None;
        }
        let kind = ClientKind::from_user_agent(&node.user_agent_name);
        // A gRPC library listens nowhere, so nothing is its own but the view of its namespace.
        let workload = match kind {
            ClientKind::Grpc => None,
            ClientKind::Outrigger | ClientKind::Envoy => ObjectName::parse(&node.id).ok(),
        };
        let namespace = match &workload {
            Some(workload) => workload.namespace(),
            None => namespace(node).unwrap_or(DEFAULT_NAMESPACE),
        };
        Some(Client { id: node.id.clone(), kind, namespace: namespace.to_owned(), workload })
    }

    /// The node's id, as it gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What kind of client it is.
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// The namespace it looks out from.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The workload it stands beside, if its id names one.
    pub fn workload(&self) -> Option<&ObjectName> {
        self.workload.as_ref()
    }
}

/// The namespace a node names: its metadata first, else its id up to a slash.
fn namespace(node: &Node) -> Option<&str> {
    let of_metadata = node.metadata.as_ref().and_then(|metadata| metadata.text("NAMESPACE"));
    let of_id = || node.id.split_once('/').map(|(namespace, _)| namespace);
    of_metadata.or_else(of_id).filter(|namespace| check_label(namespace).is_ok())
}

#[cfg(test)]
mod tests {
    use outrigger_config::xds::transport::{Node, Struct};

    use super::{Client, MAX_NODE_ID};

    fn node(id: &str, agent: &str, metadata: Option<&str>) -> Node {
        Node {
            id: id.into(),
            user_agent_name: agent.into(),
            metadata: metadata.map(|namespace| Struct::of_texts([("NAMESPACE", namespace)])),
            ..Node::default()
        }
    }

    #[test]
    fn a_node_names_its_view() {
        for (id, agent, metadata, namespace, workload) in [
            ("shop/catalog-1", "outrigger-proxy", None, "shop", Some("shop/catalog-1")),
            ("catalog-1", "envoy", None, "default", Some("default/catalog-1")),
            ("catalog-1", "gRPC Go", None, "default", None),
            ("shop/catalog-1", "gRPC Go", None, "shop", None),
            ("shop/catalog-1", "gRPC Go", Some("stage"), "stage", None),
            ("sidecar~10.0.0.1~a.b~b.svc", "envoy", Some("b"), "b", None),
            ("NOT/A NAME", "gRPC Go", None, "default", None),
        ] {
            let client = Client::read(&node(id, agent, metadata)).expect(id);
            assert_eq!(client.namespace(), namespace, "{id} {agent}");
            assert_eq!(client.workload().map(ToString::to_string).as_deref(), workload, "{id} {agent}");
        }
    }

    #[test]
    fn a_node_without_a_usable_id_is_nobody() {
        assert_eq!(Client::read(&node("", "envoy", None)), None);
        assert_eq!(Client::read(&node(&"x".repeat(MAX_NODE_ID + 1), "envoy", None)), None);
    }
}
