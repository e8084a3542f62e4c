//! Messages that xds-api 0.2.0 lacks, and Outrigger's own, written by hand.
//!
//! They are prost 0.13 messages as xds-api's are, so that both nest in each other; the newer derive reaches the older
//! library through `prost_path`. Tags are checked against the newest protos (`tests/xds_wire.rs`). Each message that
//! travels in an `Any` has its [`Name`]; [`pack`] and [`unpack`] are the only doors in and out.

use prost_xds::{Message, Name};
use xds_api::pb::google::protobuf::Any;

use crate::error::{Code, Problem};

pub mod adaptive;
pub mod balancing;
pub mod cache;
pub mod fault;
pub mod global_limit;
pub mod http;
pub mod session;
pub mod outrigger;
pub mod rate_limit;
pub mod template;

/// What every type URL begins with.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// Wraps a message.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: format!("{TYPE_URL_PREFIX}{}", M::full_name()), value: message.encode_to_vec() }
}

/// Unwraps a message of the type that is expected.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Problem> {
    if !is::<M>(any) {
        let reason = format!("must be of type {TYPE_URL_PREFIX}{}", M::full_name());
        return Err(Problem::new(Code::WrongType, reason).with_value(&any.type_url).at_field("type_url"));
    }
    read(&any.value).map_err(|problem| problem.at_field("value"))
}

/// Whether a wrapped message is of this type.
pub fn is<M: Name>(any: &Any) -> bool {
    any.type_url.strip_prefix(TYPE_URL_PREFIX) == Some(M::full_name().as_str())
}

/// Reads a message.
pub fn read<M: Message + Default>(value: &[u8]) -> Result<M, Problem> {
    M::decode(value).map_err(|error| Problem::new(Code::Syntax, format!("cannot be decoded: {error}")))
}
