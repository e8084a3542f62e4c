//! Outlier detection: an endpoint that keeps failing leaves the balancer for a while
//! (xDS `Cluster.outlier_detection`).
//!
//! Failures in a row are judged at once; what compares an endpoint with its neighbours (success rate, failure percentage,
//! latency) is judged once each interval. Those three have a mode of their own, so that one can be rehearsed while the
//! others act.

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::value::Percent;

/// When an endpoint is ejected and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether ejections for failures in a row are carried out.
    pub mode: Mode,
    /// Failures in a row that eject: 5xx, a gRPC error class, or no response (`consecutive_5xx`). At least 1.
    pub consecutive_errors: Option<u32>,
    /// The same of 502, 503, 504 and what maps to them, or no response (`consecutive_gateway_failure`). At least 1.
    pub consecutive_gateway_errors: Option<u32>,
    /// The same of no response at all (`consecutive_local_origin_failure`). At least 1. Where it is set, these failures
    /// count here and nowhere else (`split_external_local_origin_errors`).
    pub consecutive_local_errors: Option<u32>,
    /// Ejects whoever succeeds less often than its neighbours.
    pub success_rate: Option<SuccessRate>,
    /// Ejects whoever fails too often.
    pub failure_percentage: Option<FailurePercentage>,
    /// Ejects whoever is slower than its neighbours.
    pub latency: Option<SlowEndpoint>,
    /// How often endpoints are compared, and ejected ones looked at (`interval`).
    pub interval: Duration,
    /// The first ejection's length; it grows by itself with each further one (`base_ejection_time`).
    pub base_ejection: Duration,
    /// The longest ejection (`max_ejection_time`). At least `base_ejection`.
    pub max_ejection: Duration,
    /// The most that is added to an ejection by chance (`max_ejection_time_jitter`).
    pub max_jitter: Duration,
    /// The share of endpoints that may be ejected at once; one always may, the last never (`max_ejection_percent`).
    pub max_percent: Percent,
    /// Requests that must succeed, one at a time, after an ejection's end before the endpoint is back; 0: it is back at
    /// once, as with Envoy.
    pub probe_requests: u32,
}

/// Success rates held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// Whether it acts.
    pub mode: Mode,
    /// How many standard deviations below the mean eject, in thousandths (`success_rate_stdev_factor`).
    pub deviation_thousandths: u32,
    /// Who counts.
    pub sample: Sample,
}

/// A failure percentage held against a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Whether it acts.
    pub mode: Mode,
    /// The share of failures that ejects (`failure_percentage_threshold`).
    pub threshold: Percent,
    /// Who counts.
    pub sample: Sample,
}

/// Latencies held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowEndpoint {
    /// Whether it acts.
    pub mode: Mode,
    /// How many times the median of all an endpoint's mean latency must reach, in thousandths; more than 1000.
    pub factor_thousandths: u32,
    /// The least mean latency that counts as slow.
    pub floor: Duration,
    /// Who counts.
    pub sample: Sample,
}

/// From how much evidence on endpoints are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Requests to an endpoint in the interval, for it to count. At least 1.
    pub min_requests: u32,
    /// Endpoints that count, for any to be ejected.
    pub min_endpoints: u32,
}

impl SuccessRate {
    /// 1.9 deviations, 100 requests, 5 endpoints.
    pub fn with_defaults(mode: Mode) -> Self {
        SuccessRate { mode, deviation_thousandths: 1900, sample: Sample { min_requests: 100, min_endpoints: 5 } }
    }
}

impl FailurePercentage {
    /// 85 %, 50 requests, 5 endpoints.
    pub fn with_defaults(mode: Mode) -> Self {
        FailurePercentage {
            mode,
            threshold: Percent::from_millionths(850_000).unwrap_or(Percent::HUNDRED),
            sample: Sample { min_requests: 50, min_endpoints: 5 },
        }
    }
}

impl SlowEndpoint {
    /// Three times the median and at least 10 ms, 20 requests, 3 endpoints.
    pub fn with_defaults(mode: Mode) -> Self {
        SlowEndpoint {
            mode,
            factor_thousandths: 3000,
            floor: Duration::from_millis(10),
            sample: Sample { min_requests: 20, min_endpoints: 3 },
        }
    }
}

impl Outlier {
    /// What holds once the policy is switched on without numbers: 5 in a row, 10 s, 30 s to 300 s, 10 %, one probe.
    pub fn with_defaults(origin: Origin) -> Self {
        Outlier {
            origin,
            mode: Mode::Enforce,
            consecutive_errors: Some(5),
            consecutive_gateway_errors: None,
            consecutive_local_errors: None,
            success_rate: None,
            failure_percentage: None,
            latency: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_jitter: Duration::ZERO,
            max_percent: Percent::from_millionths(100_000).unwrap_or(Percent::HUNDRED),
            probe_requests: 1,
        }
    }

    /// Whether requests must be counted for each interval.
    pub fn compares(&self) -> bool {
        self.success_rate.is_some() || self.failure_percentage.is_some() || self.latency.is_some()
    }

    /// Whether any part of it acts.
    pub fn enforces(&self) -> bool {
        let in_a_row = self.consecutive_errors.or(self.consecutive_gateway_errors).or(self.consecutive_local_errors);
        (self.mode.enforces() && in_a_row.is_some())
            || self.success_rate.is_some_and(|part| part.mode.enforces())
            || self.failure_percentage.is_some_and(|part| part.mode.enforces())
            || self.latency.is_some_and(|part| part.mode.enforces())
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        for (field, count) in [
            ("consecutiveErrors", self.consecutive_errors),
            ("consecutiveGatewayErrors", self.consecutive_gateway_errors),
            ("consecutiveLocalErrors", self.consecutive_local_errors),
        ] {
            if count == Some(0) {
                return Err(Problem::invalid(0, "must be at least 1").at_field(field));
            }
        }
        // What looks only at gateway errors can never come first where every error counts and fewer are enough.
        if let (Some(any), Some(gateway)) = (self.consecutive_errors, self.consecutive_gateway_errors)
            && gateway > any
        {
            let reason = format!("never comes first: consecutiveErrors counts these too, and {any} are enough");
            return Err(Problem::new(Code::Conflict, reason).with_value(gateway).at_field("consecutiveGatewayErrors"));
        }
        let samples = [
            ("successRate", self.success_rate.map(|part| part.sample)),
            ("failurePercentage", self.failure_percentage.map(|part| part.sample)),
            ("latency", self.latency.map(|part| part.sample)),
        ];
        for (field, sample) in samples {
            if sample.is_some_and(|sample| sample.min_requests == 0) {
                return Err(Problem::invalid(0, "must be at least 1").at_field("minRequests").at_field(field));
            }
        }
        if self.latency.is_some_and(|part| part.factor_thousandths <= 1000) {
            return Err(Problem::new(Code::InvalidValue, "must be more than 1").at_field("factor").at_field("latency"));
        }
        if self.interval.is_zero() {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("interval"));
        }
        if self.base_ejection.is_zero() {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("base").at_field("ejection"));
        }
        if self.max_ejection < self.base_ejection {
            return Err(Problem::new(Code::Conflict, "must be at least as long as ejection.base")
                .at_field("max")
                .at_field("ejection"));
        }
        Ok(())
    }
}
