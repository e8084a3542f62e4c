//! The model on the wire: xDS resources encoded and decoded side by side, and the messages that carry them.
//!
//! Only this module names xds-api. What that crate lacks is written by hand beside it, and checked tag by tag against
//! the newest protos in `tests/`.

pub mod transport;
pub mod wire;
