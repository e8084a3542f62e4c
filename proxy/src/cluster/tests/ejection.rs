//! Who is left out, for how long, and who never is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::endpoint::Health;
use outrigger_config::policy::{Mode, Outlier};
use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

use super::{
    SECOND, address, assignment, back, break_down, cluster, ejections, endpoint, healthy, model, outlier, picks, probe,
    told,
};
use crate::cluster::{Cause, Cluster, Outcome, Report, Seat, Setting};
use crate::endpoint::Endpoint;

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

fn probe_seat(cluster: &Cluster, index: usize, now: Instant) -> Seat {
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
