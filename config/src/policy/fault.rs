//! Injected faults: a delay before a request is served, an abort in its place, a response that comes slowly (xDS
//! `extensions.filters.http.fault.v3.HTTPFault`). What is delayed may be aborted as well, afterwards.

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::matching::HeaderMatch;
use crate::value::Percent;

/// What is done to how many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// On which side of the retries it stands.
    pub scope: Scope,
    /// Only requests with all of these fields are meant.
    pub headers: Vec<HeaderMatch>,
    /// How requests are delayed.
    pub delay: Option<Delay>,
    /// How requests are aborted.
    pub abort: Option<Abort>,
    /// How slowly their responses come.
    pub throttle: Option<Throttle>,
}

/// On which side of the retries a fault stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Outside: the caller gets the fault, and no retry helps (as Envoy's filter has it).
    #[default]
    Request,
    /// Inside: each attempt meets it anew, counts against the per-try timeout, and is retried as an endpoint's answer
    /// would be.
    Attempt,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long it is; none: as the request's `x-envoy-fault-delay-request` says, in milliseconds.
    pub fixed: Option<Duration>,
    /// The share of requests that is delayed.
    pub percent: Percent,
}

/// A bound on the rate of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// KiB a second, at least 1; none: as the request's `x-envoy-fault-throughput-response` says.
    pub kib_per_second: Option<u32>,
    /// The share of requests whose response is throttled.
    pub percent: Percent,
}

/// An abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What the caller gets.
    pub with: AbortWith,
    /// The share of requests that is aborted.
    pub percent: Percent,
}

/// What an aborted request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortWith {
    /// This HTTP status, 200 to 599.
    Status(u16),
    /// This gRPC status, 1 to 16.
    Grpc(u8),
    /// As the request's `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request` says.
    Header,
}

impl Fault {
    /// It does something, and what it does can be done.
    pub fn check(&self) -> Result<(), Problem> {
        if self.delay.is_none() && self.abort.is_none() && self.throttle.is_none() {
            return Err(Problem::new(Code::MissingField, "needs a delay, an abort or a throttle"));
        }
        if self.throttle.is_some_and(|throttle| throttle.kib_per_second == Some(0)) {
            return Err(Problem::invalid(0, "must be at least 1").at_field("kibPerSecond").at_field("throttle"));
        }
        if self.delay.and_then(|delay| delay.fixed).is_some_and(|fixed| fixed.is_zero()) {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("fixed").at_field("delay"));
        }
        match self.abort.map(|abort| abort.with) {
            Some(AbortWith::Status(status)) if !(200..=599).contains(&status) => {
                let problem = Problem::invalid(status, "must be a status between 200 and 599");
                Err(problem.at_field("status").at_field("abort"))
            }
            Some(AbortWith::Grpc(status)) if !(1..=16).contains(&status) => {
                let problem = Problem::invalid(status, "must be a gRPC status that is no success, 1 to 16");
                Err(problem.at_field("grpcStatus").at_field("abort"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Abort, AbortWith, Fault, Scope};
    use crate::policy::{Mode, Origin};
    use crate::value::Percent;

    #[test]
    fn a_fault_does_something_that_can_be_done() {
        let with = |with| Fault {
            origin: Origin::default(),
            mode: Mode::Enforce,
            scope: Scope::Request,
            headers: Vec::new(),
            delay: None,
            abort: Some(Abort { with, percent: Percent::HUNDRED }),
            throttle: None,
        };
        assert!(Fault { abort: None, ..with(AbortWith::Header) }.check().is_err());
        for (abort, good) in [
            (AbortWith::Status(503), true),
            (AbortWith::Status(600), false),
            (AbortWith::Grpc(14), true),
            (AbortWith::Grpc(0), false),
            (AbortWith::Grpc(17), false),
        ] {
            assert_eq!(with(abort).check().is_ok(), good, "{abort:?}");
        }
    }
}
