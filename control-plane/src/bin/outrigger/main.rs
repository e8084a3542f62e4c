//! Outrigger.
fn main() {}
