//! The mesh: all documents together, held against each other and translated into what proxies are sent.
//!
//! Well-formed documents enter ([`Mesh::try_new`]); a validated [`Mesh`] leaves, or everything that is wrong between
//! them, at once. From it come the resources of two classes: those that all proxies of a namespace share
//! ([`Mesh::shared`]) and those of one workload ([`Mesh::own`]). The same documents, in whatever order, give equal
//! resources in equal order.
//!
//! `index` finds documents by what refers to them, `check` holds them against each other, and the rest translates.
//! Names of resources are made in `name` alone and mean nothing anywhere else.

mod finding;
mod index;
mod select;
mod effective;
mod reference;
mod socket;
mod cycle;
mod precedence;
mod reach;
mod check;
mod name;
mod host;
mod subset;
mod backend;
mod table;
mod listener;
mod build;

pub use build::Mesh;
