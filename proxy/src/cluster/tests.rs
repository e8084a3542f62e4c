//! The cluster as requests and assignments meet it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery};
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health, Locality};
use outrigger_config::name::ClusterName;
use outrigger_config::policy::{Limits as LimitsModel, Mode, Origin, Outlier};
use outrigger_config::value::Percent;
use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

use super::{Acquired, Cluster, Limit, Outcome, Setting};
use crate::endpoint::Endpoint;

const SECOND: Duration = Duration::from_secs(1);

fn name() -> ClusterName {
    ClusterName::try_new("shop/catalog/http").expect("a name")
}

fn address(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8], 80).into()
}

fn assignment(health: &[Health]) -> Assignment {
    let endpoint = |(index, health): (usize, &Health)| EndpointModel {
        address: address(index),
        weight: 1,
        health: *health,
        locality: Locality::default(),
        workload: "".into(),
        version: "v1".into(),
    };
    Assignment::try_new(name(), health.iter().enumerate().map(endpoint).collect()).expect("an assignment")
}

fn healthy(count: usize) -> Assignment {
    assignment(&vec![Health::Healthy; count])
}

fn outlier(mode: Mode, percent: f64) -> Option<Outlier> {
    let max_percent = Percent::try_new(percent).expect("a percentage");
    Some(Outlier { mode, max_percent, consecutive_errors: 2, ..Outlier::with_defaults(Origin::default()) })
}

fn model(outlier: Option<Outlier>) -> Model {
    Model { balancing: Balancing::RoundRobin, outlier, ..Model::new(name(), Discovery::Eds(name())) }
}

fn cluster(model: Model, assignment: &Assignment, now: Instant) -> Cluster {
    Cluster::new(model, Some(assignment), None, Setting { workers: 1, seed: 0, now })
}

fn endpoint(cluster: &Cluster, index: usize) -> Arc<Endpoint> {
    let picker = cluster.picker();
    Arc::clone(picker.endpoints().iter().find(|one| one.address == address(index)).expect("an endpoint"))
}

fn picks(cluster: &Cluster, avoid: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut seen: Vec<_> =
        (0..100).filter_map(|_| cluster.pick(None, avoid, now, &mut rng)).map(|endpoint| endpoint.address).collect();
    seen.sort();
    seen.dedup();
    seen
}

/// Fails as often in a row as it takes; whether that ejected.
fn break_down(cluster: &Cluster, index: usize, now: Instant) -> bool {
    let endpoint = endpoint(cluster, index);
    assert!(cluster.report(&endpoint, Outcome::Failure, now).is_none());
    cluster.report(&endpoint, Outcome::Failure, now).is_some_and(|ejected| ejected.mode == Mode::Enforce)
}

#[test]
fn nobody_is_picked_while_no_source_says_healthy() {
    let now = Instant::now();
    let cluster = cluster(model(None), &assignment(&[Health::Draining, Health::Unhealthy]), now);
    assert!(picks(&cluster, &[], now).is_empty());
    cluster.set_assignment(&assignment(&[Health::Draining, Health::Healthy]));
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
    assert_eq!(picks(&cluster, &[address(0), address(1)], now), [address(0), address(1)]);
}

#[test]
fn what_was_tried_is_tried_again_only_if_there_is_nothing_else() {
    let now = Instant::now();
    let cluster = cluster(model(None), &healthy(3), now);
    assert_eq!(picks(&cluster, &[address(0), address(2)], now), [address(1)]);
    let all = [address(0), address(1), address(2)];
    assert_eq!(picks(&cluster, &all, now), all);
}

#[test]
fn a_failing_endpoint_is_left_out_and_comes_back() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 10.0)), &healthy(2), now);
    assert!(break_down(&cluster, 0, now));
    assert_eq!(picks(&cluster, &[], now + 29 * SECOND), [address(1)]);
    assert!(cluster.sweep(now + 29 * SECOND).is_empty());
    assert_eq!(picks(&cluster, &[], now + 30 * SECOND), [address(0), address(1)]);
    let back = cluster.sweep(now + 30 * SECOND);
    assert_eq!(back.iter().map(|endpoint| endpoint.address).collect::<Vec<_>>(), [address(0)]);
    // What failed again soon stays out longer, and after calm intervals as long as at first.
    assert!(break_down(&cluster, 0, now + 31 * SECOND));
    let longer = endpoint(&cluster, 0).outlier.remaining(now + 31 * SECOND);
    assert!(longer.is_some_and(|longer| longer > 30 * SECOND), "{longer:?}");
    (0..30).for_each(|step| drop(cluster.sweep(now + (200 + 10 * step) * SECOND)));
    assert_eq!(endpoint(&cluster, 0).outlier.times(), 0);
    assert_eq!(cluster.ejections(), 2);
}

#[test]
fn whoever_fails_anew_before_the_sweep_comes_back_once() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 10.0)), &healthy(2), now);
    assert!(break_down(&cluster, 0, now) && break_down(&cluster, 0, now + 31 * SECOND));
    assert_eq!(cluster.sweep(now + 300 * SECOND).len(), 1);
}

#[test]
fn a_success_between_failures_keeps_an_endpoint_in() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(2), now);
    let endpoint = endpoint(&cluster, 0);
    for _ in 0..10 {
        assert!(cluster.report(&endpoint, Outcome::Failure, now).is_none());
        assert!(cluster.report(&endpoint, Outcome::Success, now).is_none());
    }
}

#[test]
fn an_observed_ejection_is_told_and_not_done() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Observe, 10.0)), &healthy(2), now);
    let failing = endpoint(&cluster, 0);
    assert!(cluster.report(&failing, Outcome::Failure, now).is_none());
    let told = cluster.report(&failing, Outcome::Failure, now).expect("an ejection that would have been");
    assert_eq!((told.mode, told.time), (Mode::Observe, 30 * SECOND));
    assert!(failing.is_available(now));
    assert_eq!((cluster.ejections(), cluster.would_eject()), (0, 1));
}

#[test]
fn the_last_is_never_ejected() {
    let now = Instant::now();
    let one = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(1), now);
    assert!(!break_down(&one, 0, now));
    let three = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    assert!(break_down(&three, 0, now) && break_down(&three, 1, now) && !break_down(&three, 2, now));
    assert_eq!((three.ejections(), three.ejection_overflows()), (2, 1));
}

#[test]
fn with_all_that_is_healthy_ejected_ejections_are_ignored() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(2), now);
    assert!(break_down(&cluster, 0, now));
    // The other one goes by its source's word.
    cluster.set_assignment(&assignment(&[Health::Healthy, Health::Unhealthy]));
    assert_eq!(picks(&cluster, &[], now), [address(0)]);
    assert_eq!(cluster.panics(), 100);
}

#[test]
fn an_assignment_keeps_what_is_known_of_those_who_stay() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    let (first, second) = (endpoint(&cluster, 0), endpoint(&cluster, 1));
    first.load.begin();
    assert!(break_down(&cluster, 1, now));
    let mut smaller = healthy(2);
    smaller.endpoints[0].weight = 7;
    assert!(!cluster.set_assignment(&smaller));
    assert!(Arc::ptr_eq(&endpoint(&cluster, 0), &first) && Arc::ptr_eq(&endpoint(&cluster, 1), &second));
    assert_eq!((first.weight(), first.load.active()), (7, 1));
    assert_eq!(picks(&cluster, &[], now), [address(0)]);
    smaller.endpoints[0].version = "v2".into();
    assert!(cluster.set_assignment(&smaller), "the endpoints are of one version no more");
    assert!(!Arc::ptr_eq(&endpoint(&cluster, 0), &first));
}

#[test]
fn a_changed_configuration_keeps_history_and_what_is_in_use() {
    let now = Instant::now();
    let old = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    assert!(break_down(&old, 0, now));
    let held = old.limits.try_acquire(Limit::Requests);
    let strict = LimitsModel { max_requests: Some(1), ..LimitsModel::default() };
    let model = Model { limits: Some(strict), balancing: Balancing::LeastRequest, ..old.config.clone() };
    let new = Cluster::new(model, None, Some(&old), Setting { workers: 1, seed: 0, now });
    assert!(Arc::ptr_eq(&endpoint(&old, 2), &endpoint(&new, 2)) && Arc::ptr_eq(&old.budget, &new.budget));
    assert_eq!((picks(&new, &[], now), new.ejections()), (vec![address(1), address(2)], 1));
    assert!(matches!(new.limits.try_acquire(Limit::Requests), Acquired::Refused));
    drop(held);
    assert!(matches!(new.limits.try_acquire(Limit::Requests), Acquired::Granted(_)));
    assert_eq!(new.sweep(now + 30 * SECOND).len(), 1);
}

#[test]
fn without_the_policy_nobody_stays_out_by_it() {
    let now = Instant::now();
    for policy in [None, outlier(Mode::Observe, 100.0)] {
        let old = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(2), now);
        assert!(break_down(&old, 0, now));
        let new = Cluster::new(model(policy), None, Some(&old), Setting { workers: 1, seed: 0, now });
        assert_eq!(picks(&new, &[], now), [address(0), address(1)]);
        assert_eq!(new.sweep(now).len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ejections_stay_within_their_share_but_for_one_and_leave_one(
        count in 1_usize..30,
        percent in 0_u32..=100,
        failures in prop::collection::vec((prop::num::usize::ANY, 0_u64..20), 1..200),
    ) {
        let mut now = Instant::now();
        let cluster = cluster(model(outlier(Mode::Enforce, f64::from(percent))), &healthy(count), now);
        for (index, wait) in failures {
            now += Duration::from_secs(wait);
            let endpoint = endpoint(&cluster, index % count);
            let reported = cluster.report(&endpoint, Outcome::Failure, now);
            let ejected = cluster.picker().endpoints().iter().filter(|one| one.outlier.is_ejected(now)).count();
            prop_assert!(ejected <= (count * percent as usize / 100).max(1) && ejected < count);
            prop_assert!(reported.is_none() || endpoint.outlier.is_ejected(now));
            cluster.sweep(now);
        }
    }

    #[test]
    fn no_interleaving_of_threads_empties_the_pool(count in 2_usize..12, percent in 0_u32..=100) {
        let now = Instant::now();
        let cluster = cluster(model(outlier(Mode::Enforce, f64::from(percent))), &healthy(count), now);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cluster = &cluster;
                scope.spawn(move || {
                    for step in 0..count * 4 {
                        let endpoint = endpoint(cluster, (step + thread) % count);
                        cluster.report(&endpoint, Outcome::Failure, now);
                    }
                });
            }
        });
        let ejected = cluster.picker().endpoints().iter().filter(|one| one.outlier.is_ejected(now)).count();
        prop_assert_eq!(ejected, (count * percent as usize / 100).clamp(1, count - 1));
        prop_assert_eq!(cluster.ejections(), ejected as u64);
    }
}
