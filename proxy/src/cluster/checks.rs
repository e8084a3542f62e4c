//! A destination's active health checks: who is to be asked, and what follows from the answers.
//!
//! Who leaves comes back by checks alone. An endpoint that its checks took out and now bring back is no longer ejected
//! either; one that has passed them all along stays ejected, since what answers a check may still fail requests. (Envoy
//! ends every ejection with the next good check unless told otherwise.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use outrigger_config::policy::{HealthCheck, Mode};

use super::Cluster;
use crate::endpoint::{Endpoint, Sick, Turn};

/// How checks ended, across configurations.
#[derive(Debug, Default)]
pub struct Checks {
    passed: AtomicU64,
    failed: AtomicU64,
    turns: [[AtomicU64; 2]; 2],
}

impl Checks {
    /// Checks that passed and that failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// How often an endpoint left or came back, or in Observe would have.
    pub fn turns(&self, turn: Turn, mode: Mode) -> u64 {
        self.turns[usize::from(turn == Turn::Back)][usize::from(mode.enforces())].load(Ordering::Relaxed)
    }

    fn count(&self, passed: bool) {
        if passed { &self.passed } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
    }

    fn turned(&self, turn: Turn, mode: Mode) {
        self.turns[usize::from(turn == Turn::Back)][usize::from(mode.enforces())].fetch_add(1, Ordering::Relaxed);
    }
}

impl Cluster {
    /// Takes down how a check by `policy` of `endpoint` ended, unless neither is any more what it was.
    pub fn checked(
        &self,
        endpoint: &Arc<Endpoint>,
        policy: &HealthCheck,
        answer: Result<(), Sick>,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) {
        let why = answer.as_ref().err().map(|sick| sick.why.clone()).unwrap_or_default();
        // What is rehearsed beside one that acts is counted by its turns alone.
        let beside = self.config.rehearsed.health_check.as_ref() == Some(policy);
        let state = if beside { &endpoint.rehearsed_check } else { &endpoint.check };
        if !beside {
            self.checks.count(answer.is_ok());
        }
        let Some(turn) = state.report(policy, answer, now, rng) else { return };
        self.checks.turned(turn, policy.mode);
        let (destination, address, mode) = (&*self.label, endpoint.address, policy.mode);
        match turn {
            Turn::Left => {
                tracing::warn!(destination, endpoint = %address, why = &*why, ?mode, "Endpoint fails its health checks");
            }
            Turn::Back => {
                if mode.enforces() {
                    self.ejections.pardon(endpoint);
                    endpoint.ramp.begin(now);
                }
                tracing::info!(destination, endpoint = %address, ?mode, "Endpoint passes its health checks");
            }
        }
        self.assess(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::{Cluster as Model, Discovery, Rehearsed};
    use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel};
    use outrigger_config::name::ClusterName;
    use outrigger_config::policy::health_check::{HttpProbe, Probe};
    use outrigger_config::policy::{HealthCheck, Mode, Origin, Outlier};
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use crate::cluster::{Cluster, Outcome, Setting};
    use crate::endpoint::{Endpoint, Sick, Turn};

    fn name() -> ClusterName {
        ClusterName::try_new("shop/catalog/http").expect("a name")
    }

    fn assignment(count: u8) -> Assignment {
        let endpoint = |index| EndpointModel::at(([10, 0, 0, index], 80).into());
        Assignment::try_new(name(), (0..count).map(endpoint).collect()).expect("an assignment")
    }

    fn policy(mode: Mode) -> HealthCheck {
        let defaults = HealthCheck::with_defaults(Origin::default(), mode, Probe::Tcp);
        HealthCheck { unhealthy_threshold: 1, healthy_threshold: 1, ..defaults }
    }

    fn model(check: HealthCheck) -> Model {
        let outlier = Outlier { consecutive_errors: Some(1), ..Outlier::with_defaults(Origin::default()) };
        Model { health_check: Some(check), outlier: Some(outlier), ..Model::new(name(), Discovery::Eds(name())) }
    }

    fn cluster(mode: Mode, count: u8, now: Instant) -> Cluster {
        Cluster::new(model(policy(mode)), Some(&assignment(count)), None, Setting { workers: 1, seed: 0, now })
    }

    fn endpoint(cluster: &Cluster, index: usize) -> Arc<Endpoint> {
        Arc::clone(&cluster.picker().endpoints()[index])
    }

    fn answer(cluster: &Cluster, index: usize, passed: bool, now: Instant) {
        let policy = cluster.config.health_check.clone().expect("a check");
        let answer = if passed { Ok(()) } else { Err(Sick::new("no")) };
        cluster.checked(&endpoint(cluster, index), &policy, answer, now, &mut fastrand::Rng::with_seed(1));
    }

    /// Who gets requests, by the last byte of the address.
    fn picked(cluster: &Cluster, now: Instant) -> Vec<u16> {
        let mut rng = fastrand::Rng::with_seed(1);
        let last = |cluster: &Cluster, rng: &mut fastrand::Rng| {
            let seat = cluster.pick(None, &[], now, rng)?;
            seat.endpoint().address.to_string().split(['.', ':']).nth(3)?.parse().ok()
        };
        let mut seen: Vec<u16> = (0..100).filter_map(|_| last(cluster, &mut rng)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn who_fails_leaves_and_who_passes_comes_back() {
        let now = Instant::now();
        let cluster = cluster(Mode::Enforce, 4, now);
        assert_eq!(picked(&cluster, now), [0, 1, 2, 3]);
        answer(&cluster, 2, false, now);
        assert_eq!(picked(&cluster, now), [0, 1, 3]);
        answer(&cluster, 2, true, now);
        assert_eq!(picked(&cluster, now), [0, 1, 2, 3]);
        assert_eq!((cluster.checks.counts(), cluster.checks.turns(Turn::Left, Mode::Enforce)), ((1, 1), 1));
    }

    #[test]
    fn a_newcomer_waits_for_its_first_good_check() {
        let now = Instant::now();
        let cluster = cluster(Mode::Enforce, 2, now);
        cluster.set_assignment(&assignment(3), now);
        assert_eq!(picked(&cluster, now), [0, 1]);
        answer(&cluster, 2, true, now);
        assert_eq!(picked(&cluster, now), [0, 1, 2]);
    }

    #[test]
    fn what_was_found_out_outlives_a_configuration() {
        let now = Instant::now();
        let old = cluster(Mode::Enforce, 3, now);
        answer(&old, 0, false, now);
        let setting = Setting { workers: 1, seed: 0, now };
        let changed = HealthCheck { interval: Duration::from_secs(1), ..policy(Mode::Enforce) };
        let new = Cluster::new(model(changed), Some(&assignment(3)), Some(&old), setting);
        assert_eq!(picked(&new, now), [1, 2]);
        assert_eq!(new.checks.turns(Turn::Left, Mode::Enforce), 1);
        let without = Model { health_check: None, ..new.config.clone() };
        assert_eq!(picked(&Cluster::new(without, None, Some(&new), setting), now), [0, 1, 2]);
    }

    #[test]
    fn only_a_recovery_ends_an_ejection() {
        let now = Instant::now();
        let cluster = cluster(Mode::Enforce, 2, now);
        (0..2).for_each(|index| answer(&cluster, index, true, now));
        cluster.report(&endpoint(&cluster, 1), Outcome::Failure, now);
        answer(&cluster, 1, true, now);
        assert_eq!(picked(&cluster, now), [0], "what answers checks may still fail requests");
        answer(&cluster, 1, false, now);
        answer(&cluster, 1, true, now);
        assert_eq!(picked(&cluster, now), [0, 1]);
    }

    #[test]
    fn beside_one_that_acts_another_is_rehearsed() {
        let now = Instant::now();
        let beside = HealthCheck { probe: Probe::Http(HttpProbe::new("/deep")), ..policy(Mode::Observe) };
        let acting = policy(Mode::Enforce);
        let rehearsed = Rehearsed { health_check: Some(beside.clone()), ..Rehearsed::default() };
        let config = Model { rehearsed, ..model(acting.clone()) };
        let cluster = Cluster::new(config, Some(&assignment(2)), None, Setting { workers: 1, seed: 0, now });
        let rng = &mut fastrand::Rng::with_seed(1);
        cluster.checked(&endpoint(&cluster, 0), &beside, Err(Sick::new("no")), now, rng);
        assert_eq!(picked(&cluster, now), [0, 1], "it changes nothing");
        let left = |mode| cluster.checks.turns(Turn::Left, mode);
        assert_eq!((left(Mode::Observe), left(Mode::Enforce), cluster.checks.counts()), (1, 0, (0, 0)));
        cluster.checked(&endpoint(&cluster, 1), &acting, Err(Sick::new("no")), now, rng);
        assert_eq!(picked(&cluster, now), [0]);
        assert_eq!((left(Mode::Observe), left(Mode::Enforce), cluster.checks.counts()), (1, 1, (0, 1)));
    }

    #[test]
    fn in_observe_turns_are_counted_and_nobody_leaves() {
        let now = Instant::now();
        let cluster = cluster(Mode::Observe, 2, now);
        answer(&cluster, 0, false, now);
        assert_eq!(picked(&cluster, now), [0, 1]);
        let turns = [Mode::Observe, Mode::Enforce].map(|mode| cluster.checks.turns(Turn::Left, mode));
        assert_eq!(turns, [1, 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever checks and requests say: somebody is picked.
        #[test]
        fn no_checks_and_ejections_together_empty_the_pool(
            count in 1_u8..6,
            steps in prop::collection::vec((0_usize..6, 0_u8..4), 1..60),
        ) {
            let now = Instant::now();
            let cluster = cluster(Mode::Enforce, count, now);
            for (index, what) in steps {
                let index = index % usize::from(count);
                match what {
                    0 | 1 => answer(&cluster, index, what == 0, now),
                    2 => drop(cluster.report(&endpoint(&cluster, index), Outcome::Failure, now)),
                    _ => drop(cluster.report(&endpoint(&cluster, index), Outcome::Success, now)),
                }
                prop_assert!(!picked(&cluster, now).is_empty());
            }
        }
    }
}
