//! Arbitrary clusters, and the policies that hold for them.

use std::sync::Arc;
use std::time::Duration;

use outrigger_config::cluster::{
    Balancing, Cluster, Discovery, LoadReports, Localities, Protocol, Rehearsed as RehearsedCluster, SlowStart,
};
use outrigger_config::policy::health_check::{HealthCheck, HttpProbe, Probe, StatusRange};
use outrigger_config::policy::{
    AdmissionControl, Budget, FailurePercentage, Limits, Mode, Outlier, PerEndpoint, Sample, SlowEndpoint, SuccessRate,
    Thresholds,
};
use outrigger_config::route::Priority;
use outrigger_config::value::Percent;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::endpoint::{assignment, subsets};
use super::value::{longer, name, object_name, percent, policy, shorter, text};

pub(super) fn cluster() -> BoxedStrategy<Cluster> {
    let protocol = prop_oneof![Just(Protocol::Http1), Just(Protocol::Http2), Just(Protocol::Downstream)];
    let discovery = prop_oneof![name().prop_map(Discovery::Eds), assignment().prop_map(Discovery::Static)];
    let who = (name(), of(object_name()), text(), protocol);
    let how = (shorter(30), of(shorter(3600)), balancing(), discovery);
    let slow = (shorter(600), 1..1_000_001u32, percent()).prop_map(|(window, aggression_thousandths, min_weight)| {
        SlowStart { window, aggression_thousandths, min_weight }
    });
    let sick = (of(outlier()), rehearsed_cluster(), of(health_check()), of(admission())).boxed();
    let localities = prop_oneof![
        Just(Localities::Ignored),
        Just(Localities::Weighted),
        (percent(), any::<u32>()).prop_map(|(percent, min_endpoints)| Localities::ZoneAware { percent, min_endpoints })
    ];
    let rest = (budget(), any::<bool>(), of(subsets()));
    (who, how, (of(limits()), percent(), of(100..1000u32), of(slow), localities), sick, rest)
        .prop_map(
            |(
                (name, service, host, protocol),
                (connect_timeout, idle_timeout, balancing, discovery),
                (limits, panic_threshold, factor, slow, localities),
                (outlier, rehearsed, health_check, admission),
                (budget, names_caller, subsets),
            )| {
                Cluster {
                    name,
                    service,
                    host,
                    protocol,
                    connect_timeout,
                    idle_timeout,
                    balancing,
                    balance_factor: factor.filter(|_| balancing.is_hash()),
                    localities,
                    slow_start: slow.filter(|_| balancing.can_start_slowly()),
                    subsets,
                    panic_threshold,
                    limits,
                    outlier,
                    rehearsed,
                    health_check,
                    admission,
                    budget,
                    names_caller,
                    discovery,
                }
            },
        )
        .boxed()
}

fn admission() -> impl Strategy<Value = AdmissionControl> {
    let share = (1..=1_000_000_u32).prop_map(|part| Percent::from_millionths(part).expect("a share"));
    (policy(), longer(1), share, 1000..1_000_001_u32, any::<u32>(), percent()).prop_map(
        |((origin, mode), window, success_threshold, aggression_thousandths, min_per_second, max_rejection)| {
            AdmissionControl {
                origin,
                mode,
                window,
                success_threshold,
                aggression_thousandths,
                min_per_second,
                max_rejection,
            }
        },
    )
}

fn rehearsed_cluster() -> BoxedStrategy<RehearsedCluster> {
    let made = (of(limits()), of(outlier()), of(health_check()), of(admission()));
    let made = made.prop_map(|(mut limits, mut outlier, mut check, mut admission)| {
        admission.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
        check.iter_mut().for_each(|check| check.mode = Mode::Observe);
        limits.iter_mut().for_each(|limits| limits.mode = Mode::Observe);
        if let Some(outlier) = &mut outlier {
            outlier.mode = Mode::Observe;
            outlier.success_rate.iter_mut().for_each(|part| part.mode = Mode::Observe);
            outlier.failure_percentage.iter_mut().for_each(|part| part.mode = Mode::Observe);
            outlier.latency.iter_mut().for_each(|part| part.mode = Mode::Observe);
        }
        RehearsedCluster { limits, outlier, health_check: check, admission }
    });
    made.boxed()
}

fn balancing() -> impl Strategy<Value = Balancing> {
    prop_oneof![
        Just(Balancing::RoundRobin),
        Just(Balancing::LeastRequest),
        Just(Balancing::Random),
        (shorter(60), shorter(600), 0..1_000_001u32, of(100..60_000u64)).prop_map(
            |(blackout, expiration, penalty_thousandths, period)| {
                // Nobody is asked more often than every 100 ms.
                let asks_every = period.map(Duration::from_millis);
                let reports = LoadReports { blackout, expiration, penalty_thousandths, asks_every };
                Balancing::ClientSideWeightedRoundRobin(reports)
            }
        ),
        (shorter(60), shorter(1)).prop_map(|(decay, default_rtt)| Balancing::PeakEwma { decay, default_rtt }),
        (1..5000u32, 5000..8_388_609u32).prop_map(|(min_size, max_size)| Balancing::RingHash { min_size, max_size }),
        prop_oneof![Just(2), Just(65_537), Just(5_000_011)].prop_map(|table_size| Balancing::Maglev { table_size }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let count = || of(any::<u32>());
    let whole = || {
        (count(), count(), count(), count()).prop_map(
            |(max_connections, max_pending_requests, max_requests, max_retries)| Thresholds {
                max_connections,
                max_pending_requests,
                max_requests,
                max_retries,
            },
        )
    };
    let high = of(whole());
    (policy(), whole(), high, count(), count()).prop_map(|((origin, mode), usual, high, connections, requests)| {
        let per_endpoint = PerEndpoint { max_connections: connections, max_requests: requests };
        let limits = Limits { origin, mode, per_endpoint, ..Limits::default() };
        limits.with(Priority::Default, usual).with(Priority::High, high.unwrap_or(usual))
    })
}

fn outlier() -> BoxedStrategy<Outlier> {
    let mode = || prop_oneof![Just(Mode::Enforce), Just(Mode::Observe)];
    let sample =
        || (1..u32::MAX, any::<u32>()).prop_map(|(min_requests, min_endpoints)| Sample { min_requests, min_endpoints });
    let rate = (mode(), any::<u32>(), sample()).prop_map(|(mode, deviation_thousandths, sample)| SuccessRate {
        mode,
        deviation_thousandths,
        sample,
    });
    let failures = (mode(), percent(), sample()).prop_map(|(mode, threshold, sample)| FailurePercentage {
        mode,
        threshold,
        sample,
    });
    let latency = (mode(), 1001..u32::MAX, shorter(5), sample())
        .prop_map(|(mode, factor_thousandths, floor, sample)| SlowEndpoint { mode, factor_thousandths, floor, sample });
    let counts = (of(100..u32::MAX), of(1..100u32), of(1..u32::MAX), 0..1000u32);
    let times = (shorter(60), shorter(60), 0..600u64, shorter(10));
    (policy(), counts, (of(rate), of(failures), of(latency)), times, percent())
        .prop_map(
            |(
                (origin, mode),
                (consecutive_errors, consecutive_gateway_errors, consecutive_local_errors, probe_requests),
                (success_rate, failure_percentage, latency),
                (interval, base_ejection, more, max_jitter),
                max_percent,
            )| Outlier {
                origin,
                mode,
                consecutive_errors,
                consecutive_gateway_errors,
                consecutive_local_errors,
                success_rate,
                failure_percentage,
                latency,
                interval,
                base_ejection,
                max_ejection: base_ejection + Duration::from_secs(more),
                max_jitter,
                max_percent,
                probe_requests,
            },
        )
        .boxed()
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let range = || (100..600u16, 100..600u16).prop_map(|(a, b)| StatusRange { first: a.min(b), last: a.max(b) });
    let host = || "[a-z.:0-9]{0,8}".prop_map(Arc::from);
    let http = ("/[a-z?=/]{0,8}", host(), any::<bool>(), vec(range(), 1..3), vec(range(), 0..3)).prop_map(
        |(path, host, http2, statuses, tolerated)| {
            Probe::Http(HttpProbe { path: path.into(), host, http2, statuses, tolerated })
        },
    );
    let grpc = (text(), host()).prop_map(|(service, authority)| Probe::Grpc { service, authority });
    let numbers = (1..u32::MAX, 1..u32::MAX, of(1..=u16::MAX));
    let times = (shorter(60), shorter(60), prop_oneof![Just(Duration::ZERO), shorter(10)]);
    (policy(), prop_oneof![http, grpc, Just(Probe::Tcp)], times, numbers).prop_map(
        |((origin, mode), probe, (interval, timeout, jitter), (unhealthy_threshold, healthy_threshold, port))| {
            HealthCheck { origin, mode, probe, interval, timeout, jitter, unhealthy_threshold, healthy_threshold, port }
        },
    )
}

fn budget() -> impl Strategy<Value = Budget> {
    (percent(), 1000..60_001u64, any::<u32>(), any::<u32>()).prop_map(
        |(percent, interval, min_concurrent, min_per_second)| Budget {
            percent,
            interval: Duration::from_millis(interval),
            min_concurrent,
            min_per_second,
        },
    )
}
