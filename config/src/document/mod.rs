//! Documents: the YAML or JSON that people write, read into typed specs.
//!
//! A text enters ([`parse`]), documents leave; or everything that is wrong with their shape, at once, each with file,
//! line, column, field, value and what would be valid. `syntax` turns text into a tree of `node`s that know their place,
//! `reader` walks the tree and notes problems, and one file a kind says what the kind's fields are. What documents
//! mean together, references above all, is the business of [`crate::mesh`]; no document looks at another here.
//!
//! Absent fields get their defaults here and nowhere later; each field's line says which.

mod node;
mod syntax;
mod suggestion;
mod reader;
mod kind;
mod metadata;
mod subsets;
mod filter;
mod reference;
mod cookies;
mod matches;
mod service;
mod workload;
mod route;
mod http_route;
mod grpc_route;
mod policy;
mod admission;
mod backend_policy;
mod cache;
mod session;
mod fault;
mod health_check;
mod outlier;
mod load_balancing;
mod retry;
mod route_policy;
mod adaptive;
mod rate_limit_policy;
mod mesh_policy;
mod parse;

pub use backend_policy::BackendPolicy;
pub use filter::{Filters, MirrorRef};
pub use kind::Kind;
pub use mesh_policy::{MESH_NAMESPACE, MeshPolicy};
pub use metadata::Created;
pub use parse::{Document, MAX_PROBLEMS, Spec, parse, values};
pub use rate_limit_policy::RateLimitPolicy;
pub use reference::{BackendRef, ParentRef, PortRef, TargetRef};
pub use retry::RetryChoice;
pub use route::{Route, Rule};
pub use route_policy::RoutePolicy;
pub use service::{Service, ServicePort};
pub use syntax::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use workload::{Outbound, OutboundService, Workload, WorkloadPort};
