//! Admission control: while a destination fails, a share of the requests to it is given up at once, so that it gets no
//! more than it is likely to answer (xDS `admission_control`; client-side throttling in Google's "Site Reliability
//! Engineering", chapter 21).
//!
//! Of `n` attempts in the window with `s` successes, `max(0, (n - s / threshold) / (n + 1)) ^ (1 / aggression)` is the
//! share that is given up. Attempts count, not requests: what is given up says nothing of the destination, and so a part
//! always goes through by which it shows that it is well again. All workers count together, without a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::policy::AdmissionControl as Model;

use super::Cluster;
use super::budget::{SLOTS, Window};

/// The admission control of a destination.
pub struct Admission {
    model: Model,
    epoch: Instant,
    attempts: Window,
    successes: Window,
    rejected: AtomicU64,
}

impl Admission {
    /// An empty window. `epoch` is the time its slots count from.
    pub fn new(model: Model, epoch: Instant) -> Self {
        let (attempts, successes) = (Window::default(), Window::default());
        Admission { model, epoch, attempts, successes, rejected: AtomicU64::new(0) }
    }

    /// What a policy asks for: what there was, if it is the same policy.
    pub fn carried_on(model: Option<&Model>, previous: Option<&Arc<Self>>, now: Instant) -> Option<Arc<Self>> {
        let model = model?;
        let same = previous.filter(|previous| previous.model == *model);
        Some(same.map_or_else(|| Arc::new(Admission::new(model.clone(), now)), Arc::clone))
    }

    /// The policy.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// An attempt is over.
    pub fn note(&self, succeeded: bool, now: Instant) {
        let slot = self.slot(now);
        // Both are marked, so that neither's window is longer than the other's.
        self.attempts.enter(slot);
        self.successes.enter(slot);
        self.attempts.add();
        if succeeded {
            self.successes.add();
        }
    }

    /// Whether a request is given up, or in Observe would be; it is counted then.
    pub fn rejects(&self, now: Instant, rng: &mut fastrand::Rng) -> bool {
        let share = self.share(now);
        let rejects = share > 0.0 && rng.f64() < share;
        if rejects {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        rejects
    }

    /// The share of requests that is given up now.
    pub fn share(&self, now: Instant) -> f64 {
        let slot = self.slot(now);
        let attempts = self.attempts.counted(slot) as f64;
        // Between the two looks another success may have come.
        let successes = (self.successes.counted(slot) as f64).min(attempts);
        if attempts < f64::from(self.model.min_per_second) * self.model.window.as_secs_f64() {
            return 0.0;
        }
        let missing = attempts - successes / self.model.success_threshold.ratio();
        let share = (missing / (attempts + 1.0)).max(0.0);
        let aggression = f64::from(self.model.aggression_thousandths) / 1000.0;
        share.powf(1.0 / aggression).min(self.model.max_rejection.ratio())
    }

    /// How many requests were given up, or in Observe would have been.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    fn slot(&self, now: Instant) -> u32 {
        let length = (self.model.window / SLOTS as u32).max(Duration::from_millis(1));
        // Slots of 100 ms over 13 years fit; the wrap after that is harmless.
        (now.saturating_duration_since(self.epoch).as_nanos() as u64 / length.as_nanos() as u64) as u32
    }
}

impl Cluster {
    /// An attempt at it is over, which both what acts and what is rehearsed beside it look back at.
    pub fn note_admission(&self, succeeded: bool, now: Instant) {
        let both = [&self.admission, &self.rehearsed_admission].into_iter().flatten();
        both.for_each(|admission| admission.note(succeeded, now));
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("rejected", &self.rejected()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::policy::{AdmissionControl as Model, Mode, Origin};
    use outrigger_config::value::Percent;
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::Admission;

    fn model() -> Model {
        Model::with_defaults(Origin::default(), Mode::Enforce)
    }

    /// So many requests a second for so long, of which this share of those let through succeeds. How many came, and were
    /// given up.
    fn run(admission: &Admission, now: &mut Instant, seconds: u32, per_second: u32, success: f64) -> (u32, u32) {
        let mut rng = fastrand::Rng::with_seed(u64::from(seconds * per_second));
        let mut rejected = 0;
        for _ in 0..seconds * per_second {
            *now += Duration::from_secs(1) / per_second;
            if admission.rejects(*now, &mut rng) {
                rejected += 1;
            } else {
                admission.note(rng.f64() < success, *now);
            }
        }
        (seconds * per_second, rejected)
    }

    fn percent(share: f64) -> Percent {
        Percent::try_new(share * 100.0).expect("a share")
    }

    #[test]
    fn below_its_rate_nothing_is_given_up() {
        let mut now = Instant::now();
        let admission = Admission::new(Model { min_per_second: 10, ..model() }, now);
        assert_eq!(run(&admission, &mut now, 60, 9, 0.0).1, 0);
        assert!(run(&admission, &mut now, 60, 20, 0.0).1 > 0);
    }

    #[test]
    fn what_is_well_again_is_asked_again() {
        let mut now = Instant::now();
        let admission = Admission::new(model(), now);
        let (_, rejected) = run(&admission, &mut now, 60, 50, 0.0);
        assert!(rejected > 2000, "{rejected}");
        run(&admission, &mut now, 60, 50, 1.0);
        assert_eq!(run(&admission, &mut now, 30, 50, 1.0).1, 0);
    }

    #[test]
    fn an_old_failure_is_forgotten() {
        let mut now = Instant::now();
        let admission = Admission::new(model(), now);
        run(&admission, &mut now, 10, 50, 0.0);
        assert!(admission.share(now) > 0.7);
        assert!(admission.share(now + Duration::from_secs(61)).abs() < f64::EPSILON);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn at_worst_all_but_the_least_are_given_up_and_at_best_none(
            most in 0.0_f64..1.0, threshold in 0.05_f64..1.0, aggression in 1000_u32..5000, rate in 20_u32..100,
        ) {
            let model = Model {
                max_rejection: percent(most),
                success_threshold: percent(threshold),
                aggression_thousandths: aggression,
                ..model()
            };
            let mut now = Instant::now();
            let good = Admission::new(model.clone(), now);
            prop_assert!(run(&good, &mut now, 60, rate, 1.0).1 == 0);
            let bad = Admission::new(model, now);
            run(&bad, &mut now, 60, rate, 0.0);
            let (all, rejected) = run(&bad, &mut now, 60, rate, 0.0);
            let share = f64::from(rejected) / f64::from(all);
            // Nearly all failed, but of few attempts one more is never excluded.
            prop_assert!(share <= most + 0.06 && share >= most.min(0.9) - 0.1, "{share} of {most}");
            prop_assert!(bad.share(now) <= most + 1e-6);
        }

        /// Above the threshold nothing is given up; below it the more, the more fails, and the more aggressively.
        #[test]
        fn the_share_follows_the_failures(success in 0.0_f64..1.0, less in 0.0_f64..1.0, aggression in 1001_u32..5000) {
            let now = Instant::now();
            let share = |success: f64, aggression_thousandths| {
                let admission = Admission::new(Model { aggression_thousandths, ..model() }, now);
                (0..1000).for_each(|one| admission.note(f64::from(one) < success * 1000.0, now));
                admission.share(now)
            };
            let worse = success * less;
            prop_assert!(share(worse, 1000) >= share(success, 1000));
            prop_assert!(share(success, aggression) >= share(success, 1000));
            prop_assert!(success < 0.951 || share(success, aggression).abs() < f64::EPSILON);
            prop_assert!((0.0..=0.8).contains(&share(success, aggression)));
        }
    }
}
