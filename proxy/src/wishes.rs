//! What a caller wished for its own request and gets, in the place of what its route says (see `policy::wishes`).

use outrigger_config::policy::{Retry, Timeouts};

use crate::route::retrying::AnswerFields;

/// What a request gets in the place of its route's retries and timeouts.
#[derive(Debug)]
pub struct Wishes {
    /// What is tried again; none: nothing.
    pub retry: Option<Retry>,
    /// Which fields of an answer make it worth repeating, where they are not the route's.
    pub answers: Option<AnswerFields>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Whether a timeout is answered with 204 (No Content).
    pub alt_response: bool,
}
