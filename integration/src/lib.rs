//! The harness: starts whole meshes out of real processes on free loopback ports, plays the callers and the services
//! around them, and takes everything down again.
//!
//! The tests in `tests/it` use it, a module for each behaviour. Three kinds of ends meet a proxy: [`wire`] speaks byte
//! for byte, [`origin`] and [`client`] speak proper HTTP through hyper, and [`peers`] are other people's programs. What
//! goes wrong here panics with what was awaited and what was seen: a test wants the story, not an error to handle.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it (`tests/order.rs`).

pub mod wait;
pub mod ports;
pub mod process;
pub mod binaries;
pub mod peers;
pub mod envoy;
pub mod wire;
pub mod redis;
pub mod grpc;
pub mod behaviour;
pub mod origin;
pub mod client;
pub mod relay;
pub mod call;
pub mod otlp;
pub mod documents;
pub mod proxy;
pub mod control_plane;
pub mod ads;
pub mod mesh;
pub mod differ;
