//! `adaptiveConcurrency` of a RateLimitPolicy.

use super::policy::LONGER_THAN_ZERO;
use super::reader::Field;
use crate::error::{Code, Problem};
use crate::policy::adaptive::{AdaptiveConcurrency, Baseline, Measured};
use crate::policy::{Mode, Origin};
use crate::value::Percent;

/// Reads `adaptiveConcurrency`.
pub(super) fn read_adaptive(field: &Field<'_>, mode: Mode, origin: &Origin) -> AdaptiveConcurrency {
    let usual = AdaptiveConcurrency::with_defaults(origin.clone(), mode);
    let mut fields = field.fields();
    let percentile = fields.optional("percentile").and_then(|field| field.number(Percent::try_new));
    let min_limit = fields.optional("minConcurrency").map(|field| field.integer(1..=u32::MAX));
    let max_limit = fields.optional("maxConcurrency").map(|field| field.integer(1..=u32::MAX));
    let update = fields.optional("updateInterval").map(|field| field.duration(LONGER_THAN_ZERO));
    let buffer = fields.optional("bufferPercent").and_then(|field| field.number(Percent::try_new));
    let min_limit = min_limit.unwrap_or(usual.min_limit);
    // Else a measurement would refuse what the limit never does.
    let measured = Measured { concurrency: min_limit, ..Measured::DEFAULT };
    let baseline = fields.optional("minRtt").map(|field| read_baseline(&field, measured));
    let status = fields.optional("status").map_or(503, |field| field.integer(400..=599));
    let field = fields.finish();
    let policy = AdaptiveConcurrency {
        percentile: percentile.unwrap_or(usual.percentile),
        min_limit,
        // As wide as it must be: a minimum alone contradicts nothing.
        max_limit: max_limit.unwrap_or(usual.max_limit.max(min_limit)),
        update_interval: update.unwrap_or(usual.update_interval),
        baseline: baseline.unwrap_or(Baseline::Measured(measured)),
        buffer: buffer.unwrap_or(usual.buffer),
        status: u16::try_from(status).unwrap_or(usual.status),
        ..usual
    };
    // What is out of range by itself is noted already.
    if let Err(problem) = policy.check()
        && ["percentile", "maxConcurrency"].contains(&&*problem.path)
    {
        field.note(problem);
    }
    policy
}

fn read_baseline(field: &Field<'_>, usual: Measured) -> Baseline {
    let mut fields = field.fields();
    let fixed = fields.optional("fixed").map(|field| field.duration(LONGER_THAN_ZERO));
    let interval = fields.optional("interval").map(|field| field.duration(LONGER_THAN_ZERO));
    let jitter = fields.optional("jitterPercent").and_then(|field| field.number(Percent::try_new));
    let requests = fields.optional("requests").map(|field| field.integer(1..=1_000_000));
    let concurrency = fields.optional("concurrency").map(|field| field.integer(1..=u32::MAX));
    let field = fields.finish();
    let measures = interval.is_some() || jitter.is_some() || requests.is_some() || concurrency.is_some();
    match fixed {
        Some(fixed) => {
            if measures {
                field.note(Problem::new(Code::Conflict, "is not measured where it is fixed").at_field("fixed"));
            }
            Baseline::Fixed(fixed)
        }
        None => Baseline::Measured(Measured {
            interval: interval.unwrap_or(usual.interval),
            jitter: jitter.unwrap_or(usual.jitter),
            requests: requests.unwrap_or(usual.requests),
            concurrency: concurrency.unwrap_or(usual.concurrency),
        }),
    }
}
