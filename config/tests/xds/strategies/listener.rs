//! Arbitrary listeners and what acts for all of their requests.

use std::time::Duration;

use outrigger_config::listener::{ApiListener, Direction, Identity, Listener, TableSource, Telemetry};
use outrigger_config::policy::Mode;
use outrigger_config::policy::adaptive::{AdaptiveConcurrency, Baseline, Measured};
use outrigger_config::policy::asked::LimitFilter;
use outrigger_config::policy::rate_limit::OnError;
use outrigger_config::value::Percent;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::endpoint::locality;
use super::table::table;
use super::value::{address, name, object_name, percent, policy, some_time, text};

/// Any API listener.
pub(crate) fn api_listener() -> impl Strategy<Value = ApiListener> {
    (name(), name()).prop_map(|(name, table)| ApiListener { name, table })
}

pub(super) fn listener() -> impl Strategy<Value = Listener> {
    let source = prop_oneof![name().prop_map(TableSource::Rds), table().prop_map(TableSource::Inline)];
    let identity = (object_name(), text(), text(), locality())
        .prop_map(|(workload, service, version, locality)| Identity { workload, service, version, locality });
    let telemetry = (percent(), any::<bool>()).prop_map(|(sample, access_log)| Telemetry { sample, access_log });
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let acting = (of(adaptive()), of(adaptive()), vec(limit_filter(), 0..2));
    (name(), address(), direction, source, of(identity), telemetry, acting).prop_map(
        |(name, address, direction, table, identity, telemetry, (adaptive, mut rehearsed_adaptive, limits))| {
            rehearsed_adaptive.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
            Listener { name, address, direction, table, identity, telemetry, adaptive, rehearsed_adaptive, limits }
        },
    )
}

fn adaptive() -> impl Strategy<Value = AdaptiveConcurrency> {
    let share = || (1..=1_000_000_u32).prop_map(|part| Percent::from_millionths(part).expect("a share"));
    let measured =
        (some_time(), percent(), 1..1000_u32, 1..1000_u32).prop_map(|(interval, jitter, requests, concurrency)| {
            Baseline::Measured(Measured { interval, jitter, requests, concurrency })
        });
    let baseline = prop_oneof![some_time().prop_map(Baseline::Fixed), measured];
    (policy(), share(), 1..1000_u32, 0..1000_u32, some_time(), baseline, percent(), 400..=599_u16).prop_map(
        |((origin, mode), percentile, min_limit, more, update_interval, baseline, buffer, status)| {
            AdaptiveConcurrency {
                origin,
                mode,
                percentile,
                min_limit,
                max_limit: min_limit + more,
                update_interval,
                baseline,
                buffer,
                status,
            }
        },
    )
}

fn limit_filter() -> BoxedStrategy<LimitFilter> {
    let on_error = prop_oneof![Just(OnError::Allow), Just(OnError::Deny)];
    let statuses = (prop_oneof![Just(429), Just(503)], prop_oneof![Just(500), Just(503)]);
    let said = (name(), "[a-z]{1,8}", 0..=10u32, (1..60_000u64).prop_map(Duration::from_millis));
    (said, on_error, statuses, any::<bool>())
        .prop_map(|((cluster, domain, stage, timeout), on_error, (status, status_on_error), exhausted)| LimitFilter {
            cluster,
            domain: domain.into(),
            stage,
            timeout,
            on_error,
            status,
            status_on_error,
            exhausted,
        })
        .boxed()
}
