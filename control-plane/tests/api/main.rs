//! The visible half of the control plane, over its real ports: the API, OTLP both ways, and the command line.
#![allow(missing_docs)]

mod plane;

mod cli;
mod documents;
mod guard;
mod openapi;
mod otlp;
