//! What active health checks found out about an endpoint (xDS `Cluster.health_checks`).
//!
//! One side thread asks and reports; workers only read one flag. The state stays with the endpoint whatever becomes of
//! the configuration. Who was there before anybody was asked serves until the first answer; a newcomer among others
//! serves only after its first good one. In Observe the same is found out and nobody is left out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::policy::HealthCheck;
use parking_lot::Mutex;

/// The longest time until an endpoint is asked for the first time.
const FIRST: Duration = Duration::from_secs(1);

/// What is known of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet, as of all its neighbours: it serves, and its first answer decides.
    Unknown,
    /// Nothing yet, and others serve: its first answer decides.
    New,
    /// It is well.
    Passing,
    /// It is not.
    Failing,
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sick {
    /// What happened, for people.
    pub why: Box<str>,
    /// Whether that is enough for it to leave, whatever the threshold.
    pub at_once: bool,
}

impl Sick {
    /// A failure that counts towards the threshold.
    pub fn new(why: impl std::fmt::Display) -> Self {
        Sick { why: why.to_string().into(), at_once: false }
    }
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It was well, and is not.
    Left,
    /// It is well, and was not.
    Back,
}

/// What health checks found out.
#[derive(Debug)]
pub struct CheckState {
    /// Read by every pick.
    out: AtomicBool,
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    standing: Standing,
    /// The policy it is asked by.
    policy: Option<HealthCheck>,
    /// Answers in a row that speak against its standing.
    against: u32,
    /// When it is to be asked next.
    due: Option<Instant>,
    /// Whether it is being asked.
    busy: bool,
    /// Why the last check failed; none if it passed.
    failure: Option<Box<str>>,
}

impl Default for CheckState {
    fn default() -> Self {
        let standing = Standing::Unknown;
        let found = Found { standing, policy: None, against: 0, due: None, busy: false, failure: None };
        CheckState { out: AtomicBool::new(false), found: Mutex::new(found) }
    }
}

impl CheckState {
    /// Others serve already: it does once a check has passed.
    pub fn comes_later(&self) {
        self.found.lock().standing = Standing::New;
    }

    /// From now on it is asked by this policy, or by none.
    pub fn tune(&self, policy: Option<&HealthCheck>) {
        let mut found = self.found.lock();
        if found.policy.as_ref() != policy {
            found.policy = policy.cloned();
            found.due = None;
            found.against = 0;
        }
        if policy.is_none() {
            // Who serves unasked goes on while a later policy finds out.
            found.standing = Standing::Passing;
            found.failure = None;
        }
        self.publish(&found);
    }

    /// Whether it is left out. Relaxed: a request at the moment of change may meet either.
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// What is known of it; none while nobody asks.
    pub fn standing(&self) -> Option<Standing> {
        let found = self.found.lock();
        found.policy.as_ref().map(|_| found.standing)
    }

    /// Why its last check failed; none if it passed.
    pub fn failure(&self) -> Option<Box<str>> {
        self.found.lock().failure.clone()
    }

    /// Whether it is to be asked now; whoever hears so asks it, and says [`CheckState::end`] afterwards.
    pub fn begin(&self, now: Instant, rng: &mut fastrand::Rng) -> bool {
        let mut found = self.found.lock();
        let Some(policy) = &found.policy else { return false };
        if found.busy {
            return false;
        }
        let first = policy.interval.min(FIRST);
        let due = *found.due.get_or_insert_with(|| now + first.mul_f64(rng.f64()));
        found.busy = due <= now;
        found.busy
    }

    /// It is not being asked any more, whether or not anything came of it.
    pub fn end(&self) {
        self.found.lock().busy = false;
    }

    /// Takes an answer down, unless it was asked for by another policy than is in force.
    pub fn report(
        &self,
        policy: &HealthCheck,
        answer: Result<(), Sick>,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Turn> {
        let mut found = self.found.lock();
        if found.policy.as_ref() != Some(policy) {
            return None;
        }
        found.due = Some(now + policy.interval + policy.jitter.mul_f64(rng.f64()));
        let at_once = answer.as_ref().is_err_and(|sick| sick.at_once);
        let passed = answer.is_ok();
        found.failure = answer.err().map(|sick| sick.why);
        let (next, threshold) = match (found.standing, passed) {
            (Standing::Passing, true) | (Standing::Failing, false) => {
                found.against = 0;
                return None;
            }
            (Standing::Passing, false) => (Standing::Failing, if at_once { 1 } else { policy.unhealthy_threshold }),
            (Standing::Failing, true) => (Standing::Passing, policy.healthy_threshold),
            (_, true) => (Standing::Passing, 1),
            (_, false) => (Standing::Failing, 1),
        };
        found.against += 1;
        if found.against < threshold {
            return None;
        }
        found.against = 0;
        let before = std::mem::replace(&mut found.standing, next);
        self.publish(&found);
        match (serves(before), serves(next)) {
            (true, false) => Some(Turn::Left),
            (false, true) => Some(Turn::Back),
            _ => None,
        }
    }

    fn publish(&self, found: &Found) {
        let acts = found.policy.as_ref().is_some_and(|policy| policy.mode.enforces());
        self.out.store(acts && !serves(found.standing), Ordering::Relaxed);
    }
}

/// Whether one that is known so takes requests.
fn serves(standing: Standing) -> bool {
    matches!(standing, Standing::Unknown | Standing::Passing)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::policy::health_check::Probe;
    use outrigger_config::policy::{HealthCheck, Mode, Origin};
    use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

    use super::{CheckState, Sick, Standing, Turn};

    fn policy(mode: Mode) -> HealthCheck {
        HealthCheck::with_defaults(Origin::default(), mode, Probe::Tcp)
    }

    fn answer(state: &CheckState, policy: &HealthCheck, passed: bool) -> Option<Turn> {
        let answer = if passed { Ok(()) } else { Err(Sick::new("no")) };
        state.report(policy, answer, Instant::now(), &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn the_first_answer_decides_and_later_ones_need_their_thresholds() {
        let policy = policy(Mode::Enforce);
        let state = CheckState::default();
        state.tune(Some(&policy));
        assert!(!state.is_out(), "nobody is known, so everybody serves");
        assert_eq!(answer(&state, &policy, false), Some(Turn::Left));
        assert!(state.is_out() && state.failure().as_deref() == Some("no"));
        assert_eq!([true, false, true].map(|passed| answer(&state, &policy, passed)), [None; 3]);
        assert_eq!(answer(&state, &policy, true), Some(Turn::Back));
        assert!(!state.is_out() && state.failure().is_none());
        assert_eq!([false, false, true, false, false].map(|passed| answer(&state, &policy, passed)), [None; 5]);
        assert_eq!(answer(&state, &policy, false), Some(Turn::Left));
    }

    #[test]
    fn a_newcomer_serves_after_its_first_good_answer() {
        let policy = policy(Mode::Enforce);
        let state = CheckState::default();
        state.comes_later();
        state.tune(Some(&policy));
        assert!(state.is_out());
        assert_eq!((answer(&state, &policy, true), state.is_out()), (Some(Turn::Back), false));
        let other = CheckState::default();
        other.comes_later();
        other.tune(None);
        assert!(!other.is_out(), "without a policy nobody waits");
        other.tune(Some(&policy));
        assert_eq!((other.standing(), other.is_out()), (Some(Standing::Passing), false), "it has served already");
    }

    #[test]
    fn a_status_that_is_not_tolerated_is_enough() {
        let policy = policy(Mode::Enforce);
        let state = CheckState::default();
        state.tune(Some(&policy));
        answer(&state, &policy, true);
        let sick = Sick { at_once: true, ..Sick::new("404") };
        let turn = state.report(&policy, Err(sick), Instant::now(), &mut fastrand::Rng::new());
        assert_eq!(turn, Some(Turn::Left));
    }

    #[test]
    fn in_observe_the_same_turns_leave_nobody_out() {
        let policy = policy(Mode::Observe);
        let state = CheckState::default();
        state.tune(Some(&policy));
        assert_eq!((answer(&state, &policy, false), state.is_out()), (Some(Turn::Left), false));
        // Enforced from now on, what was found out holds.
        state.tune(Some(&HealthCheck { mode: Mode::Enforce, ..policy.clone() }));
        assert!(state.is_out());
        assert_eq!(answer(&state, &policy, true), None, "an answer to another policy says nothing");
        state.tune(None);
        assert!(!state.is_out() && state.standing().is_none());
    }

    #[test]
    fn an_endpoint_is_asked_once_at_a_time_and_soon_at_first() {
        let (mut rng, now) = (fastrand::Rng::with_seed(1), Instant::now());
        let policy = policy(Mode::Enforce);
        let state = CheckState::default();
        assert!(!state.begin(now, &mut rng), "nobody asks");
        state.tune(Some(&policy));
        assert!(!state.begin(now, &mut rng), "not all at the same moment");
        let second = now + Duration::from_secs(1);
        assert!(state.begin(second, &mut rng) && !state.begin(second, &mut rng));
        state.end();
        assert!(state.begin(second, &mut rng), "nothing came of it");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever the answers: it turns only after as many in a row as the threshold says, and is asked again no
        /// sooner than the interval and no later than the jitter allows.
        #[test]
        fn turns_follow_rows_of_answers(
            answers in prop::collection::vec(prop::bool::ANY, 1..60),
            unhealthy in 1_u32..6,
            healthy in 1_u32..6,
            seed in 0_u64..u64::MAX,
        ) {
            let base = policy(Mode::Enforce);
            let policy = HealthCheck { unhealthy_threshold: unhealthy, healthy_threshold: healthy, ..base };
            let (mut rng, now) = (fastrand::Rng::with_seed(seed), Instant::now());
            let state = CheckState::default();
            state.tune(Some(&policy));
            let mut row = 0;
            for (index, passed) in answers.iter().enumerate() {
                row = if index > 0 && answers[index - 1] == *passed { row + 1 } else { 1 };
                let was_out = state.is_out();
                let turn = state.report(&policy, if *passed { Ok(()) } else { Err(Sick::new("")) }, now, &mut rng);
                prop_assert_eq!(turn.is_some(), state.is_out() != was_out);
                if let Some(turn) = turn {
                    let wanted = if turn == Turn::Left { unhealthy } else { healthy };
                    prop_assert_eq!(turn == Turn::Back, *passed);
                    prop_assert!(index == 0 || row >= wanted);
                } else if index > 0 {
                    let wanted = if *passed { healthy } else { unhealthy };
                    prop_assert!(row < wanted || state.is_out() != *passed);
                }
                prop_assert!(!state.begin(now + policy.interval - Duration::from_millis(1), &mut rng));
                prop_assert!(state.begin(now + policy.interval + policy.jitter, &mut rng));
                state.end();
            }
        }
    }
}
