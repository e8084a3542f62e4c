//! What a destination and its endpoints bear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use outrigger_config::cluster::Cluster as Model;
use outrigger_config::policy::{Limits as LimitsModel, Mode, PerEndpoint, Priority, Thresholds};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::{cluster, endpoint, healthy, model};
use crate::cluster::{Acquired, Ask, Cluster, Limit, Setting};
use crate::endpoint::Endpoint;

fn per_endpoint(mode: Mode, most: u32) -> Model {
    let per_endpoint = PerEndpoint { max_connections: Some(most), max_requests: Some(most) };
    Model { limits: Some(LimitsModel { mode, per_endpoint, ..LimitsModel::default() }), ..model(None) }
}

#[test]
fn a_full_endpoint_gives_way_and_full_ones_refuse() {
    let now = Instant::now();
    let cluster = cluster(per_endpoint(Mode::Enforce, 2), &healthy(3), now);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut seats: Vec<_> = (0..6).filter_map(|_| cluster.pick(None, &[], now, &mut rng)).collect();
    assert_eq!(cluster.picker().endpoints().iter().map(|one| one.load.active()).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(cluster.pick(None, &[], now, &mut rng).is_none() && cluster.is_full(Ask::default(), Priority::Default));
    assert_eq!((cluster.limits(Priority::Default).refused(Limit::Requests), cluster.panics()), (1, 0));
    drop(seats.pop());
    assert!(cluster.pick(None, &[], now, &mut rng).is_some());
    let none = self::cluster(per_endpoint(Mode::Enforce, 0), &healthy(3), now);
    assert!(
        none.pick(None, &[], now, &mut rng).is_none() && none.is_full(Ask::default(), Priority::Default),
        "0 means none"
    );
    assert!(
        none.allows_no_connection(Priority::Default, &endpoint(&none, 0))
            && none.try_connect(Priority::Default, &endpoint(&none, 0)).is_none()
    );
}

#[test]
fn an_observed_limit_of_endpoints_counts_and_lets_pass() {
    let now = Instant::now();
    let cluster = cluster(per_endpoint(Mode::Observe, 1), &healthy(2), now);
    let mut rng = fastrand::Rng::with_seed(1);
    let seats: Vec<_> = (0..6).filter_map(|_| cluster.pick(None, &[], now, &mut rng)).collect();
    assert_eq!(seats.iter().filter(|seat| seat.is_beyond()).count(), 4);
    assert!(!cluster.allows_no_connection(Priority::Default, &endpoint(&cluster, 0)));
}

#[test]
fn retries_have_a_limit_beside_their_budget() {
    let now = Instant::now();
    let with = |mode, most| {
        let limits = LimitsModel { mode, max_retries: Some(most), ..LimitsModel::default() };
        cluster(Model { limits: Some(limits), ..model(None) }, &healthy(1), now)
    };
    let one = with(Mode::Enforce, 1);
    let held = one.try_retry(Priority::Default, now).expect("the first");
    assert!(one.try_retry(Priority::Default, now).is_none());
    assert_eq!((one.limits(Priority::Default).refused(Limit::Retries), one.budget.refused()), (1, 0));
    drop(held);
    assert!(one.try_retry(Priority::Default, now).is_some());
    assert!(with(Mode::Enforce, 0).try_retry(Priority::Default, now).is_none(), "0 means none");
    let watched = with(Mode::Observe, 0);
    assert!(watched.try_retry(Priority::Default, now).is_some_and(|permit| permit.is_beyond()));
}

#[test]
fn each_priority_has_its_own_limits_and_a_new_configuration_keeps_what_is_in_use() {
    let now = Instant::now();
    let with = |most, high| {
        let of = |max| Thresholds { max_connections: Some(max), max_requests: Some(max), ..Thresholds::default() };
        let limits = LimitsModel::default().with(Priority::Default, of(most)).with(Priority::High, of(high));
        Model { limits: Some(limits), ..model(None) }
    };
    let old = cluster(with(1, 0), &healthy(1), now);
    let held = old.limits(Priority::Default).try_acquire(Limit::Requests);
    assert!(matches!(held, Acquired::Granted(_)));
    assert!(matches!(old.limits(Priority::High).try_acquire(Limit::Requests), Acquired::Refused), "0 means none");
    assert!(old.allows_no_connection(Priority::High, &endpoint(&old, 0)));
    assert!(old.try_connect(Priority::High, &endpoint(&old, 0)).is_none());
    assert!(old.try_connect(Priority::Default, &endpoint(&old, 0)).is_some());
    let new = Cluster::new(with(1, 2), None, Some(&old), Setting { workers: 1, seed: 0, now });
    let more: Vec<_> = (0..3).map(|_| new.limits(Priority::High).try_acquire(Limit::Requests)).collect();
    assert_eq!(more.iter().filter(|answer| matches!(answer, Acquired::Granted(_))).count(), 2);
    assert!(matches!(new.limits(Priority::Default).try_acquire(Limit::Requests), Acquired::Refused));
    assert_eq!(
        (new.limits(Priority::High).refused(Limit::Requests), new.limits(Priority::High).held(Limit::Requests)),
        (2, 2)
    );
}

#[test]
fn connections_rest_among_those_of_their_priority() {
    let now = Instant::now();
    let cluster = cluster(per_endpoint(Mode::Enforce, 1), &healthy(1), now);
    let one = endpoint(&cluster, 0);
    assert!(!std::ptr::eq(one.pools.of(Priority::Default), one.pools.of(Priority::High)));
    assert_eq!(one.pools.all().count(), 2);
    // Of an endpoint that is full, whoever waits wants what rests there, whichever priority it had.
    let (_connection, _) = cluster.try_connect(Priority::Default, &one).expect("the first");
    assert!(!cluster.wants_room(Priority::Default, &one));
    let _waits = cluster.limits(Priority::High).try_acquire(Limit::Pending);
    assert!(cluster.wants_room(Priority::Default, &one) && cluster.wants_room(Priority::High, &one));
}

#[test]
fn who_waits_for_a_connection_of_its_priority_holds_none_of_the_endpoint_meanwhile() {
    let now = Instant::now();
    let mut model = per_endpoint(Mode::Enforce, 1);
    let high = Thresholds { max_connections: Some(1), ..Thresholds::default() };
    model.limits = model.limits.map(|limits| limits.with(Priority::High, high));
    let cluster = cluster(model, &healthy(2), now);
    let (busy, free) = (endpoint(&cluster, 0), endpoint(&cluster, 1));
    let held = cluster.try_connect(Priority::High, &busy).expect("the first");
    let mut waits = Box::pin(cluster.connection(Priority::High, &free));
    assert!((&mut waits).now_or_never().is_none());
    let other = cluster.try_connect(Priority::Default, &free).expect("nobody has it");
    drop(held);
    assert!((&mut waits).now_or_never().is_none(), "the endpoint is full now");
    assert!(cluster.try_connect(Priority::High, &busy).is_some(), "nor the other way round");
    drop(other);
    assert!((&mut waits).now_or_never().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_interleaving_of_threads_gives_an_endpoint_or_retries_one_more(most in 1_u32..6, count in 1_usize..4) {
        let now = Instant::now();
        let mut model = per_endpoint(Mode::Enforce, most);
        let retries = Thresholds { max_retries: Some(most), ..Thresholds::default() };
        let limits = model.limits.take().expect("limits");
        model.limits = Some(Priority::ALL.into_iter().fold(limits, |limits, one| limits.with(one, retries)));
        let cluster = cluster(model, &healthy(count), now);
        let (over, retries) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (cluster, over, retries) = (&cluster, &over, &retries);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(thread);
                    for round in 0..200 {
                        let priority = Priority::ALL[round % 2];
                        if let Some(seat) = cluster.pick(None, &[], now, &mut rng) {
                            over.fetch_max(seat.endpoint().load.active(), Ordering::SeqCst);
                            let connection = cluster.try_connect(priority, seat.endpoint());
                            over.fetch_max(seat.endpoint().limits.held(Limit::Connections), Ordering::SeqCst);
                            drop(connection);
                        }
                        if let Some(permit) = cluster.try_retry(priority, now) {
                            retries.fetch_max(cluster.limits(priority).held(Limit::Retries), Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        prop_assert!(over.into_inner() <= most && retries.into_inner() <= most);
        let left = |one: &Arc<Endpoint>| one.load.active() + one.limits.held(Limit::Requests);
        prop_assert_eq!(cluster.picker().endpoints().iter().map(left).sum::<u32>(), 0);
        prop_assert!(Priority::ALL.iter().all(|one| cluster.limits(*one).held(Limit::Connections) == 0));
    }
}
