//! Adaptive concurrency: as many requests at once as a service bears, found out by how long its answers take
//! (xDS `extensions.filters.http.adaptive_concurrency.v3`, gradient controller).

use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::value::{Percent, format_duration};

/// The least time from one limit to the next, and from one measurement to the next: finding either costs some microseconds.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// How the limit of one listener follows the time that answers take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptiveConcurrency {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// Which percentile of a window's times speaks for it (`sample_aggregate_percentile`).
    pub percentile: Percent,
    /// The limit is never below it (`min_concurrency_limit`); at least 1.
    pub min_limit: u32,
    /// The limit is never above it (`max_concurrency_limit`).
    pub max_limit: u32,
    /// How often the limit is found anew (`concurrency_update_interval`).
    pub update_interval: Duration,
    /// What the service takes when it is not busy.
    pub baseline: Baseline,
    /// How much longer than that an answer may take before the limit falls (`buffer`).
    pub buffer: Percent,
    /// The status of a refusal, 400 to 599 (`concurrency_limit_exceeded_status`).
    pub status: u16,
}

/// What a service takes when it is not busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// So long (`fixed_value`).
    Fixed(Duration),
    /// What is measured now and then, with few requests at once.
    Measured(Measured),
}

/// How the baseline is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How often (`interval`).
    pub interval: Duration,
    /// How much later it may be, by chance, as a share of the interval (`jitter`).
    pub jitter: Percent,
    /// Of how many answers (`request_count`); at least 1.
    pub requests: u32,
    /// How many requests there may be at once meanwhile (`min_concurrency`); at least 1.
    pub concurrency: u32,
}

impl Baseline {
    /// How it is measured, if it is.
    pub fn measured(&self) -> Option<&Measured> {
        match self {
            Baseline::Fixed(_) => None,
            Baseline::Measured(measured) => Some(measured),
        }
    }
}

impl Measured {
    /// Every minute, up to 15 % later, 50 answers, 3 at once: as Envoy.
    pub const DEFAULT: Measured = Measured {
        interval: Duration::from_secs(60),
        jitter: Percent::from_hundredths(1_500),
        requests: 50,
        concurrency: 3,
    };
}

impl AdaptiveConcurrency {
    /// The defaults, which are Envoy's.
    pub fn with_defaults(origin: Origin, mode: Mode) -> Self {
        AdaptiveConcurrency {
            origin,
            mode,
            percentile: Percent::HALF,
            min_limit: 3,
            max_limit: 1000,
            update_interval: Duration::from_millis(100),
            baseline: Baseline::Measured(Measured::DEFAULT),
            buffer: Percent::from_hundredths(2_500),
            status: 503,
        }
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        let positive = |field: &str, value: u128| match value {
            0 => Err(Problem::invalid(0, "must be more than 0").at_field(field)),
            _ => Ok(()),
        };
        positive("percentile", u128::from(self.percentile.millionths()))?;
        positive("minConcurrency", u128::from(self.min_limit))?;
        let long_enough = |field: &str, interval: Duration| match interval < LEAST_INTERVAL {
            true => Err(Problem::invalid(format_duration(interval), "must be at least 1ms").at_field(field)),
            false => Ok(()),
        };
        long_enough("updateInterval", self.update_interval)?;
        match self.baseline {
            Baseline::Fixed(fixed) => positive("minRtt.fixed", fixed.as_nanos())?,
            Baseline::Measured(measured) => {
                long_enough("minRtt.interval", measured.interval)?;
                positive("minRtt.requests", u128::from(measured.requests))?;
                positive("minRtt.concurrency", u128::from(measured.concurrency))?;
            }
        }
        if self.max_limit < self.min_limit {
            let reason = format!("must not be below minConcurrency, {}", self.min_limit);
            return Err(Problem::new(Code::InvalidValue, reason).with_value(self.max_limit).at_field("maxConcurrency"));
        }
        if !(400..=599).contains(&self.status) {
            return Err(Problem::invalid(self.status, "must be between 400 and 599").at_field("status"));
        }
        Ok(())
    }
}
