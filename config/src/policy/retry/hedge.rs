//! When another attempt is sent beside one that has not answered yet (gRFC A6; Envoy's `hedge_on_per_try_timeout`).

use std::time::Duration;

use crate::error::{Code, Problem};
use crate::value::Percent;

/// After how long an attempt gets another beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// Always so long.
    Delay(Duration),
    /// As long as this share of the route's answers take, at most.
    Percentile(Percent),
}

impl Hedge {
    /// The numbers hold together.
    pub fn check(self, per_try_timeout: Option<Duration>) -> Result<(), Problem> {
        match self {
            Hedge::Delay(delay) if delay.is_zero() => {
                Err(Problem::invalid("0s", "must be longer than zero").at_field("delay"))
            }
            Hedge::Delay(delay) if per_try_timeout.is_some_and(|timeout| timeout <= delay) => {
                let reason =
                    "must be shorter than perTryTimeout, or no attempt lasts long enough for another beside it";
                Err(Problem::new(Code::Conflict, reason).at_field("delay"))
            }
            Hedge::Percentile(share) if share == Percent::ZERO || share == Percent::HUNDRED => {
                Err(Problem::invalid(share, "must be above 0 and below 100").at_field("percentile"))
            }
            Hedge::Delay(_) | Hedge::Percentile(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Hedge;
    use crate::value::Percent;

    #[test]
    fn a_hedge_that_never_comes_is_refused() {
        let second = Duration::from_secs(1);
        for (hedge, per_try, holds) in [
            (Hedge::Delay(Duration::ZERO), None, false),
            (Hedge::Delay(second), None, true),
            (Hedge::Delay(second), Some(second), false),
            (Hedge::Delay(second), Some(2 * second), true),
            (Hedge::Percentile(Percent::ZERO), None, false),
            (Hedge::Percentile(Percent::HALF), Some(second), true),
            (Hedge::Percentile(Percent::HUNDRED), None, false),
        ] {
            assert_eq!(hedge.check(per_try).is_ok(), holds, "{hedge:?} {per_try:?}");
        }
    }
}
