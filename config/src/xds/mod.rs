//! The model on the wire: xDS resources encoded and decoded side by side, and the messages that carry them.
//!
//! [`encode`] makes the bytes that one kind of client understands, the same bytes in every process. [`decode`] reads
//! what [`encode`] says to our own proxy, exactly, and what any other ADS server says within the model; what it cannot
//! carry out it refuses with the field's path, and no bytes make it panic. [`version`] names bytes by their content.
//!
//! Only this module names xds-api. What that crate lacks is written by hand beside it, and checked tag by tag against
//! the newest protos in `tests/`.

use bytes::Bytes;
use prost_xds::Message;
use xds_api::pb::envoy::config;

use crate::error::Problem;

pub use crate::resource::{ClientKind, Resource, ResourceType};

pub mod transport;
pub mod rls;
pub mod rlqs;
pub mod wire;
mod value;
mod priority;
mod header;
mod matching;
mod fault;
mod session;
mod cache;
mod retry;
mod own;
mod adaptive;
mod rate_limit;
mod asked;
mod global_limit;
mod breaker;
mod outlier;
mod health_check;
mod locality;
mod reports;
mod subset;
mod balancing;
mod protocol;
mod filter;
mod endpoint;
mod cluster;
mod backend;
mod action;
mod route;
mod listener;

/// The longest resource that is read, bytes. An empty element of a list takes two bytes on the wire and some hundreds
/// in memory, so that this bounds memory as well.
pub const MAX_RESOURCE_BYTES: usize = 8 * 1024 * 1024;

/// Encodes a resource as the value of an `Any` of its type. `None`: this kind of client does not get it, because it
/// would refuse it or has no use for it.
pub fn encode(resource: &Resource, client: ClientKind) -> Option<Bytes> {
    let bytes = match resource {
        Resource::Listener(listener) => listener::encode(listener, client)?.encode_to_vec(),
        Resource::ApiListener(listener) => listener::encode_api(listener, client)?.encode_to_vec(),
        Resource::Table(table) => route::encode(table, client).encode_to_vec(),
        Resource::Cluster(cluster) => cluster::encode(cluster, client)?,
        Resource::Assignment(assignment) => endpoint::encode(assignment, client).encode_to_vec(),
    };
    Some(bytes.into())
}

/// Decodes the value of an `Any` and checks it.
pub fn decode(kind: ResourceType, value: &[u8]) -> Result<Resource, Problem> {
    if value.len() > MAX_RESOURCE_BYTES {
        let reason = format!("a resource must be at most {MAX_RESOURCE_BYTES} bytes long");
        return Err(Problem::invalid(value.len(), reason));
    }
    match kind {
        ResourceType::Cluster => {
            let message: config::cluster::v3::Cluster = wire::read(value)?;
            cluster::decode(&message).map(Resource::Cluster)
        }
        ResourceType::Assignment => {
            let message: config::endpoint::v3::ClusterLoadAssignment = wire::read(value)?;
            endpoint::decode(&message).map(Resource::Assignment)
        }
        ResourceType::Listener => {
            let message: config::listener::v3::Listener = wire::read(value)?;
            listener::decode(&message)
        }
        ResourceType::Table => {
            let message: config::route::v3::RouteConfiguration = wire::read(value)?;
            route::decode(&message).map(Resource::Table)
        }
    }
}

/// The version of encoded bytes: 16 hexadecimal digits of their hash, the same on every replica.
pub fn version(value: &[u8]) -> String {
    let mut hex = blake3::hash(value).to_hex().to_string();
    hex.truncate(16);
    hex
}
