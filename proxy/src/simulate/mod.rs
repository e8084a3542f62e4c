//! Rehearses documents: the very rooms that serve requests, over requests from a file and endpoints that follow a script,
//! in a time of its own.
//!
//! Nothing is decided here. The stack is the one of [`crate::stack`], compiled from documents as a proxy would, down to
//! the choice of the endpoint; only what is behind that, the network, is a [`script`]. The clock is tokio's, paused, so
//! that an hour takes as long as its requests cost, and all chance comes from one seed: the same files and the same
//! seed say the same, byte for byte.
//!
//! One proxy with one worker is rehearsed. What is not: connections that rest between requests (each has its own while
//! it lasts), what the wire does to bytes, and other proxies.

pub mod scenario;
pub mod script;
mod wire;
pub mod play;
pub mod summary;
pub mod cases;
mod files;
pub mod command;

pub use play::{Played, Stage, play};
pub use scenario::Scenario;
