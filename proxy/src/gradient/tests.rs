//! The limit beside a simulated service: one that answers in `rtt` while it has up to `capacity` requests, and in
//! proportion longer with more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::policy::adaptive::{AdaptiveConcurrency as Model, Baseline, Measured};
use outrigger_config::policy::{Mode, Origin};
use outrigger_config::value::Percent;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::{Entered, Gradient, Place, Times};

const TICK: Duration = Duration::from_millis(1);

fn model() -> Model {
    Model::with_defaults(Origin::default(), Mode::Enforce)
}

fn measured_every(interval: Duration) -> Model {
    Model { baseline: Baseline::Measured(Measured { interval, ..Measured::DEFAULT }), ..model() }
}

struct Service {
    gradient: Arc<Gradient>,
    rng: fastrand::Rng,
    now: Instant,
    rtt: Duration,
    capacity: u32,
    under_way: Vec<(Instant, Place)>,
    refused: u32,
}

impl Service {
    fn new(model: Model, rtt: Duration, capacity: u32) -> Self {
        let now = Instant::now();
        let gradient = Arc::new(Gradient::new(model, None, now));
        let rng = fastrand::Rng::with_seed(7);
        Service { gradient, rng, now, rtt, capacity, under_way: Vec::new(), refused: 0 }
    }

    /// So much time, in which so many requests come each millisecond. Says the least and the most of the limit.
    fn run(&mut self, time: Duration, requests: u32) -> (u32, u32) {
        let (until, mut least, mut most) = (self.now + time, u32::MAX, 0);
        while self.now < until {
            self.now += TICK;
            let now = self.now;
            let (done, rest) = std::mem::take(&mut self.under_way).into_iter().partition(|(ends, _)| *ends <= now);
            self.under_way = rest;
            let done: Vec<(Instant, Place)> = done;
            for (_, place) in done {
                place.answered(now, &mut self.rng);
            }
            for _ in 0..requests {
                match self.gradient.enter(now, &mut self.rng) {
                    Entered::Full => self.refused += 1,
                    entered @ (Entered::Admitted(_) | Entered::Beside(_)) => {
                        self.refused += u32::from(matches!(entered, Entered::Beside(_)));
                        let (Entered::Admitted(place) | Entered::Beside(place)) = entered else { continue };
                        let load = (self.under_way.len() + 1) as f64 / f64::from(self.capacity);
                        self.under_way.push((now + self.rtt.mul_f64(load.max(1.0)), place));
                    }
                }
            }
            let limit = self.gradient.limit();
            (least, most) = (least.min(limit), most.max(limit));
        }
        let beside = self.under_way.iter().filter(|(_, place)| place.beside).count();
        assert_eq!(self.gradient.known().held as usize, self.under_way.len() - beside);
        (least, most)
    }
}

#[test]
fn a_measurement_holds_a_few_and_then_the_limit_grows() {
    let mut service = Service::new(model(), Duration::from_millis(10), 50);
    assert_eq!(service.gradient.limit(), 3);
    service.run(Duration::from_millis(100), 10);
    assert_eq!((service.gradient.limit(), service.gradient.known().baseline), (3, None), "still too few answers");
    service.run(Duration::from_secs(3), 10);
    let known = service.gradient.known();
    let baseline = known.baseline.expect("measured").as_secs_f64() * 1e3;
    assert!((9.0..=12.0).contains(&baseline), "{baseline}");
    assert!(known.limit >= 50 && service.refused > 0, "{known:?}");
}

#[test]
fn a_measurement_of_a_slow_service_is_bounded_in_time() {
    let mut service = Service::new(measured_every(Duration::from_secs(10)), Duration::from_millis(400), 50);
    // 50 answers of 3 at once would take 7 s.
    service.run(Duration::from_millis(1500), 10);
    assert!(service.gradient.known().baseline.is_some());
}

#[test]
fn a_baseline_that_is_fixed_is_never_measured() {
    let fixed = Model { baseline: Baseline::Fixed(Duration::from_millis(10)), min_limit: 10, ..model() };
    let mut service = Service::new(fixed, Duration::from_millis(10), 100);
    let (least, _) = service.run(Duration::from_secs(120), 20);
    assert_eq!(least, 10);
    assert!(service.gradient.limit() >= 100);
}

#[test]
fn a_service_that_became_slow_for_good_is_measured_anew() {
    let mut service = Service::new(model(), Duration::from_millis(10), 40);
    service.run(Duration::from_secs(10), 20);
    assert!(service.gradient.limit() >= 40);
    service.rtt = Duration::from_millis(100);
    let (least, _) = service.run(Duration::from_secs(20), 20);
    assert_eq!(least, 3, "first the limit falls");
    assert!(service.gradient.limit() >= 40, "then the new time is the usual one: {}", service.gradient.limit());
}

#[test]
fn without_requests_nothing_changes() {
    let mut service = Service::new(model(), Duration::from_millis(10), 40);
    service.run(Duration::from_secs(5), 20);
    service.run(Duration::from_secs(1), 0);
    let before = service.gradient.limit();
    service.run(Duration::from_secs(30), 0);
    assert_eq!((service.gradient.limit(), service.gradient.known().held), (before, 0));
}

#[test]
fn a_new_policy_keeps_the_places() {
    let now = Instant::now();
    let old = Arc::new(Gradient::new(model(), None, now));
    let mut rng = fastrand::Rng::with_seed(1);
    let held: Vec<_> = (0..3).map(|_| old.enter(now, &mut rng)).collect();
    let new = Arc::new(Gradient::new(Model { max_limit: 7, ..model() }, Some(&old), now));
    assert!(matches!(new.enter(now, &mut rng), Entered::Full));
    drop(held);
    assert!(matches!(new.enter(now, &mut rng), Entered::Admitted(_)));
    assert_eq!((new.known().held, new.known().refused), (0, 1));
}

/// The same service under another policy.
fn changed(service: &mut Service, model: Model) {
    service.gradient = Arc::new(Gradient::new(model, Some(&service.gradient), service.now));
}

#[test]
fn a_change_that_measures_the_same_goes_on_from_what_is_known() {
    let mut service = Service::new(model(), Duration::from_millis(10), 50);
    service.run(Duration::from_secs(3), 10);
    let before = service.gradient.known();
    assert!(before.limit >= 50);
    let buffer = Percent::try_new(30.0).expect("a share");
    changed(&mut service, Model { status: 429, buffer, update_interval: Duration::from_millis(50), ..model() });
    assert_eq!((service.gradient.known().baseline, service.gradient.limit()), (before.baseline, before.limit));
    let (least, _) = service.run(Duration::from_secs(1), 10);
    assert!(least >= 30, "no measurement holds it back: {least}");
    changed(&mut service, Model { max_limit: 20, ..model() });
    assert_eq!(service.gradient.limit(), 20);
    let often = measured_every(Duration::from_secs(1));
    changed(&mut service, often.clone());
    let (least, _) = service.run(Duration::from_millis(1500), 10);
    assert_eq!(least, 3, "and it is measured as often as is said now");
    changed(&mut service, Model { percentile: Percent::try_new(90.0).expect("a share"), ..often });
    assert_eq!(
        (service.gradient.known().baseline, service.gradient.limit()),
        (None, 3),
        "this measures something else"
    );
    let fixed = |millis| Model { baseline: Baseline::Fixed(Duration::from_millis(millis)), ..model() };
    changed(&mut service, fixed(10));
    service.run(Duration::from_secs(3), 10);
    let before = service.gradient.limit();
    changed(&mut service, fixed(20));
    assert_eq!(service.gradient.limit(), before);
    assert_eq!(service.gradient.known().baseline, Some(Duration::from_millis(20)));
}

#[test]
fn one_answer_is_no_baseline() {
    let every = measured_every(Duration::from_secs(1));
    let mut service = Service::new(every, Duration::from_millis(500), 50);
    let place = |service: &mut Service| match service.gradient.enter(service.now, &mut service.rng) {
        Entered::Admitted(place) => place,
        _ => panic!("there is room"),
    };
    let first = place(&mut service);
    service.now += Duration::from_millis(900);
    first.answered(service.now, &mut service.rng);
    drop(first);
    service.now += Duration::from_secs(1);
    drop(place(&mut service));
    assert_eq!(service.gradient.known().baseline, None, "it took long by chance");
    service.rtt = Duration::from_millis(10);
    service.run(Duration::from_secs(2), 1);
    let baseline = service.gradient.known().baseline.expect("measured");
    assert!(baseline < Duration::from_millis(12), "{baseline:?}");
}

#[test]
fn observed_only_the_baseline_is_what_few_requests_take() {
    let observed = Model { mode: Mode::Observe, ..measured_every(Duration::from_secs(5)) };
    // A service that bears ten, with many more and a quiet moment now and then.
    let mut service = Service::new(observed.clone(), Duration::from_millis(10), 10);
    let mut quiet = 0;
    for _ in 0..100 {
        service.run(Duration::from_millis(20), 0);
        service.run(Duration::from_millis(1), 1);
        service.run(Duration::from_millis(20), 0);
        service.run(Duration::from_millis(2), 25);
        service.run(Duration::from_millis(60), 0);
        quiet += u32::from(service.gradient.known().baseline.is_some());
    }
    let baseline = service.gradient.known().baseline.expect("measured").as_secs_f64() * 1e3;
    assert!((9.0..=11.0).contains(&baseline) && quiet > 10, "{baseline}");
    // Never a quiet moment: the fastest are the nearest to it, and once it acts, it is measured.
    let mut service = Service::new(observed, Duration::from_millis(10), 10);
    service.run(Duration::from_secs(2), 2);
    let rough = service.gradient.known().baseline.expect("estimated");
    assert!(rough >= Duration::from_millis(9), "{rough:?}");
    let enforced = measured_every(Duration::from_secs(5));
    changed(&mut service, enforced);
    assert_eq!(service.gradient.known().baseline, Some(rough));
    service.under_way.clear();
    service.run(Duration::from_secs(2), 2);
    let baseline = service.gradient.known().baseline.expect("measured").as_secs_f64() * 1e3;
    assert!((9.0..=12.0).contains(&baseline), "{baseline}");
}

#[test]
fn any_time_is_told_to_a_sixteenth() {
    for micros in [0, 1, 17, 100, 999, 12_345, 1_000_000, 60_000_000, u64::MAX] {
        let times = Times::default();
        times.observe(Duration::from_micros(micros));
        let told = times.percentile(0.5).expect("one time").as_secs_f64() * 1e6;
        let is = (micros as f64).clamp(16.0, (1_u64 << 27) as f64);
        assert!((told / is - 1.0).abs() <= 0.07, "{micros}: {told}");
    }
    assert_eq!(Times::default().percentile(0.5), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Near what the service bears, with the buffer and the room for a queue; within its bounds; back after a bad time.
    #[test]
    fn the_limit_finds_what_the_service_bears(capacity in 8_u32..120, rtt in 5_u64..60, most in 200_u32..400) {
        let model = Model { max_limit: most, ..measured_every(Duration::from_secs(20)) };
        let mut service = Service::new(model, Duration::from_millis(rtt), capacity);
        let near = |capacity: u32| {
            let base = f64::from(capacity) * 1.25;
            f64::from(capacity)..=(base + base.sqrt()) * 1.25
        };
        service.run(Duration::from_secs(12), 40);
        let found = f64::from(service.gradient.limit());
        prop_assert!(near(capacity).contains(&found), "{found} for {capacity}");
        let whole = service.capacity;
        service.capacity = (whole / 2).max(4);
        service.run(Duration::from_secs(6), 40);
        let less = f64::from(service.gradient.limit());
        prop_assert!(less < found, "{less} for {}, after {found}", service.capacity);
        service.capacity = whole;
        let (lowest, highest) = service.run(Duration::from_secs(40), 40);
        prop_assert!(lowest >= 3 && highest <= most);
        // Whatever it is in the middle of: out of measurements it is back.
        let again = f64::from(service.run(Duration::from_secs(4), 40).1);
        prop_assert!(again >= f64::from(capacity), "{again} for {capacity}");
    }

    #[test]
    fn no_interleaving_of_threads_lets_one_more_in(limit in 1_u32..10) {
        let measured = Measured { concurrency: limit, ..Measured::DEFAULT };
        let model =
            Model { min_limit: limit, max_limit: limit, baseline: Baseline::Measured(measured), ..model() };
        let began = Instant::now();
        let gradient = Arc::new(Gradient::new(model, None, began));
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (gradient, inside, most) = (&gradient, &inside, &most);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(thread);
                    for round in 0..500_u32 {
                        let now = began + TICK * round;
                        if let Entered::Admitted(place) = gradient.enter(now, &mut rng) {
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            place.answered(now + TICK, &mut rng);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                });
            }
        });
        prop_assert!(most.into_inner() <= limit);
        prop_assert_eq!(gradient.known().held, 0);
    }
}

#[test]
fn a_share_of_nothing_is_refused() {
    let wrong = Model { percentile: Percent::ZERO, ..model() };
    assert_eq!(wrong.check().expect_err("nothing").path, "percentile");
    let narrow = Model { min_limit: 10, max_limit: 9, ..model() };
    assert_eq!(narrow.check().expect_err("narrow").path, "maxConcurrency");
    assert!(model().check().is_ok());
}
