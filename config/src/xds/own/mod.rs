//! Policies as our own messages: whole, with origin and mode, and back exactly as they were.

use crate::error::{Code, Problem};
use crate::policy::Mode;
use crate::value::Percent;

mod retry;
mod limit;
mod route;
mod cluster;

pub(super) use cluster::{
    admission, budget, limits, outlier, read_admission, read_budget, read_limits, read_outlier,
    read_rehearsed as read_rehearsed_cluster, rehearsed as rehearsed_cluster,
};
pub(super) use limit::{rate_limit, read_rate_limit};
pub(super) use retry::{read_retry, retry};
pub(super) use route::{fault, read_fault, read_rehearsed as read_rehearsed_route, rehearsed as rehearsed_route};

/// Decodes a share in millionths.
pub(super) fn percent(field: &str, millionths: u32) -> Result<Percent, Problem> {
    Percent::from_millionths(millionths).map_err(|problem| problem.at_field(field))
}

/// Decodes an HTTP status; the policy itself knows which ones it takes.
fn status(number: &u32) -> Result<u16, Problem> {
    u16::try_from(*number).map_err(|_| Problem::new(Code::InvalidValue, "must be a status").with_value(number))
}

pub(super) fn mode(observe: bool) -> Mode {
    if observe { Mode::Observe } else { Mode::Enforce }
}
