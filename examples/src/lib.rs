//! Small meshes to run: a shop, the load on it, and the demo that tells its story.
//!
//! Everything is one binary, `demo`, that starts itself again for each process of the shop, each sidecar and the control
//! plane: one build is enough. [`run`] is all there is from outside.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it (`tests/order.rs`).

mod wire;
mod ports;
mod stats;
mod supervise;
mod shop;
mod cast;
mod documents;
mod load;
mod report;
mod paint;
mod control;
mod arguments;
mod stage;
mod story;
mod demo;
mod calls;

pub use calls::run;
