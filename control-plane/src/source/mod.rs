//! Where documents come from beside the API: a watched directory.

pub mod directory;
