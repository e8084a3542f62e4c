//! The cluster as requests and assignments meet it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery};
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health};
use outrigger_config::name::ClusterName;
use outrigger_config::policy::{Limits as LimitsModel, Mode, Origin, Outlier, PerEndpoint, Priority, Thresholds};
use outrigger_config::value::Percent;
use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

use super::{Acquired, Ask, Cause, Change, Cluster, Ejected, Limit, Outcome, Report, Setting};
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
        health: *health,
        version: "v1".into(),
        ..EndpointModel::at(address(index))
    };
    Assignment::try_new(name(), health.iter().enumerate().map(endpoint).collect()).expect("an assignment")
}

fn healthy(count: usize) -> Assignment {
    assignment(&vec![Health::Healthy; count])
}

fn outlier(mode: Mode, percent: f64) -> Option<Outlier> {
    let max_percent = Percent::try_new(percent).expect("a percentage");
    Some(Outlier { mode, max_percent, consecutive_errors: Some(2), ..Outlier::with_defaults(Origin::default()) })
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
        (0..100).filter_map(|_| cluster.pick(None, avoid, now, &mut rng)).map(|seat| seat.endpoint().address).collect();
    seen.sort();
    seen.dedup();
    seen
}

/// Fails as often in a row as it takes; whether that ejected.
fn break_down(cluster: &Cluster, index: usize, now: Instant) -> bool {
    let endpoint = endpoint(cluster, index);
    assert!(cluster.report(&endpoint, Outcome::Failure, now).is_none());
    told(cluster.report(&endpoint, Outcome::Failure, now)).is_some_and(|ejected| ejected.mode == Mode::Enforce)
}

fn told(change: Option<Change>) -> Option<Ejected> {
    match change {
        Some(Change::Ejected(ejected)) => Some(ejected),
        _ => None,
    }
}

/// Who is back, by address.
fn back(changes: &[Change]) -> Vec<SocketAddr> {
    let back = |change: &Change| match change {
        Change::Back(endpoint) => Some(endpoint.address),
        Change::Ejected(_) => None,
    };
    changes.iter().filter_map(back).collect()
}

/// The one endpoint on probation gets a probe that ends so.
fn probe(cluster: &Cluster, index: usize, outcome: Outcome, now: Instant) -> Option<Change> {
    let mut rng = fastrand::Rng::with_seed(1);
    let seat = (0..100)
        .filter_map(|_| cluster.pick(None, &[], now, &mut rng))
        .find(|seat| seat.endpoint().address == address(index))
        .expect("a probe");
    assert!(seat.is_probe());
    cluster.report(seat.endpoint(), Report { outcome, latency: None, probe: true }, now)
}

fn ejections(cluster: &Cluster) -> (u64, u64) {
    Cause::ALL.iter().fold((0, 0), |(done, would), cause| {
        let counts = cluster.ejections(*cause);
        (done + counts.0, would + counts.1)
    })
}

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
fn a_failing_endpoint_is_left_out_and_comes_back_by_a_probe() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 10.0)), &healthy(2), now);
    assert!(break_down(&cluster, 0, now));
    assert_eq!(picks(&cluster, &[], now + 29 * SECOND), [address(1)]);
    assert!(cluster.sweep(now + 29 * SECOND).is_empty());
    assert!(cluster.sweep(now + 30 * SECOND).is_empty(), "its time is over, and a probe decides");
    let held = probe_seat(&cluster, 0, now + 30 * SECOND);
    assert_eq!(picks(&cluster, &[], now + 30 * SECOND), [address(1)], "one probe at a time");
    drop(held);
    let change = probe(&cluster, 0, Outcome::Success, now + 30 * SECOND);
    assert_eq!(back(&change.into_iter().collect::<Vec<_>>()), [address(0)]);
    assert_eq!(picks(&cluster, &[], now + 30 * SECOND), [address(0), address(1)]);
    // What failed again soon stays out longer, and after calm intervals as long as at first.
    assert!(break_down(&cluster, 0, now + 31 * SECOND));
    let longer = endpoint(&cluster, 0).outlier.remaining(now + 31 * SECOND);
    assert!(longer.is_some_and(|longer| longer > 30 * SECOND), "{longer:?}");
    assert!(probe(&cluster, 0, Outcome::Success, now + 200 * SECOND).is_some());
    (0..30).for_each(|step| drop(cluster.sweep(now + (200 + 10 * step) * SECOND)));
    assert_eq!(endpoint(&cluster, 0).outlier.times(), 0);
    assert_eq!(ejections(&cluster), (2, 0));
}

fn probe_seat(cluster: &Cluster, index: usize, now: Instant) -> super::Seat {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut seats = (0..10).filter_map(|_| cluster.pick(None, &[], now, &mut rng));
    seats.find(|seat| seat.endpoint().address == address(index)).expect("a seat")
}

#[test]
fn a_failed_probe_leaves_out_longer_and_nobody_else() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 10.0)), &healthy(2), now);
    assert!(break_down(&cluster, 0, now));
    let ejected = told(probe(&cluster, 0, Outcome::NoAnswer, now + 30 * SECOND)).expect("an ejection");
    assert_eq!((ejected.cause, ejected.time), (Cause::Probe, 60 * SECOND));
    assert_eq!(picks(&cluster, &[], now + 89 * SECOND), [address(1)]);
    assert!(probe(&cluster, 0, Outcome::Success, now + 90 * SECOND).is_some());
    assert_eq!(cluster.ejections(Cause::Probe), (1, 0));
}

#[test]
fn without_probes_an_ejection_ends_by_itself() {
    let now = Instant::now();
    let outlier = outlier(Mode::Enforce, 10.0).map(|outlier| Outlier { probe_requests: 0, ..outlier });
    let cluster = cluster(model(outlier), &healthy(2), now);
    assert!(break_down(&cluster, 0, now));
    assert_eq!(picks(&cluster, &[], now + 30 * SECOND), [address(0), address(1)]);
    assert!(break_down(&cluster, 0, now + 31 * SECOND), "before it was swept");
    assert_eq!(back(&cluster.sweep(now + 300 * SECOND)), [address(0)], "it comes back once");
}

#[test]
fn who_stands_out_in_an_interval_is_left_out_at_its_end() {
    let now = Instant::now();
    let rate = Some(outrigger_config::policy::SuccessRate::with_defaults(Mode::Enforce));
    let slow = Some(outrigger_config::policy::SlowEndpoint::with_defaults(Mode::Observe));
    let policy = outlier(Mode::Enforce, 50.0).map(|outlier| Outlier { success_rate: rate, latency: slow, ..outlier });
    let cluster = cluster(model(policy), &healthy(5), now);
    for turn in 0..100 {
        for index in 0..5 {
            let outcome = if index == 0 && turn % 3 == 0 { Outcome::Failure } else { Outcome::Success };
            let latency = Some(Duration::from_millis(if index == 1 { 50 } else { 5 }));
            let report = Report { outcome, latency, probe: false };
            assert!(cluster.report(&endpoint(&cluster, index), report, now).is_none());
        }
    }
    assert!(cluster.sweep(now + 9 * SECOND).is_empty(), "the interval is not over");
    let changes: Vec<_> = cluster.sweep(now + 10 * SECOND).into_iter().filter_map(|one| told(Some(one))).collect();
    let told: Vec<_> = changes.iter().map(|one| (one.endpoint.address, one.cause, one.mode)).collect();
    let expected = [(address(0), Cause::SuccessRate, Mode::Enforce), (address(1), Cause::Latency, Mode::Observe)];
    assert_eq!(told, expected);
    assert_eq!(picks(&cluster, &[], now + 11 * SECOND), [1, 2, 3, 4].map(address));
    assert!(cluster.sweep(now + 20 * SECOND).is_empty(), "the next interval brought nothing");
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
    let told = told(cluster.report(&failing, Outcome::Failure, now)).expect("an ejection that would have been");
    assert_eq!((told.mode, told.time), (Mode::Observe, 30 * SECOND));
    assert!(failing.is_available(now));
    assert_eq!(ejections(&cluster), (0, 1));
}

#[test]
fn an_observed_ejection_is_told_once_and_grows_and_fills_the_share_as_a_real_one() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Observe, 10.0)), &healthy(3), now);
    let (failing, other) = (endpoint(&cluster, 0), endpoint(&cluster, 1));
    let fail = |endpoint: &Arc<Endpoint>, now| {
        let changes = (0..100).filter_map(|_| told(cluster.report(endpoint, Outcome::Failure, now)));
        changes.map(|ejected| ejected.time.as_secs()).collect::<Vec<_>>()
    };
    assert_eq!(fail(&failing, now), [30]);
    assert_eq!(fail(&failing, now + 29 * SECOND), [0; 0], "it would be out");
    assert_eq!(fail(&other, now + 29 * SECOND), [0; 0], "one of three is the share");
    assert_eq!((ejections(&cluster), cluster.ejection_overflows()), ((0, 1), 50));
    cluster.sweep(now + 29 * SECOND);
    assert_eq!(fail(&failing, now + 30 * SECOND), [60]);
    assert_eq!(fail(&other, now + 91 * SECOND), [30]);
    // Calm intervals shorten it again.
    (10..20).for_each(|step| drop(cluster.sweep(now + 10 * step * SECOND)));
    assert_eq!(fail(&failing, now + 200 * SECOND), [30]);
    assert_eq!(picks(&cluster, &[], now), [0, 1, 2].map(address));
    assert_eq!(ejections(&cluster), (0, 4));
    // What would have been is nothing to one that acts.
    let acting =
        Cluster::new(model(outlier(Mode::Enforce, 10.0)), None, Some(&cluster), Setting { workers: 1, seed: 0, now });
    assert!(break_down(&acting, 1, now + 201 * SECOND));
    assert_eq!(endpoint(&acting, 1).outlier.remaining(now + 201 * SECOND), Some(30 * SECOND));
}

#[test]
fn over_its_share_a_failure_waits_for_no_lock_until_somebody_may_be_back() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 10.0)), &healthy(3), now);
    assert!(break_down(&cluster, 0, now) && !break_down(&cluster, 1, now));
    // A report that took the lock would wait for ever.
    let held = cluster.ejections.governor.lock();
    assert!(!break_down(&cluster, 1, now) && !break_down(&cluster, 2, now));
    drop(held);
    assert_eq!(cluster.ejection_overflows(), 3);
    cluster.set_assignment(&healthy(20), now);
    assert!(break_down(&cluster, 1, now), "two of twenty");
    assert!(!break_down(&cluster, 2, now));
    assert!(probe(&cluster, 0, Outcome::Success, now + 30 * SECOND).is_some());
    assert!(break_down(&cluster, 2, now + 30 * SECOND), "one is back");
}

#[test]
fn who_cannot_be_probed_uses_up_no_share() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 10.0)), &healthy(4), now);
    assert!(break_down(&cluster, 0, now) && !break_down(&cluster, 1, now));
    // Its time is over, and no probe comes.
    assert!(cluster.sweep(now + 30 * SECOND).is_empty());
    assert!(endpoint(&cluster, 0).outlier.is_out(now + 30 * SECOND));
    assert!(break_down(&cluster, 1, now + 30 * SECOND) && !break_down(&cluster, 2, now + 30 * SECOND));
    // Its source says that it takes nothing anyway.
    let (healthy, unhealthy) = (Health::Healthy, Health::Unhealthy);
    cluster.set_assignment(&assignment(&[healthy, unhealthy, healthy, healthy]), now + 31 * SECOND);
    cluster.sweep(now + 31 * SECOND);
    assert!(break_down(&cluster, 2, now + 31 * SECOND));
    // Share or not, the last stays.
    assert!(!break_down(&cluster, 3, now + 100 * SECOND));
    assert_eq!(picks(&cluster, &[], now + 31 * SECOND).len(), 3, "too few are in");
}

#[test]
fn the_last_is_never_ejected() {
    let now = Instant::now();
    let one = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(1), now);
    assert!(!break_down(&one, 0, now));
    let three = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    assert!(break_down(&three, 0, now) && break_down(&three, 1, now) && !break_down(&three, 2, now));
    assert_eq!((ejections(&three), three.ejection_overflows()), ((2, 0), 1));
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

#[test]
fn an_assignment_keeps_what_is_known_of_those_who_stay() {
    let now = Instant::now();
    let cluster = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    let (first, second) = (endpoint(&cluster, 0), endpoint(&cluster, 1));
    first.load.begin();
    assert!(break_down(&cluster, 1, now));
    let mut smaller = healthy(2);
    smaller.endpoints[0].weight = 7;
    assert!(!cluster.set_assignment(&smaller, now));
    assert!(Arc::ptr_eq(&endpoint(&cluster, 0), &first) && Arc::ptr_eq(&endpoint(&cluster, 1), &second));
    assert_eq!((first.weight(), first.load.active()), (7, 1));
    assert_eq!(picks(&cluster, &[], now), [address(0)]);
    smaller.endpoints[0].version = "v2".into();
    assert!(cluster.set_assignment(&smaller, now), "the endpoints are of one version no more");
    assert!(!Arc::ptr_eq(&endpoint(&cluster, 0), &first));
}

#[test]
fn a_changed_configuration_keeps_history_and_what_is_in_use() {
    let now = Instant::now();
    let old = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    assert!(break_down(&old, 0, now));
    let held = old.limits(Priority::Default).try_acquire(Limit::Requests);
    let strict = LimitsModel { max_requests: Some(1), ..LimitsModel::default() };
    let model = Model { limits: Some(strict), balancing: Balancing::LeastRequest, ..old.config.clone() };
    let new = Cluster::new(model, None, Some(&old), Setting { workers: 1, seed: 0, now });
    assert!(Arc::ptr_eq(&endpoint(&old, 2), &endpoint(&new, 2)) && Arc::ptr_eq(&old.budget, &new.budget));
    assert_eq!((picks(&new, &[], now), ejections(&new)), (vec![address(1), address(2)], (1, 0)));
    assert!(matches!(new.limits(Priority::Default).try_acquire(Limit::Requests), Acquired::Refused));
    drop(held);
    assert!(matches!(new.limits(Priority::Default).try_acquire(Limit::Requests), Acquired::Granted(_)));
    assert!(probe(&new, 0, Outcome::Success, now + 30 * SECOND).is_some());
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

#[test]
fn what_began_under_another_configuration_ejects_nobody() {
    let now = Instant::now();
    let setting = Setting { workers: 1, seed: 0, now };
    let old = cluster(model(outlier(Mode::Enforce, 100.0)), &healthy(3), now);
    for policy in [None, outlier(Mode::Observe, 100.0), outlier(Mode::Enforce, 50.0)] {
        let new = Cluster::new(model(policy), None, Some(&old), setting);
        assert!(!break_down(&old, 0, now));
        assert_eq!((picks(&new, &[], now), new.sweep(now).len()), ([0, 1, 2].map(address).to_vec(), 0));
    }
    // Under the same policy it speaks for those who are still there.
    let new = Cluster::new(old.config.clone(), Some(&healthy(2)), Some(&old), setting);
    assert!(!break_down(&old, 2, now) && break_down(&old, 0, now));
    assert_eq!((picks(&new, &[], now), ejections(&new)), (vec![address(1)], (1, 0)));
    // A probe that was under way brings nobody out again for good.
    let probe = Report { outcome: Outcome::NoAnswer, latency: None, probe: true };
    let failing = endpoint(&new, 0);
    let last = Cluster::new(model(None), None, Some(&new), setting);
    assert!(new.report(&failing, probe, now + 30 * SECOND).is_none());
    assert_eq!(back(&last.sweep(now + 30 * SECOND)), [address(0)]);
    assert_eq!(picks(&last, &[], now + 30 * SECOND), [address(0), address(1)]);
}

#[test]
fn an_endpoint_that_is_gone_is_no_longer_kept_as_ejected() {
    let now = Instant::now();
    let outlier = outlier(Mode::Enforce, 100.0).map(|outlier| Outlier { probe_requests: 0, ..outlier });
    let old = cluster(model(outlier), &healthy(3), now);
    assert!(break_down(&old, 2, now));
    let new = Cluster::new(old.config.clone(), Some(&healthy(2)), Some(&old), Setting { workers: 1, seed: 0, now });
    assert!(new.sweep(now + 300 * SECOND).is_empty(), "nobody comes back who is gone");
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
            let picker = cluster.picker();
            let of = |is: &dyn Fn(&Endpoint) -> bool| picker.endpoints().iter().filter(|one| is(one)).count();
            prop_assert!(of(&|one| one.outlier.is_ejected(now)) <= (count * percent as usize / 100).max(1));
            prop_assert!(of(&|one| one.outlier.is_out(now)) < count);
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
        let ejected = cluster.picker().endpoints().iter().filter(|one| one.outlier.is_out(now)).count();
        prop_assert_eq!(ejected, (count * percent as usize / 100).clamp(1, count - 1));
        prop_assert_eq!(ejections(&cluster), (ejected as u64, 0));
    }
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
