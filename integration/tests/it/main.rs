//! Tests of whole meshes.
