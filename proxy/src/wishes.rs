//! What a caller wished for its own request and gets, in the place of what its route says (see `policy::wishes`).

use outrigger_config::policy::{Retry, Timeouts};

/// What a request gets in the place of its route's retries and timeouts.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// What is tried again; none: nothing.
    pub retry: Option<Retry>,
    /// How long it may take.
    pub timeouts: Timeouts,
}
