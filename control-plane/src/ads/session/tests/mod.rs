//! The session against scripted clients: the conformance cases of either transport, the order among types, bounds,
//! and a model that does everything at random.

mod delta;
mod model;
mod order;
mod sotw;
mod script;
