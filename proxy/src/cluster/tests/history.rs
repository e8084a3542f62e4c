//! What a destination keeps when its endpoints or its configuration change.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::{Balancing, Cluster as Model};
use outrigger_config::policy::{Limits as LimitsModel, Mode, Outlier, Priority};

use super::{SECOND, address, back, break_down, cluster, ejections, endpoint, healthy, model, outlier, picks, probe};
use crate::cluster::{Acquired, Cluster, Limit, Outcome, Report, Setting};

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
