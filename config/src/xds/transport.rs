//! The messages of ADS itself: `envoy.service.discovery.v3`, `google.rpc.Status` and what they stand on.
//!
//! Written by hand rather than taken from xds-api for three reasons: resources are [`Bytes`], so that a thousand
//! streams share one encoding; [`Node`] leaves `extensions` out, because an Envoy sends 60 KB of them on each
//! connection; and prost 0.14 is what the tonic that serves everything else carries. Fields that Outrigger neither
//! reads nor writes are left out, and prost skips them.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The method of state-of-the-world ADS.
pub const STREAM_PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// The method of incremental ADS.
pub const DELTA_PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The service both belong to.
pub const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
/// The type of [`Resource`] where it wraps a resource inside a [`DiscoveryResponse`], as a server may do.
pub const RESOURCE_TYPE_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// `google.protobuf.Any`: an encoded message and its type.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the message's full name.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest, of the same sign.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.Struct`: a JSON object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    /// The members, by name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

impl Struct {
    /// The text under `name`, if it is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name)?.kind.as_ref()? {
            value::Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An object of texts, as node metadata mostly is.
    pub fn of_texts<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let value = |text: &str| Value { kind: Some(value::Kind::Text(text.to_owned())) };
        Struct { fields: entries.into_iter().map(|(name, text)| (name.to_owned(), value(text))).collect() }
    }
}

/// `google.protobuf.Value`: any JSON value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// The value; absent is an error of the sender and reads as null.
    #[prost(oneof = "value::Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<value::Kind>,
}

/// The kinds of [`Value`].
pub mod value {
    /// What a JSON value is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        /// Null.
        #[prost(int32, tag = "1")]
        Null(i32),
        /// A number.
        #[prost(double, tag = "2")]
        Number(f64),
        /// A text.
        #[prost(string, tag = "3")]
        Text(String),
        /// True or false.
        #[prost(bool, tag = "4")]
        Bool(bool),
        /// An object.
        #[prost(message, tag = "5")]
        Object(super::Struct),
        /// A list.
        #[prost(message, tag = "6")]
        List(super::ListValue),
    }
}

/// `google.protobuf.ListValue`: a JSON array.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListValue {
    /// The elements.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// `google.rpc.Status`: an error, here mostly why a client refuses a response.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// A gRPC status code. Clients disagree on which one a refusal has: never branch on it.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// What went wrong, for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// More of the same.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `envoy.config.core.v3.Locality`: where a node stands.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Locality {
    /// The region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The zone inside the region.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// The part of the zone.
    #[prost(string, tag = "3")]
    pub sub_zone: String,
}

/// `envoy.config.core.v3.Node`: who asks. Guaranteed only on the first request of a stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// The node's name, unique among the clients of a control plane.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The group of like nodes.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Whatever else its bootstrap says.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
    /// Where it stands.
    #[prost(message, optional, tag = "4")]
    pub locality: Option<Locality>,
    /// What runs there: `envoy`, `gRPC Go`, `outrigger-proxy`.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// Its version, where it is a text (`user_agent_version_type`).
    #[prost(string, tag = "7")]
    pub user_agent_version: String,
    /// What it understands, as `xds.config.resource-in-sotw`.
    #[prost(string, repeated, tag = "10")]
    pub client_features: Vec<String>,
}

/// `envoy.config.core.v3.ControlPlane`: who answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ControlPlane {
    /// The replica's name.
    #[prost(string, tag = "1")]
    pub identifier: String,
}

/// A request of state-of-the-world ADS: a subscription, an ACK or a NACK.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryRequest {
    /// The last version of the type that was accepted.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// Everything that is asked for; empty may mean everything there is, for listeners and clusters alone.
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    /// The type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The nonce of the last response of the type on this stream.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Present exactly when that response is refused.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<Status>,
}

/// A response of state-of-the-world ADS.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryResponse {
    /// The version of what is sent.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// The resources, bare or wrapped ([`RESOURCE_TYPE_URL`]).
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Any>,
    /// The type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be echoed by the request that accepts or refuses this.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Who answers.
    #[prost(message, optional, tag = "6")]
    pub control_plane: Option<ControlPlane>,
    /// Why resources that were asked for are not here.
    #[prost(message, repeated, tag = "7")]
    pub resource_errors: Vec<ResourceError>,
}

/// A request of incremental ADS: changes of the subscription, an ACK or NACK, or both.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// The type.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names asked for from now on; `*` is everything.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names no longer asked for.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// On a type's first request: what the client still has, by name, and its version.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The nonce of the response that is accepted or refused; empty on a request that answers none.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Present exactly when that response is refused.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// A response of incremental ADS.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// The version of the whole, for debugging only.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// What is new or changed.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// The type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be echoed by the request that accepts or refuses this.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names of what is gone, or was asked for and does not exist.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// Who answers.
    #[prost(message, optional, tag = "7")]
    pub control_plane: Option<ControlPlane>,
    /// Why resources that were asked for are not here.
    #[prost(message, repeated, tag = "9")]
    pub resource_errors: Vec<ResourceError>,
}

/// A resource with its name and version.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// The resource's version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The resource; absent in a heartbeat that only extends `ttl`.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// The resource's name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Other names it may be asked for by.
    #[prost(string, repeated, tag = "4")]
    pub aliases: Vec<String>,
    /// How long it may be used without hearing of it again; absent is for ever.
    #[prost(message, optional, tag = "6")]
    pub ttl: Option<Duration>,
}

/// Why a resource is not sent (xRFC TP3).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResourceError {
    /// Which resource.
    #[prost(message, optional, tag = "1")]
    pub resource_name: Option<ResourceName>,
    /// Why.
    #[prost(message, optional, tag = "2")]
    pub error_detail: Option<Status>,
}

/// The name of a resource.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResourceName {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}
