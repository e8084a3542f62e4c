//! Placeholder until the real one lands in minutes.
/// A message body.
#[derive(Debug, Default)]
pub struct Body;
