//! The model on the wire: exact for our own proxy, acceptable to Envoy and gRPC, and safe from whatever comes in.

mod bytes;
mod clients;
mod foreign;
mod roundtrip;
mod strategies;
mod wire;
