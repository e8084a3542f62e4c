//! Where configuration comes from: a control plane that speaks ADS, or a file.
//!
//! Answers enter through [`transport`], [`session`] accepts or refuses them and keeps the good in [`accepted`],
//! [`warming`] decides what of that may serve already, and [`publish`] makes it serve. [`follow`] is the task around
//! them; everything else here is synchronous. Nothing on the request path waits for any of it.

pub mod status;
pub mod publish;
pub mod backoff;
pub mod accepted;
pub mod warming;
pub mod session;
pub mod transport;
pub mod follow;
