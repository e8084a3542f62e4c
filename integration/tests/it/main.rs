//! Tests of whole meshes: one binary, a module for each behaviour.
