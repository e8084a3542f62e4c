//! The control plane whole: in this process over loopback, and as a process of its own.
#![allow(missing_docs)]

mod directory;
mod live;
mod peer;
mod process;
