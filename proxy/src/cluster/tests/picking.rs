//! Who is chosen: of those that are in, newcomers, by priority, and by a hash.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery};
use outrigger_config::endpoint::Health;
use outrigger_config::policy::Mode;

use super::{SECOND, address, assignment, break_down, cluster, endpoint, healthy, model, name, outlier, picks, probe};
use crate::cluster::{Cluster, Outcome};

#[test]
fn nobody_is_picked_while_no_source_says_healthy() {
    let now = Instant::now();
    let cluster = cluster(model(None), &assignment(&[Health::Draining, Health::Unhealthy]), now);
    assert!(picks(&cluster, &[], now).is_empty());
    cluster.set_assignment(&assignment(&[Health::Draining, Health::Healthy]), now);
    assert_eq!(picks(&cluster, &[], now), [address(1)]);
    assert_eq!(cluster.panics(), 0);
}

#[test]
fn an_ejected_endpoint_is_tried_sooner_than_one_that_has_just_failed() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 50.0)), &healthy(2), now);
    assert!(break_down(&cluster, 1, now));
    assert_eq!(picks(&cluster, &[], now), [address(0)]);
    assert_eq!(picks(&cluster, &[address(0)], now), [address(1)]);
    assert_eq!(picks(&cluster, &[address(0), address(1)], now), [address(0)]);
}

#[test]
fn what_was_tried_is_tried_again_only_if_there_is_nothing_else() {
    let now = Instant::now();
    let cluster = cluster(model(None), &healthy(3), now);
    assert_eq!(picks(&cluster, &[address(0), address(2)], now), [address(1)]);
    let all = [address(0), address(1), address(2)];
    assert_eq!(picks(&cluster, &all, now), [address(0), address(1)], "the last one only if it is alone");
}

#[test]
fn with_too_few_in_those_left_out_take_part_again() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(5), now);
    assert!(break_down(&cluster, 0, now) && break_down(&cluster, 1, now));
    assert!(!cluster.is_panicking(), "three of five bear it");
    assert!(break_down(&cluster, 2, now) && cluster.is_panicking());
    assert_eq!(picks(&cluster, &[], now), [0, 1, 2, 3, 4].map(address));
    assert_eq!(cluster.panics(), 100);
    // In panic, too, a probe is what brings an endpoint back.
    assert!(probe(&cluster, 0, Outcome::Success, now + 30 * SECOND).is_some());
    assert!(!cluster.is_panicking());
    // Draining and unhealthy endpoints take part in no panic and do not count for it.
    let (healthy, draining) = (Health::Healthy, Health::Draining);
    cluster.set_assignment(&assignment(&[healthy, healthy, draining, draining, draining]), now + 31 * SECOND);
    assert!(!cluster.is_panicking(), "one of two is half");
    assert_eq!(picks(&cluster, &[], now + 31 * SECOND), [0, 1].map(address));
}

#[test]
fn with_all_that_is_healthy_ejected_ejections_are_ignored() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(2), now);
    assert!(break_down(&cluster, 0, now));
    // The other one goes by its source's word.
    cluster.set_assignment(&assignment(&[Health::Healthy, Health::Unhealthy]), now);
    assert_eq!(picks(&cluster, &[], now), [address(0)]);
    assert_eq!(cluster.panics(), 100);
}

/// The shares of each endpoint of two in so many picks.
fn share_of_second(cluster: &Cluster, now: Instant) -> f64 {
    let mut rng = fastrand::Rng::with_seed(3);
    let seats = (0..20_000).filter_map(|_| cluster.pick(None, &[], now, &mut rng));
    seats.filter(|seat| seat.endpoint().address == address(1)).count() as f64 / 20_000.0
}

#[test]
fn a_newcomer_gets_its_part_little_by_little() {
    let now = Instant::now();
    for balancing in [Balancing::RoundRobin, Balancing::LeastRequest] {
        let slow_start = Some(outrigger_config::cluster::SlowStart::with_defaults(60 * SECOND));
        let cluster = cluster(Model { balancing, slow_start, ..model(None) }, &healthy(1), now);
        assert!(cluster.set_assignment(&healthy(2), now) || cluster.picker().endpoints().len() == 2);
        // Half of the window is half a weight: one of three parts.
        for (seconds, share) in [(0, 0.1 / 1.1), (30, 1.0 / 3.0), (60, 0.5), (90, 0.5)] {
            let seen = share_of_second(&cluster, now + seconds * SECOND);
            assert!((seen - share).abs() < 0.02, "{balancing:?} after {seconds} s: {seen}");
        }
    }
}

#[test]
fn where_all_begin_together_nobody_is_a_newcomer_and_who_comes_back_is_one() {
    let now = Instant::now();
    let slow_start = Some(outrigger_config::cluster::SlowStart::with_defaults(60 * SECOND));
    let cluster = cluster(Model { slow_start, ..model(outlier(Mode::Enforce, 50.0)) }, &healthy(2), now);
    assert!((share_of_second(&cluster, now) - 0.5).abs() < 0.02);
    assert!(break_down(&cluster, 1, now));
    assert!(probe(&cluster, 1, Outcome::Success, now + 30 * SECOND).is_some());
    let seen = share_of_second(&cluster, now + 60 * SECOND);
    assert!((seen - 1.0 / 3.0).abs() < 0.02, "{seen}");
}

#[test]
fn a_priority_helps_as_far_as_the_one_before_it_is_not_healthy() {
    let now = Instant::now();
    let mut groups = healthy(8);
    groups.endpoints.iter_mut().skip(4).for_each(|endpoint| endpoint.priority = 2);
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &groups, now);
    let first = |cluster: &Cluster| {
        let mut rng = fastrand::Rng::with_seed(1);
        let seats = (0..20_000).filter_map(|_| cluster.pick(None, &[], now, &mut rng));
        seats.filter(|seat| seat.endpoint().priority() == 0).count() as f64 / 20_000.0
    };
    // Of four: 100 %, 75 % and 50 % in are 140, 105 and 70 % of what it takes, 25 % are 35 %.
    for (broken, share) in [(None, 1.0), (Some(0), 1.0), (Some(1), 0.70), (Some(2), 0.35), (Some(3), 0.0)] {
        assert!(broken.is_none_or(|index| break_down(&cluster, index, now)));
        assert!((first(&cluster) - share).abs() < 0.02, "{broken:?}: {}", first(&cluster));
        assert!(!cluster.is_panicking() && cluster.panics() == 0, "the others bear it");
    }
    assert!((4..6).all(|index| break_down(&cluster, index, now)));
    assert!(cluster.is_panicking(), "two of eight cannot");
    // A change of priority keeps the endpoint.
    let kept = endpoint(&cluster, 7);
    groups.endpoints[7].priority = 0;
    cluster.set_assignment(&groups, now);
    assert!(Arc::ptr_eq(&kept, &endpoint(&cluster, 7)) && kept.priority() == 0);
}

#[test]
fn whatever_the_balancing_who_was_tried_is_passed_over() {
    let now = Instant::now();
    for balancing in [
        Balancing::RoundRobin,
        Balancing::LeastRequest,
        Balancing::default(),
        Balancing::Random,
        Balancing::RingHash { min_size: 64, max_size: 4096 },
        Balancing::Maglev { table_size: 251 },
    ] {
        let one = cluster(Model { balancing, ..model(None) }, &healthy(5), now);
        let mut rng = fastrand::Rng::with_seed(7);
        for request in 0..200 {
            let hash = Some(rng.u64(..));
            let mut tried = Vec::new();
            for _ in 0..5 {
                let seat = one.pick(hash, &tried, now, &mut rng).expect("an endpoint");
                assert!(!tried.contains(&seat.endpoint().address), "{balancing:?}, request {request}");
                tried.push(seat.endpoint().address);
            }
            // All were tried: anyone but the last.
            let seat = one.pick(hash, &tried, now, &mut rng).expect("an endpoint");
            assert_ne!(Some(&seat.endpoint().address), tried.last(), "{balancing:?}, request {request}");
        }
    }
}

#[test]
fn a_bounded_hash_is_not_exceeded_by_workers_that_choose_at_once() {
    let now = Instant::now();
    let model = Model {
        balancing: Balancing::Maglev { table_size: 251 },
        balance_factor: Some(125),
        ..Model::new(name(), Discovery::Eds(name()))
    };
    let cluster = cluster(model, &healthy(4), now);
    let seats: Vec<_> = std::thread::scope(|scope| {
        let worker = |seed: u64| {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                (0..200).map(|_| cluster.pick(Some(77), &[], now, &mut rng).expect("a seat")).collect::<Vec<_>>()
            })
        };
        let workers: Vec<_> = (0..8).map(worker).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert_eq!(seats.len(), 1600);
    // A quarter of 1600, and a quarter of that more; nobody left meanwhile, so that the bound only grew.
    for endpoint in cluster.picker().endpoints() {
        assert!(endpoint.load.active() <= 500, "{}", endpoint.load.active());
    }
    assert_eq!(cluster.panics(), 0);
}
