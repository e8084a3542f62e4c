//! Where configuration comes from: a control plane that speaks ADS, or a file.

pub mod status;
pub mod publish;
