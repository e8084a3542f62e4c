//! Endpoints held against each other: who succeeds less often, fails too often, or is slower than its neighbours.
//!
//! Pure arithmetic over what one interval brought. An endpoint with fewer requests than the policy asks for says
//! nothing, and with too few endpoints that say something nobody is judged.

use std::time::Duration;

use outrigger_config::policy::{Mode, Outlier, Sample};

use crate::endpoint::{Cause, Tally};

/// Who stands out, by index, why, and whether that part of the policy acts; one may stand out in several ways.
pub fn outliers(policy: &Outlier, tallies: &[Tally]) -> Vec<(usize, Cause, Mode)> {
    let mut found = Vec::new();
    if let Some(part) = &policy.success_rate {
        let rates = rates(part.sample, tallies, |tally| tally.requests - tally.failures.min(tally.requests));
        let bound = deviation_bound(&rates, f64::from(part.deviation_thousandths) / 1000.0);
        let below = rates.iter().filter(|(_, rate)| bound.is_some_and(|bound| *rate < bound));
        found.extend(below.map(|(index, _)| (*index, Cause::SuccessRate, part.mode)));
    }
    if let Some(part) = &policy.failure_percentage {
        let bound = part.threshold.ratio() * 100.0;
        let rates = rates(part.sample, tallies, |tally| tally.failures);
        let above = rates.iter().filter(|(_, rate)| *rate >= bound);
        found.extend(above.map(|(index, _)| (*index, Cause::FailurePercentage, part.mode)));
    }
    if let Some(part) = &policy.latency {
        let latencies: Vec<(usize, Duration)> = tallies
            .iter()
            .enumerate()
            .filter(|(_, tally)| tally.requests >= part.sample.min_requests)
            .filter_map(|(index, tally)| Some((index, tally.latency?)))
            .collect();
        if latencies.len() >= part.sample.min_endpoints.max(2) as usize {
            let bound = median(&latencies).mul_f64(f64::from(part.factor_thousandths) / 1000.0).max(part.floor);
            let slow = latencies.iter().filter(|(_, latency)| *latency >= bound);
            found.extend(slow.map(|(index, _)| (*index, Cause::Latency, part.mode)));
        }
    }
    found
}

/// Percentages of those who count; empty if they are too few.
fn rates(sample: Sample, tallies: &[Tally], part: impl Fn(&Tally) -> u32) -> Vec<(usize, f64)> {
    let rates: Vec<_> = tallies
        .iter()
        .enumerate()
        .filter(|(_, tally)| tally.requests >= sample.min_requests.max(1))
        .map(|(index, tally)| (index, f64::from(part(tally)) * 100.0 / f64::from(tally.requests)))
        .collect();
    if rates.len() < sample.min_endpoints as usize { Vec::new() } else { rates }
}

/// The mean less so many standard deviations.
fn deviation_bound(rates: &[(usize, f64)], deviations: f64) -> Option<f64> {
    if rates.is_empty() {
        return None;
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    // Less a hair: equals must not stand out by the rounding of their mean.
    Some(mean - deviations * variance.sqrt() - 1e-9)
}

/// The lower median: of two the faster one, or a slow one of two could never stand out.
fn median(latencies: &[(usize, Duration)]) -> Duration {
    let mut sorted: Vec<_> = latencies.iter().map(|(_, latency)| *latency).collect();
    sorted.sort_unstable();
    sorted.get((sorted.len().max(1) - 1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::policy::{FailurePercentage, Mode, Origin, Outlier, SlowEndpoint, SuccessRate};
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use super::{deviation_bound, outliers};
    use crate::endpoint::{Cause, Tally};

    fn tally(requests: u32, failures: u32, millis: u64) -> Tally {
        Tally { requests, failures, latency: Some(Duration::from_millis(millis)) }
    }

    fn policy() -> Outlier {
        Outlier {
            success_rate: Some(SuccessRate::with_defaults(Mode::Enforce)),
            failure_percentage: Some(FailurePercentage::with_defaults(Mode::Enforce)),
            latency: Some(SlowEndpoint::with_defaults(Mode::Observe)),
            ..Outlier::with_defaults(Origin::default())
        }
    }

    #[test]
    fn the_bound_is_that_of_envoys_own_example() {
        // Envoy, outlier_detection_impl_test.cc: 50, 100, 100, 100, 100 have the mean 90 and, at 1.9, the bound 52.
        let rates: Vec<_> = [50.0, 100.0, 100.0, 100.0, 100.0].into_iter().enumerate().collect();
        assert!(deviation_bound(&rates, 1.9).is_some_and(|bound| (bound - 52.0).abs() < 1e-6));
    }

    #[test]
    fn who_stands_out_is_found_by_each_measure() {
        let good = tally(100, 0, 5);
        for (last, expected) in [
            (good, vec![]),
            (tally(100, 50, 5), vec![(Cause::SuccessRate, Mode::Enforce)]),
            (tally(100, 85, 5), vec![(Cause::SuccessRate, Mode::Enforce), (Cause::FailurePercentage, Mode::Enforce)]),
            (tally(100, 0, 15), vec![(Cause::Latency, Mode::Observe)]),
            (tally(100, 0, 14), vec![]),
            (tally(50, 50, 5), vec![(Cause::FailurePercentage, Mode::Enforce)]),
            (tally(19, 19, 500), vec![]),
        ] {
            // Five besides: what has too few requests to count leaves enough that do.
            let found = outliers(&policy(), &[good, good, good, good, good, last]);
            let expected: Vec<_> = expected.into_iter().map(|(cause, mode)| (5, cause, mode)).collect();
            assert_eq!(found, expected, "{last:?}");
        }
    }

    #[test]
    fn too_few_say_nothing() {
        let (good, bad) = (tally(100, 0, 5), tally(100, 100, 500));
        assert!(outliers(&policy(), &[good, bad]).is_empty());
        let found = outliers(&policy(), &[good, good, bad]);
        assert_eq!(found, [(2, Cause::Latency, Mode::Observe)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn equals_never_stand_out_and_all_never_do(
            same in (1_u32..1000, 0_u32..1000, 0_u64..1000),
            many in prop::collection::vec((1_u32..1000, 0_u32..1000, 0_u64..1000), 2..20),
        ) {
            let mut policy = policy();
            policy.failure_percentage = None;
            let one = |(requests, failures, millis): (u32, u32, u64)| tally(requests, failures.min(requests), millis);
            prop_assert!(outliers(&policy, &[one(same); 8]).iter().all(|(_, cause, _)| *cause != Cause::SuccessRate));
            let tallies: Vec<_> = many.into_iter().map(one).collect();
            let found = outliers(&policy, &tallies);
            for cause in [Cause::SuccessRate, Cause::Latency] {
                let count = found.iter().filter(|(_, other, _)| *other == cause).count();
                prop_assert!(count < tallies.len(), "{cause:?} {tallies:?}");
            }
        }
    }
}
