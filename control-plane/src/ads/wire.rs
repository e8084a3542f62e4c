//! The two transports, and how an answer is put into the message of each.

use std::sync::Arc;

use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{Any, ControlPlane, DeltaDiscoveryResponse, DiscoveryResponse, Resource};

use crate::view::{Entry, Version};

/// What the control plane calls itself in each response.
const IDENTIFIER: &str = "outrigger-control-plane";

/// Which of the two methods of ADS a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// State of the world: a request names everything it wants; of clusters and listeners a response is the whole.
    Sotw,
    /// Incremental: requests and responses carry changes.
    Delta,
}

impl Transport {
    /// The transport as the API prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Sotw => "sotw",
            Transport::Delta => "delta",
        }
    }
}

/// What is sent for one type at one time, whatever the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The type.
    pub kind: ResourceType,
    /// Unique on its stream; the client echoes it.
    pub nonce: u64,
    /// The version of all the client may see of the type.
    pub version: Version,
    /// What is new, changed, or asked for again.
    pub resources: Vec<Arc<Entry>>,
    /// What is gone, or was asked for and does not exist (delta only).
    pub removed: Vec<Arc<str>>,
}

impl From<Answer> for DiscoveryResponse {
    fn from(answer: Answer) -> Self {
        DiscoveryResponse {
            version_info: answer.version.to_string(),
            resources: answer.resources.iter().map(|entry| any(answer.kind, entry)).collect(),
            type_url: answer.kind.type_url().to_owned(),
            nonce: answer.nonce.to_string(),
            control_plane: Some(ControlPlane { identifier: IDENTIFIER.to_owned() }),
            resource_errors: Vec::new(),
        }
    }
}

impl From<Answer> for DeltaDiscoveryResponse {
    fn from(answer: Answer) -> Self {
        let resource = |entry: &Arc<Entry>| Resource {
            version: entry.version().to_string(),
            resource: Some(any(answer.kind, entry)),
            name: entry.name().to_string(),
            aliases: Vec::new(),
            ttl: None,
        };
        DeltaDiscoveryResponse {
            system_version_info: answer.version.to_string(),
            resources: answer.resources.iter().map(resource).collect(),
            type_url: answer.kind.type_url().to_owned(),
            nonce: answer.nonce.to_string(),
            removed_resources: answer.removed.iter().map(ToString::to_string).collect(),
            control_plane: Some(ControlPlane { identifier: IDENTIFIER.to_owned() }),
            resource_errors: Vec::new(),
        }
    }
}

fn any(kind: ResourceType, entry: &Entry) -> Any {
    Any { type_url: kind.type_url().to_owned(), value: entry.value().clone() }
}
